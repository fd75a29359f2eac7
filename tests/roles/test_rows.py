"""Ids and row numbers, and what is told of how far a table has moved."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd import Feature, Schema
from ompd.errors import LabelError, NeighborsError, ParameterError
from ompd.roles.drift import Summary
from ompd.roles.rows import Rows, codes_of


def texts(ids):
    return np.array(ids, dtype=np.str_)


def codes(count, classes=3):
    return np.arange(count, dtype=np.int64) % classes


@given(st.data())
def test_rows_are_found_as_in_a_dictionary(data):
    pool = [f"patient-{number}" for number in range(30)]
    first = data.draw(st.lists(st.sampled_from(pool), min_size=1, unique=True))
    rows = Rows.of(texts(first), codes(len(first)))
    model = {id: row for row, id in enumerate(first)}
    labels = dict(enumerate(codes(len(first)).tolist()))
    for _ in range(data.draw(st.integers(0, 6))):
        step = data.draw(st.sampled_from(["add", "remove", "relabel"]))
        if step == "add":
            free = [id for id in pool if id not in model]
            more = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
            rows.check_new(texts(more), len(more))
            for id, code in zip(more, codes(len(more)).tolist(), strict=True):
                model[id] = len(labels)
                labels[len(labels)] = code
            rows = rows.added(texts(more), codes(len(more)))
        elif model:
            some = data.draw(st.lists(st.sampled_from(sorted(model)), min_size=1, unique=True))
            found = rows.find(some)
            assert found.tolist() == [model[id] for id in some]
            if step == "remove":
                rows = rows.without(found)
                for id in some:
                    del model[id]
            else:
                rows = rows.relabelled(found, codes(len(found)))
                labels |= dict(zip(found.tolist(), codes(len(found)).tolist(), strict=True))
    assert len(rows) == len(labels)
    assert rows.live == len(model)
    now = Counter(labels[row] for row in model.values())
    assert rows.counts(3).tolist() == [now[code] for code in range(3)]
    for id in set(pool) - set(model):
        with pytest.raises(ParameterError, match="1 of 1 name no row"):
            rows.find([id])


def test_rows_without_ids_go_by_their_numbers():
    rows = Rows.of(None, codes(5)).added(None, codes(2)).without(np.array([1]))
    assert rows.find([0, "6", np.int64(4)]).tolist() == [0, 6, 4]
    for wrong in (1, 7, "-1", "1e0", "x", "9" * 30):
        with pytest.raises(ParameterError, match="name no row"):
            rows.find([0, wrong])
    with pytest.raises(ParameterError, match="one twice"):
        rows.find(["4", "04"])
    with pytest.raises(ParameterError, match="without ids"):
        rows.check_new(texts(["a"]), 1)


def test_what_is_wrong_with_ids_is_told_without_them():
    rows = Rows.of(texts(["anna", "berta", "carla"]), codes(3))
    for ids, message in (
        (["berta", "dora", "emma"], "2 of 3 name no row of the table, the first at place 1"),
        (["anna", "anna"], "one twice"),
        ([], "at least one"),
        ("anna", "expected texts"),
        ([None], "expected texts"),
        (5, "expected texts"),
    ):
        with pytest.raises(ParameterError, match=message) as caught:
            rows.find(ids)
        assert not {"anna", "dora"} & set(str(caught.value).replace(",", " ").split())
        assert caught.value.__context__ is None
    with pytest.raises(ParameterError, match="1 of 2 are in the table, the first at place 1"):
        rows.check_new(texts(["dora", "anna"]), 2)
    with pytest.raises(ParameterError, match="with ids"):
        rows.check_new(None, 2)
    with pytest.raises(ParameterError, match="expected 2"):
        rows.check_new(texts(["dora"]), 2)
    with pytest.raises(NeighborsError, match="K = 3"):
        rows.check_left(np.array([0]), 3)


def test_an_id_may_come_back_under_another_number():
    rows = Rows.of(texts(["a", "b"]), codes(2)).without(np.array([0]))
    rows.check_new(texts(["a"]), 1)
    assert rows.added(texts(["a"]), codes(1)).find(["a", "b"]).tolist() == [2, 1]


def test_nothing_of_a_removed_row_is_kept():
    rows = Rows.of(texts(["a", "b"]), codes(2), ["ab" * 16, "cd" * 16]).without(np.array([1]))
    assert not rows.digests[1].any()
    assert rows.names[1] == rows.labels[1] == 0
    assert rows.names[0] == int.from_bytes(b"\xab" * 8, "little")


def test_a_row_takes_nineteen_bytes():
    rows = Rows.of(texts([str(each) for each in range(100)]), codes(100))
    arrays = (rows.digests, rows.labels, rows.gone, rows.names)
    assert sum(array.nbytes for array in arrays) == 1900


def test_classes_go_by_their_names():
    assert codes_of(["no", "yes"], ("yes", "no"), 2).tolist() == [1, 0]
    assert codes_of(texts(["no"]), ("yes", "no"), 1).tolist() == [1]
    for labels, message in (
        (["no"], "expected 2, one per id, got 1"),
        (["yes", "perhaps"], "1 of 2 name no class of the table, the first at place 1"),
        (["yes", 1], "1 of 2 name no class"),
        ("no", "names of classes"),
        (7, "names of classes"),
    ):
        with pytest.raises(LabelError, match=message):
            codes_of(labels, ("yes", "no"), 2)


SCHEMA = Schema(
    (
        Feature("age", "numeric", 0, 100, missing="median"),
        Feature("kind", "nominal", 0, 9),
        Feature("grade", "ordinal", 1, 9),
    ),
    ("no", "yes"),
)


def plus(summary, features):
    return summary.plus(*summary.counted(SCHEMA, features), len(features))


def naive_part(value, edges, nominal):
    if math.isnan(value):
        return "missing"
    if nominal:
        return value if value in edges else "unseen"
    return sum(edge < value for edge in edges)


def naive_drift(then, added, nominal):
    """Stability index and share outside, of one feature."""
    seen = [value for value in then if not math.isnan(value)]
    edges = set(seen)
    if not nominal and seen:
        edges = {sorted(seen)[(len(seen) - 1) * part // 10] for part in range(1, 10)}
    before = Counter(naive_part(value, edges, nominal) for value in then)
    after = Counter(naive_part(value, edges, nominal) for value in added)
    parts = set(before) | set(after)
    p = {part: before[part] + 0.5 for part in parts}
    q = {part: after[part] + 0.5 for part in parts}
    index = sum(
        (q[part] / sum(q.values()) - p[part] / sum(p.values()))
        * math.log(q[part] / sum(q.values()) * sum(p.values()) / p[part])
        for part in parts
    )
    outside = 0
    for value in added:
        if math.isnan(value):
            outside += len(seen) == len(then)
        elif nominal:
            outside += value not in edges
        else:
            outside += not (seen and min(seen) <= value <= max(seen))
    return index, outside / len(added)


@given(st.data())
def test_drift_equals_a_count_by_hand(data):
    value = st.one_of(st.integers(1, 9).map(float), st.just(math.nan))
    record = st.tuples(value, st.integers(0, 9).map(float), st.integers(1, 9).map(float))
    then = data.draw(st.lists(record, min_size=1, max_size=40))
    parts = data.draw(st.lists(st.lists(record, max_size=20), max_size=3))
    labels = np.arange(len(then)) % 2
    summary = Summary.of(SCHEMA, np.array(then), labels)
    for part in parts:
        summary = plus(summary, np.array(part).reshape(-1, 3))
    added = [record for part in parts for record in part]
    drift = summary.with_changed(2, 3).drift(SCHEMA, np.array([3, 1]))
    assert drift.added == len(added) / len(then)
    assert (drift.removed, drift.relabelled) == (2 / len(then), 3 / len(then))
    assert drift.classes["yes"] == (sum(labels.tolist()) / len(then), 0.25)
    for place, feature in enumerate(SCHEMA.features):
        if not added:
            assert drift.features[feature.name] == drift.outside[feature.name] == 0
            continue
        index, outside = naive_drift(
            [record[place] for record in then],
            [record[place] for record in added],
            feature.kind == "nominal",
        )
        assert drift.features[feature.name] == pytest.approx(index, abs=1e-12)
        assert drift.outside[feature.name] == outside


def test_like_records_are_no_drift_and_others_are(rng):
    def drawn(count, shift):
        return np.stack(
            [
                rng.normal(40 + shift, 10, count).clip(0, 100),
                rng.integers(0, 9, count).astype(float),
                rng.integers(1, 9, count).astype(float),
            ],
            axis=1,
        )

    summary = Summary.of(SCHEMA, drawn(4000, 0), np.arange(4000) % 2)
    like = plus(summary, drawn(2000, 0)).drift(SCHEMA, np.array([1, 1]))
    assert max(like.features.values()) < 0.05
    moved = plus(summary, drawn(2000, 25)).drift(SCHEMA, np.array([1, 1]))
    assert moved.features["age"] > 1
    assert moved.features["kind"] < 0.05
    assert moved.outside["age"] > 0
