"""One call from a table of people to a table of diagnoses."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pandas as pd
import pytest

import ompd
from ompd import datasets
from ompd.bulk import asker
from ompd.bulk.score import score
from ompd.errors import (
    DomainError,
    FeatureError,
    InterruptedWarning,
    ParameterError,
    UnknownDiseaseError,
)
from ompd.schema import TableForm
from tests.bulk.conftest import records, rows_of
from tests.roles.conftest import World


@pytest.fixture(scope="module")
def split():
    return datasets.load("wbc").split(test_per_class=30, seed=3)


def by_hand(world, features, disease="flu", schema=None):
    """What the roles tell, one frame for all rows."""
    query = world.user.ask("st-mary", disease, features, schema=schema)
    return world.user.read(world.hospital.report(world.cloud.answer(world.hospital.forward(query))))


@pytest.fixture
def small_parts(monkeypatch):
    """Several parts of few rows."""
    monkeypatch.setattr(asker, "_FIRST", 4)
    monkeypatch.setattr(asker, "_SECONDS", (0.0, 1e9))


@pytest.mark.parametrize("profile", ["sealed", "hardened", "paper"])
@pytest.mark.parametrize("threads", [1, 3])
def test_says_what_the_roles_say(profile, threads, small_parts):
    world = World(profile=profile)
    data = records(rows=90)
    world.publish(data=data)
    rows = rows_of(33, 3)
    expected = by_hand(world, rows)
    found = ompd.diagnose(
        rows, disease="flu", hospital=world.hospital, cloud=world.cloud, user=world.user,
        threads=threads,
    )  # fmt: skip
    assert found == expected
    distant = ompd.diagnose(
        rows, disease="flu", hospital=world.hospital, send=world.cloud.answer, user=world.user,
        threads=threads,
    )  # fmt: skip
    assert distant == expected


@pytest.mark.parametrize("profile", [None, "hardened", "paper"])
def test_parties_are_made_where_none_are_given(split, profile):
    train, test = split
    found = ompd.diagnose(test.features, train, profile=profile, k=9)
    assert found.failures == 0
    assert found[0].profile == (profile or "sealed")
    assert (found.labels == train.schema.names(test.labels)).mean() > 0.9
    assert found.ids is None


def test_more_people_than_a_window_has_hints_for(small_parts):
    world = World(profile="sealed")
    world.publish(data=records(rows=3000, features=5), k=5)
    room = world.hospital.remaining("flu")
    rows = rows_of(3 * room + 5, 5)
    found = ompd.diagnose(
        rows, disease="flu", hospital=world.hospital, cloud=world.cloud, user=world.user
    )
    assert found.failures == 0
    assert found.certified.mean() > 0.9


def test_columns_are_found_by_name_and_rows_keep_their_ids(split):
    train, test = split
    names = [feature.name for feature in train.schema.features]
    frame = pd.DataFrame(test.features, columns=names, index=[f"p{i}" for i in range(len(test))])
    plain = ompd.diagnose(test.features, train, k=5)
    found = ompd.diagnose(frame[names[::-1]].assign(doctor="X"), train, k=5)
    assert (found.codes == plain.codes).all()
    assert list(found.to_frame().index) == list(frame.index)
    assert frame.join(found.to_frame())["label"].tolist() == plain.labels.tolist()
    # The numbers of rows that were picked are ids too, and stay numbers.
    picked = pd.DataFrame(test.features, columns=names).iloc[[7, 3, 11]]
    found = ompd.diagnose(picked, train, k=5)
    assert picked.join(found.to_frame())["label"].tolist() == plain.labels[[7, 3, 11]].tolist()
    assert found[0].id == "7"


@pytest.mark.parametrize("named", [True, False])
def test_bad_rows_do_not_stop_the_others(split, named):
    train, test = split
    names = [feature.name for feature in train.schema.features]
    plain = ompd.diagnose(test.features, train, k=5)
    frame = pd.DataFrame(test.features.copy(), columns=names)
    frame.loc[2, names[0]] = 999.25
    frame.loc[2, names[1]] = np.nan
    frame.loc[5, names[8]] = 1.5
    rows = frame if named else frame.to_numpy()
    found = ompd.diagnose(rows, train, k=5)
    assert np.flatnonzero(found.codes < 0).tolist() == [2, 5]
    good = np.delete(np.arange(len(test)), [2, 5])
    assert found.take(good) == plain.take(good)
    assert found[2].error == (
        "clump_thickness: expected a value from 1 to 10; "
        "uniformity_of_cell_size: expected a finite number, got a missing or infinite one"
    )
    assert found[5].error == "mitoses: expected a whole number"
    assert "999" not in repr(found.error.tolist())
    skipped = ompd.diagnose(rows, train, k=5, errors="skip")
    assert skipped == plain.take(good)
    with pytest.raises(DomainError, match="row 2"):
        ompd.diagnose(rows, train, k=5, errors="raise")
    with pytest.raises(ParameterError, match="errors"):
        ompd.diagnose(rows, train, k=5, errors="ignore")


def test_rows_that_are_all_bad_are_all_told(split):
    train, _ = split
    found = ompd.diagnose(np.full((3, 9), 99.0), train, k=5)
    assert found.failures == len(found) == 3
    assert len(found.to_frame()) == 3


def test_what_is_no_table_is_refused_before_any_table_is_made(split, monkeypatch):
    train, test = split
    monkeypatch.setattr(ompd.Hospital, "publish", None)
    with pytest.raises(FeatureError, match="expected 9 per row"):
        ompd.diagnose(test.features[:, :4], train)
    with pytest.raises(FeatureError, match="at least one row"):
        ompd.diagnose(np.empty((0, 9)), train)


def test_it_must_be_clear_whom_to_ask(world, split):
    train, test = split
    world.publish(data=records())
    here = {"hospital": world.hospital, "user": world.user}
    for options, message in (
        ({}, "records: expected some"),
        ({"records": train, "cloud": world.cloud}, "go with a hospital"),
        ({"hospital": "st-mary"}, "user and send"),
        ({"hospital": "st-mary", "records": train}, "without records"),
        ({"hospital": world.hospital, "cloud": world.cloud}, "a user"),
        ({**here}, "a Cloud, or"),
        ({**here, "cloud": world.cloud, "send": world.cloud.answer}, "a Cloud, or"),
        ({**here, "cloud": world.cloud, "profile": "sealed"}, "the hospital's is paper"),
        ({**here, "send": world.cloud.answer, "records": train}, "the id of the one"),
    ):
        with pytest.raises(ParameterError, match=message):
            ompd.diagnose(test.features, **options)
    with pytest.raises(UnknownDiseaseError):
        ompd.diagnose([1.0, 2, 3], disease="gout", cloud=world.cloud, **here)


def test_a_hospital_publishes_what_it_is_given(split):
    train, test = split
    world = World(profile="hardened")
    expected = ompd.diagnose(test.features, train, profile="hardened", k=7)
    send = {"cloud": world.cloud.store}

    def both(frame):
        # One line for uploads and jobs, as a network would have.
        return send.pop("cloud")(frame) if send else world.cloud.answer(frame)

    found = ompd.diagnose(
        test.features, train, disease="wbc", k=7, hospital=world.hospital, cloud="cloud",
        send=both, user=world.user,
    )  # fmt: skip
    assert found == expected


def test_a_hospital_elsewhere(small_parts):
    world = World(profile="hardened")
    data = records(rows=90)
    world.publish(data=data)
    desk = ompd.bulk.Desk(world.hospital, {"cloud": world.cloud.answer})
    rows = rows_of(33, 3)
    found = ompd.diagnose(
        rows, disease="flu", schema=data.schema, hospital="st-mary", user=world.user,
        send=desk.answer, threads=3,
    )  # fmt: skip
    assert found == by_hand(world, rows)


@pytest.fixture
def interruptible():
    """A process in the background ignores interrupts, and so would Python."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_leaves_what_is_done(small_parts):
    world = World()
    world.publish(data=records())
    rows = rows_of(40, 3)
    calls = []

    def send(job):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            # Until the main thread has seen it.
            threading.Event().wait(0.5)
        return world.cloud.answer(job)

    with pytest.warns(InterruptedWarning, match="28 of 40 rows"):
        found = ompd.diagnose(
            rows, disease="flu", hospital=world.hospital, send=send, user=world.user, threads=1
        )
    assert len(found) == 40
    assert len(calls) == 3
    assert found[:12] == by_hand(world, rows[:12])
    assert set(found[12:].error) == {"interrupted"}


@pytest.mark.usefixtures("interruptible")
def test_a_second_interruption_is_one(small_parts):
    world = World()
    world.publish(data=records())
    stuck = threading.Event()

    def send(job):
        while not stuck.wait(0.3):
            os.kill(os.getpid(), signal.SIGINT)
        raise OSError

    try:
        with pytest.raises(KeyboardInterrupt):
            ompd.diagnose(
                [[1.0, 2, 3]], disease="flu", hospital=world.hospital, send=send, user=world.user
            )
    finally:
        stuck.set()


def test_a_fault_of_the_callers_own_code_is_raised(world):
    world.publish(data=records())

    def send(job):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ompd.diagnose(
            [[1.0, 2, 3]], disease="flu", hospital=world.hospital, send=send, user=world.user
        )


def test_progress_is_shown_where_it_is_asked_for(split, capsys):
    train, test = split
    ompd.diagnose(test.features[:5], train, k=5)
    assert capsys.readouterr() == ("", "")
    ompd.diagnose(test.features[:5], train, k=5, progress=True)
    out, shown = capsys.readouterr()
    assert out == ""
    assert "publishing" in shown
    assert "diagnosing" in shown


def test_files_are_read_as_the_records_were(tmp_path):
    """Without header, separated by semicolons, with marks and ids of their own."""
    lines = [f"p{row};{row % 2 * 3 + row / 100};{row % 7};{'jn'[row % 2]}" for row in range(60)]
    lines[3] = "p3;-9;3;n"
    (tmp_path / "old.data").write_text("\n".join(lines).replace(".", ","))
    (tmp_path / "new.data").write_text("a;0,5;1\nb;-9;2\nc;99;0\n")
    form = TableForm(
        label="y", id="id", columns=("id", "x", "z", "y"), separator=";", decimal=",",
        marks={"x": ["-9"]}, texts={"j": "no", "n": "yes"},
    )  # fmt: skip
    features = (
        ompd.Feature("x", "numeric", 0, 4, missing="median"),
        ompd.Feature("z", "ordinal", 0, 6),
    )
    schema = ompd.Schema(features, ("no", "yes"), form)
    data = datasets.load(tmp_path / "old.data", schema)
    assert data.schema == data.info.schema == schema.plain
    assert data.written == data.take([0]).written == schema
    found = ompd.diagnose(tmp_path / "new.data", data, k=3)
    assert found.ids.tolist() == ["a", "b", "c"]
    assert found.filled.tolist() == [0, 1, 0]
    assert [bool(each.error) for each in found] == [False, False, True]
    assert found == ompd.diagnose(tmp_path / "new.data", data, schema=schema, k=3)
    score(tmp_path / "new.data", tmp_path / "out.csv", data)
    assert pd.read_csv(tmp_path / "out.csv")["label"].tolist()[:2] == found.labels.tolist()[:2]
    # What is in memory already is written as frames are.
    plain = datasets.Dataset.from_arrays(schema.plain, data.features, schema.names(data.labels))
    assert plain.written == plain.schema


def test_five_lines_from_raw_files_to_a_frame(split, tmp_path, monkeypatch, capsys):
    train, test = split
    names = [feature.name for feature in train.schema.features]
    for part, path in ((train, "wbc.data"), (test, "new.csv")):
        frame = pd.DataFrame(part.features.astype(int), columns=names).astype(object)
        frame.insert(0, "id", [f"{path[0]}{row}" for row in range(len(frame))])
        if part is train:
            frame["class"] = np.where(part.labels, 4, 2)
        else:
            frame.loc[3, names[5]] = "?"
        frame.to_csv(tmp_path / path, index=False)
    monkeypatch.chdir(tmp_path)
    code = """
import ompd
from ompd import datasets
records = datasets.load("wbc.data", ompd.Schema.infer("wbc.data"))
print(ompd.diagnose("new.csv", records).to_frame())
"""
    exec(code, {})  # noqa: S102
    assert "[60 rows x 8 columns]" in capsys.readouterr().out
    records = datasets.load("wbc.data", ompd.Schema.infer("wbc.data"))
    found = ompd.diagnose("new.csv", records, schema=ompd.Schema.infer("wbc.data"))
    assert found.ids.tolist() == [f"n{row}" for row in range(60)]
    assert np.flatnonzero(found.codes < 0).tolist() == [3]
    right = (found.labels == np.where(test.labels, "4", "2")).sum()
    assert right > 50
    with pytest.raises(FeatureError, match="row 3, 'bare_nuclei'"):
        ompd.diagnose("new.csv", records, errors="raise")
    assert len(ompd.diagnose("new.csv", records, errors="skip")) == 59
    # The same from a frame of records, and by the path of a schema.
    schema = ompd.Schema.infer("wbc.data")
    (tmp_path / "form.toml").write_text(schema.to_toml())
    old = pd.read_csv("wbc.data")
    for given in (old, "wbc.data"):
        assert ompd.diagnose("new.csv", given, schema="form.toml") == found
