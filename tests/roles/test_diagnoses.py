"""Diagnoses as arrays: what a row, a slice, a frame and several reports together say."""

from __future__ import annotations

import builtins
import pickle

import msgspec
import numpy as np
import pytest

import ompd
from ompd.errors import BackendUnavailableError, FramingError, ParameterError
from ompd.roles.diagnoses import Diagnoses, read_report
from ompd.wire import Report

CLASSES = ("no", "yes", "perhaps")


def report(**changes):
    """A report on three rows, of which the second is of another class."""
    votes = np.array([[3, 2, 0], [1, 4, 0], [5, 0, 0]], dtype="<u2")
    body = Report(
        k=5,
        classes=CLASSES,
        findings=(("yes", "Come soon."), ("no", "")),
        choice=np.array([1, 0, 1], dtype="<u2").tobytes(),
        votes=votes.tobytes(),
        probabilities=(votes / 5).astype("<f8").tobytes(),
        certified=bytes([1, 0, 1]),
        filled=np.array([0, 2, 300], dtype="<u2").tobytes(),
        profile="sealed",
        method="evidence",
    )
    return msgspec.structs.replace(body, **changes)


def ids(count, first=0):
    return np.array([f"patient-{number}" for number in range(first, first + count)])


def texts(*errors):
    return np.array(errors, dtype=object)


def test_a_row_says_what_the_report_does():
    found = read_report(report(), 3).named(ids(3))
    assert len(found) == 3
    row = found[1]
    assert (row.label, row.advice, row.k, row.certified) == ("yes", "Come soon.", 5, False)
    assert (row.profile, row.method, row.filled, row.id) == ("sealed", "evidence", 2, "patient-1")
    assert row.votes == {"no": 1, "yes": 4, "perhaps": 0}
    assert row.probabilities == {"no": 0.2, "yes": 0.8, "perhaps": 0.0}
    assert row.error == ""
    assert [each.label for each in found] == found.labels.tolist() == ["no", "yes", "no"]
    assert [each.advice for each in reversed(found)] == ["", "Come soon.", ""]
    assert found[-1].id == "patient-2"
    with pytest.raises(IndexError):
        found[3]


def test_a_slice_is_of_the_same_kind():
    found = read_report(report(), 3).named(ids(3))
    assert isinstance(found[1:], ompd.Diagnoses)
    assert found[1:].labels.tolist() == ["yes", "no"]
    assert found[::-1].ids.tolist() == ids(3)[::-1].tolist()
    assert found.take(np.array([2, 0, 2])).certified.tolist() == [True, True, True]
    assert len(found[3:]) == 0
    assert not found[3:]


def test_what_is_kept_in_it_cannot_be_changed():
    found = read_report(report(), 3)
    for array in (found.codes, found.votes, found.probabilities, found.certified, found.error):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


def test_nothing_but_sizes_is_shown():
    found = Diagnoses.concatenate(
        [read_report(report(), 3).named(ids(3)), Diagnoses.failed("lost", 2, ids(2, 3))]
    )
    assert repr(found) == "<Diagnoses: 5 rows, 3 classes, 2 with an error>"
    assert repr(found[:3]) == "<Diagnoses: 3 rows, 3 classes>"
    assert "yes" not in repr(found[0])


def test_several_reports_together():
    other = report(
        findings=(("no", "Sleep well."), ("yes", "Come soon.")), profile="paper", method="relief-mw"
    )
    lost = Diagnoses.failed(texts("lost", "late"), 2)
    parts = [lost, read_report(report(), 3), read_report(other, 3), lost, read_report(report(), 3)]
    whole = Diagnoses.concatenate(parts)
    singles = [each for part in parts for each in part]
    assert len(whole) == 13
    for one, alone in zip(whole, singles, strict=True):
        for name in ("label", "advice", "k", "certified", "profile", "method", "error"):
            assert getattr(one, name) == getattr(alone, name)
        if not one.error:
            assert one.votes == alone.votes
            assert one.probabilities == alone.probabilities
    assert len(whole.findings) == 4
    assert whole.failures == 4
    assert (whole[0].profile, whole[0].method, whole[0].k) == (None, None, 0)
    assert np.isnan(list(whole[0].probabilities.values())).all()
    assert set(whole[0].votes.values()) == {0}


def test_what_does_not_belong_together_is_refused():
    one = read_report(report(), 3)
    two = read_report(report(classes=("no", "yes", "never")), 3)
    with pytest.raises(ParameterError, match="same classes"):
        Diagnoses.concatenate([one, two])
    with pytest.raises(ParameterError, match="ids"):
        Diagnoses.concatenate([one, one.named(ids(3))])
    with pytest.raises(ParameterError, match="at least one"):
        Diagnoses.concatenate([])
    with pytest.raises(ParameterError, match="ids"):
        one.named(ids(2))
    with pytest.raises(ParameterError, match="places"):
        one.among(np.arange(2), texts(*"abcd"))


def test_some_rows_among_more():
    found = read_report(report(), 3).named(ids(3, 7))
    why = texts("", "age: too large", "", "", "age: missing")
    whole = found.among(np.array([0, 2, 3]), why, ids(5))
    assert whole.error.tolist() == why.tolist()
    assert whole.labels.tolist() == ["no", "", "yes", "no", ""]
    assert whole.ids.tolist() == ids(5).tolist()
    assert whole.certified.tolist() == [True, False, False, True, False]
    nobody = found[:0].among(np.arange(0), texts("a", "b"))
    assert nobody.error.tolist() == ["a", "b"]
    everybody = found.among(np.arange(3), texts("", "", ""))
    assert everybody.labels.tolist() == found.labels.tolist()


@pytest.mark.parametrize("named", [True, False])
def test_a_frame_and_an_arrow_table(named):
    whole = read_report(report(), 3).among(
        np.array([0, 2, 3]), texts("", "lost", "", ""), ids(4) if named else None
    )
    frame = whole.to_frame()
    assert list(frame) == [
        "label", "p(no)", "p(yes)", "p(perhaps)", "votes(no)", "votes(yes)", "votes(perhaps)",
        "certified", "filled", "error",
    ]  # fmt: skip
    assert list(frame.index) == (ids(4).tolist() if named else [0, 1, 2, 3])
    assert frame.index.name == ("id" if named else None)
    assert frame["label"].isna().tolist() == [False, True, False, False]
    assert frame["error"].notna().tolist() == [False, True, False, False]
    assert frame["p(yes)"].tolist()[2:] == [0.8, 0.0]
    assert frame["votes(no)"].tolist() == [3, 0, 1, 5]
    table = whole.to_arrow()
    assert table.column_names == [*(["id"] if named else []), *frame]
    assert table["label"].to_pylist() == ["no", None, "yes", "no"]
    assert table["error"].to_pylist() == [None, "lost", None, None]
    assert table["certified"].to_pylist() == [True, False, False, True]
    if named:
        assert table["id"].to_pylist() == ids(4).tolist()


@pytest.mark.parametrize(("library", "method"), [("pandas", "to_frame"), ("pyarrow", "to_arrow")])
def test_what_is_not_installed_is_named(library, method, monkeypatch):
    plain = builtins.__import__

    def absent(name, *others, **more):
        if name == library:
            raise ImportError
        return plain(name, *others, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(BackendUnavailableError, match=library):
        getattr(read_report(report(), 3), method)()


def test_pickles_and_copies_say_the_same():
    whole = read_report(report(), 3).among(np.array([0, 2, 3]), texts("", "lost", "", ""), ids(4))
    again = pickle.loads(pickle.dumps(whole))
    assert again == whole
    assert again[2].advice == whole[2].advice


def test_equal_are_those_that_say_the_same():
    one, two = read_report(report(), 3), read_report(report(), 3)
    other = read_report(report(findings=(("yes", "Come today."), ("no", ""))), 3)
    both = Diagnoses.concatenate([one, other])
    assert one == two == both[:3] != both[3:] == other
    assert one.named(ids(3)) == two.named(ids(3)) != two.named(ids(3, 1))
    assert one != one.named(ids(3))
    assert one != list(one)
    assert Diagnoses.failed("late", 3) == Diagnoses.failed("late", 3) != Diagnoses.failed("lost", 3)
    for changes in ({"certified": bytes(3)}, {"method": "relief-mw"}, {"probabilities": bytes(72)}):
        assert read_report(report(**changes), 3) != one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choice": bytes(4)}, "choice"),
        ({"votes": bytes(12)}, "votes"),
        ({"certified": bytes([1, 0, 2])}, "0 or 1"),
        ({"filled": bytes(5)}, "6 bytes of filled"),
        ({"probabilities": np.full(9, 1.5).tobytes()}, "from 0 to 1"),
        ({"probabilities": np.full(9, np.nan).tobytes()}, "from 0 to 1"),
        ({"classes": ("no", "yes", "no")}, "different names"),
        ({"findings": (("yes", ""), ("yes", ""))}, "one finding"),
        ({"findings": (("yes", ""), ("never", ""))}, "one finding"),
        ({"findings": (("yes", ""),)}, "beyond"),
        ({"k": 7}, "K votes"),
    ],
)
def test_a_report_that_no_hospital_makes_is_refused(changes, message):
    with pytest.raises(FramingError, match=message):
        read_report(report(**changes), 3)
