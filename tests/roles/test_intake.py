"""What a hospital refuses before it trains, and a user before it asks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import ompd
from ompd.datasets import Dataset
from ompd.errors import (
    DomainError,
    FeatureError,
    LabelError,
    NeighborsError,
    TooLargeError,
    TrainingError,
)
from ompd.wire import CAPS, Kind
from tests.marks import long, pairs
from tests.roles.conftest import World, instances

PROFILES = ("sealed", "hardened", "paper")
METHODS = ("relief-mw", "evidence")


def asked(world, features, **options):
    query = world.user.ask("st-mary", "flu", features, **options)
    return world.user.read(world.hospital.report(world.cloud.answer(world.hospital.forward(query))))


# --- labels -------------------------------------------------------------------------------------

GLUCOSE = ompd.Schema([ompd.Feature("glucose", "numeric", 0, 300)], ["1", "0"])
ROWS = [[80], [85], [90], [200], [210], [220]]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 1], ["0", "0", "0", "1", "1", "1"]])
def test_reports_name_the_class_that_the_records_had(profile, labels):
    world = World(profile=profile)
    world.publish(data=Dataset.from_arrays(GLUCOSE, ROWS, labels), k=1, advice={"1": "ill"})
    ill, well = asked(world, [[205.0], [88.0]])
    assert (ill.label, ill.advice) == ("1", "ill")
    assert (well.label, well.advice) == ("0", "")


@pytest.mark.parametrize("classes", [("1", "0"), ("1", "2"), ("2", "4"), ("other", "0")])
def test_codes_of_unknown_origin_are_refused_where_they_could_be_names(classes):
    schema = ompd.Schema(GLUCOSE.features, classes)
    codes = SimpleNamespace(schema=schema, features=ROWS, labels=np.array([0, 0, 0, 1, 1, 1]))
    with pytest.raises(LabelError, match=f"{', '.join(classes)}; make a Dataset"):
        World().publish(data=codes)


@pytest.mark.parametrize("classes", [("0", "1"), ("no", "yes"), ("0", "other")])
def test_codes_that_mean_the_same_either_way_are_taken(classes):
    world = World()
    schema = ompd.Schema(GLUCOSE.features, classes)
    codes = SimpleNamespace(schema=schema, features=ROWS, labels=np.array([0, 0, 0, 1, 1, 1]))
    world.publish(data=codes, k=1)
    assert [each.label for each in asked(world, [[205.0], [88.0]])] == list(classes[::-1])


@pytest.mark.parametrize("advice", [{1: "ill"}, {0: "ill"}, {True: "ill"}, {"2": "ill"}])
def test_advice_is_for_names(advice):
    with pytest.raises(LabelError, match="advice: expected only classes: 1, 0"):
        World().publish(data=Dataset.from_arrays(GLUCOSE, ROWS, [0, 0, 0, 1, 1, 1]), advice=advice)


# --- names of features --------------------------------------------------------------------------


def test_users_ask_by_name_with_the_hospitals_schema():
    world = World()
    world.publish()
    schema = world.hospital.diseases["flu"]
    plain = asked(world, [[1, 2, 12], [12, 2, 1]])
    frame = pd.DataFrame([[12, 1, 2], [1, 12, 2]], columns=["f2", "f0", "f1"])
    for named in (frame, frame.to_dict("list"), frame.to_dict("records"), frame.to_records(False)):
        assert asked(world, named, schema=schema) == plain
    for row in (frame.iloc[0], frame.iloc[0].to_dict()):
        assert asked(world, row, schema=schema) == plain[:1]
    assert asked(world, [1, 2, 12], schema=schema) == plain[:1]


def test_users_do_not_ask_by_names_that_nobody_looks_at():
    world = World()
    world.publish()
    schema = world.hospital.diseases["flu"]
    row = pd.Series({"f2": 12, "f0": 1, "f1": 2})
    ask = lambda x, **more: world.user.ask("st-mary", "flu", x, **more)  # noqa: E731
    for named in (row, row.to_frame().T, row.to_dict(), [row], [row.to_dict()]):
        with pytest.raises(FeatureError, match="pass schema="):
            ask(named)
    for wrong, message in (
        (row.drop("f1"), "expected a value of 'f1'"),
        (row.rename({"f1": "f3"}), "expected a value of 'f1'"),
        (pd.concat([row, row]), "'f0', 'f1', 'f2' only once"),
    ):
        with pytest.raises(FeatureError, match=message):
            ask(wrong, schema=schema)
    with pytest.raises(DomainError, match="feature 'f2'"):
        ask(row + 1, schema=schema)


# --- size ---------------------------------------------------------------------------------------

ROOM = 1 << 20


def untrainable(rows=400, features=3):
    """Records of which training would say that a class has too few."""
    data = instances(rows=rows, features=features)
    data.labels[:] = 0
    return data


@pytest.mark.parametrize("method", METHODS)
def test_tables_that_could_not_be_had_whole_are_refused_before_training(monkeypatch, method):
    world = World(profile="sealed")
    data = untrainable()
    with pytest.raises(TrainingError):
        world.publish(data=data, method=method)
    monkeypatch.setitem(CAPS, Kind.SEALED_ANSWER, ROOM + 400)
    with pytest.raises(TooLargeError, match="400 rows would make a table"):
        world.publish(data=data, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [300, *long(5000)])
def test_the_size_that_is_checked_is_that_of_what_is_sent(monkeypatch, rows, method):
    data = instances(rows=rows)
    sent = len(World(profile="sealed").publish(data=data, method=method))
    monkeypatch.setitem(CAPS, Kind.SEALED_ANSWER, ROOM + int(1.1 * sent))
    World(profile="sealed").publish(data=data, method=method)
    # Of a small frame the part that is no table counts.
    monkeypatch.setitem(CAPS, Kind.SEALED_ANSWER, ROOM + int(0.9 * (sent - 300)))
    with pytest.raises(TooLargeError, match="would make a table"):
        World(profile="sealed").publish(data=data, method=method)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("method", METHODS)
def test_no_records_and_impossible_neighbours_are_refused(profile, method):
    world = World(profile=profile)
    with pytest.raises(TrainingError):
        world.publish(data=instances(rows=0), k=None, method=method)
    world.publish(k=np.int64(3), method=method)
    for k in (2, "9", 1.0, True, 61):
        with pytest.raises(NeighborsError, match="odd integer"):
            world.publish(data=untrainable(60), k=k, method=method)


@pytest.mark.parametrize(
    ("profile", "features"), [("sealed", 4097), ("hardened", 4097), ("paper", 4095)]
)
@pytest.mark.parametrize("method", METHODS)
def test_too_many_features_are_refused_before_training(profile, features, method):
    world = World(profile=profile)
    with pytest.raises(TooLargeError, match=f"at most {features - 1} features, got {features}"):
        world.publish(data=untrainable(4, features), method=method)
    with pytest.raises(TrainingError):
        world.publish(data=untrainable(4, features - 1), method=method)


# --- progress -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("profile", "method"), pairs(PROFILES, METHODS))
def test_progress_covers_the_whole_of_publishing(monkeypatch, profile, method):
    # Small parts, so that a small table has several.
    monkeypatch.setattr("ompd.search.relief._PART", 16)
    world = World(profile=profile)
    shares = []
    frame = world.hospital.publish(
        "flu", instances(rows=1500), cloud="cloud", method=method, progress=shares.append
    )
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0, 1)
    assert sum(0 < share < 0.6 for share in shares) >= 3, "training"
    assert {0.6, 0.65, 0.95} <= {round(share, 9) for share in shares}, "stages"
    if profile == "sealed":
        assert sum(0.65 < share < 0.95 for share in shares) >= 3, "sealing"
    world.hospital.deliver(frame, world.cloud.store)


def test_progress_may_stop_the_work():
    def stop(share):
        if share > 0:
            raise KeyboardInterrupt

    world = World(profile="sealed")
    with pytest.raises(KeyboardInterrupt):
        world.publish(progress=stop)
    world.publish()
    assert len(asked(world, [1, 2, 3])) == 1
