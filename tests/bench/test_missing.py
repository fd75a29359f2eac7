"""What becomes of missing values: the rules that are compared."""

from __future__ import annotations

import numpy as np
import pytest

from bench import missing as bench
from ompd import datasets
from ompd.datasets import Dataset
from ompd.schema import Feature, Schema

NAN = np.nan
SCHEMA = Schema([Feature("x", "numeric", 0, 9), Feature("kind", "nominal", 0, 2)], ["a", "b"])
ROWS = np.array([[1, 0], [2, NAN], [3, 0], [NAN, 2], [7, 2], [8, 1]], dtype=np.float64)
CODES = np.array([0, 0, 0, 1, 1, 1])


def rows_of(rule, rows=ROWS, codes=CODES):
    made = bench.ready(rule, SCHEMA, rows, codes)
    return made.features.tolist(), made.ask(np.array([[NAN, NAN]])).tolist()


def test_each_rule_does_what_it_is_called_by():
    assert rows_of("complete") == ([[1, 0], [3, 0], [7, 2], [8, 1]], [[3, 0]])
    medians = [[1, 0], [2, 0], [3, 0], [7, 2], [7, 2], [8, 1]]
    assert rows_of("class medians") == (medians, [[3, 0]])
    marks = [[0, 0], [0, 1], [0, 0], [1, 0], [0, 0], [0, 0]]
    filled = [[1, 0], [2, 0], [3, 0], [3, 2], [7, 2], [8, 1]]
    both = [row + mark for row, mark in zip(filled, marks, strict=True)]
    assert rows_of("indicator") == (both, [[3, 0, 1, 1]])
    for rule, kinds in (("median", ["median", "median"]), ("level", ["median", "level"])):
        made = bench.ready(rule, SCHEMA, ROWS, CODES)
        assert np.array_equal(made.features, ROWS, equal_nan=True)
        assert [each.missing for each in made.schema.features] == kinds
    gappy = np.where(CODES[:, None] == 1, [[NAN, 2]], ROWS)
    assert bench.ready("complete", SCHEMA, gappy, CODES) is None
    # A feature that nobody of a class has is filled by all.
    assert rows_of("class medians", gappy)[0][3:] == [[2, 2]] * 3


@pytest.mark.parametrize("how", ["at random", "high values", "one class"])
def test_values_are_taken_out_as_it_says(how):
    data = datasets.load("wbc")
    gaps = np.isnan(bench.removed(data, how, 0.3))
    assert gaps.mean() == pytest.approx(0.3, abs=0.1)
    high = data.features > np.median(data.features, axis=0)
    by_class = [gaps[data.labels == code].mean() for code in (0, 1)]
    assert (gaps[high].mean() > gaps[~high].mean() + 0.1) == (how == "high values")
    assert (by_class[0] > by_class[1] + 0.3) == (how == "one class")


@pytest.mark.long
def test_every_rule_is_judged_on_the_same_splits(monkeypatch, tmp_path):
    data = datasets.load("mm").take(np.r_[0:90, 740:830])
    values = bench.removed(data, "at random", 0.1)
    found = bench.study(data, values, 1)
    assert set(found) == {(m, rule) for m in bench.METHODS for rule in bench.RULES}
    for scores in found.values():
        ((right, balanced, loss),) = scores
        assert 0.5 < balanced <= 1
        assert 0.4 < right <= 1
        assert 0 < loss < 2
    assert len({scores[0] for scores in found.values()}) > 5
    rows = bench.summary("mm", values, found | {("relief-mw", "complete"): []})
    assert [row["splits"] for row in rows].count(0) == 1
    monkeypatch.setattr(bench, "tables", lambda own: {"mm": (data, values)})
    monkeypatch.setattr(bench, "METHODS", {"relief-mw": bench.METHODS["relief-mw"]})
    bench.main(1, None, tmp_path / "made")
    text = (tmp_path / "made" / "missing.csv").read_text()
    assert text.count("\n") == 1 + len(bench.RULES)


def test_own_tables_bring_their_schema_along(tmp_path, monkeypatch):
    data = Dataset.from_arrays(bench.declared(SCHEMA, "level"), ROWS, ["a"] * 3 + ["b"] * 3)
    asked = []
    monkeypatch.setattr(bench.datasets, "load", lambda *a: asked.append(a) or data)
    found = bench.tables([tmp_path / "own.csv"])
    assert asked == [(tmp_path / "own.csv", tmp_path / "own.toml")]
    assert np.isnan(found["own"][1]).sum() == 2
    assert len(found) == 1
    assert len(bench.tables([])) == 2 * len(bench.GAPS)
