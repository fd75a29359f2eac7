from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.datasets import Dataset, DatasetInfo, available, load
from ompd.errors import DatasetError, DomainError, LabelError, ParameterError
from ompd.schema import Feature, Schema


def make(labels, classes=3):
    """One feature that numbers the rows, so that rows can be told apart."""
    labels = np.asarray(labels, dtype=np.int64)
    schema = Schema(
        (Feature("row", "ordinal", 0.0, 1000.0),), tuple(f"class{i}" for i in range(classes))
    )
    counts = tuple(np.bincount(labels, minlength=classes).tolist())
    info = DatasetInfo(
        name="made", title="", schema=schema, rows=len(labels), class_rows=counts, sha256=""
    )
    return Dataset(info, np.arange(len(labels), dtype=np.float64)[:, np.newaxis], labels)


@st.composite
def tables(draw):
    held = draw(st.integers(1, 5))
    counts = draw(st.lists(st.integers(held + 2, held + 12), min_size=1, max_size=4))
    labels = draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist()))
    return make(labels, len(counts)), held


@given(tables(), st.integers(0, 2**70))
def test_split_partitions_in_order(table, seed):
    dataset, held = table
    train, test = dataset.split(held, seed)
    train_rows, test_rows = train.features[:, 0], test.features[:, 0]
    assert (np.diff(train_rows) > 0).all()
    assert (np.diff(test_rows) > 0).all()
    assert sorted([*train_rows, *test_rows]) == list(range(len(dataset)))
    assert test.class_rows == (held,) * len(dataset.schema.classes)
    assert min(train.class_rows) >= 2
    for part in (train, test):
        assert (part.labels == dataset.labels[part.features[:, 0].astype(int)]).all()
        assert part.info is dataset.info


@given(tables(), st.integers(0, 2**32))
def test_split_depends_on_the_seed_alone(table, seed):
    dataset, held = table
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - that it is left alone is the point
    first, second = dataset.split(held, seed), dataset.split(held, seed)
    for one, other in zip(first, second, strict=True):
        assert (one.features == other.features).all()
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_split_of_the_paper():
    train, test = load("wbc").split()
    assert train.class_rows == (344, 139)
    assert test.class_rows == (100, 100)
    assert (load("wbc").split()[1].features == test.features).all()
    assert not np.array_equal(load("wbc").split(seed=1)[1].features, test.features)


def test_every_row_is_held_out_by_some_seed():
    dataset = make([0, 1, 2] * 4)
    seen = {row for seed in range(60) for row in dataset.split(1, seed)[1].features[:, 0]}
    assert seen == set(range(12))


def test_split_needs_two_rows_left():
    assert make([0] * 5 + [1] * 9, 2).split(3)[0].class_rows == (2, 6)
    with pytest.raises(DatasetError, match=r"at least 6 rows .* got 5 of 'class0'"):
        make([0] * 5 + [1] * 9, 2).split(4)
    with pytest.raises(DatasetError, match="got 0 of 'class2'"):
        make([0, 1] * 9).split(1)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, np.True_, "1", None, np.float64(2)])
def test_split_size_is_a_positive_integer(value):
    with pytest.raises(ParameterError, match=r"^test_per_class: .* at least 1$"):
        make([0, 1, 2] * 9).split(value)


@pytest.mark.parametrize("value", [-1, 0.0, True, "1", None, [1]])
def test_split_seed_is_an_integer_from_zero(value):
    with pytest.raises(ParameterError, match=r"^seed: .* at least 0$"):
        make([0, 1, 2] * 9).split(1, value)


def test_split_takes_numpy_integers():
    first, second = make([0, 1, 2] * 9), make([0, 1, 2] * 9)
    left = first.split(np.int8(2), np.uint64(7))[1].features
    assert (left == second.split(2, 7)[1].features).all()


@pytest.mark.parametrize("rows", [[2, 0, 2], (2, 0, 2), np.array([2, 0, 2], dtype=np.uint8)])
def test_take(rows):
    part = make([0, 1, 2]).take(rows)
    assert part.features[:, 0].tolist() == [2, 0, 2]
    assert part.labels.tolist() == [2, 0, 2]
    assert part.class_rows == (1, 0, 2)


@pytest.mark.parametrize("rows", [[], (), range(0), np.empty(0, dtype=np.int64)])
def test_take_nothing(rows):
    part = make([0, 1, 2]).take(rows)
    assert len(part) == 0
    assert part.features.shape == (0, 1)


@pytest.mark.parametrize(
    "rows", [[3], [-1], [0.0], [True, False, True], 1, [[0]], ["0"], None, np.empty(0)]
)
def test_take_refuses(rows):
    with pytest.raises(DatasetError, match=r"^rows: "):
        make([0, 1, 2]).take(rows)


def test_arrays_are_read_only_copies():
    dataset = make([0, 1, 2])
    values, labels = np.array([[1.0]]), np.array([2])
    other = Dataset(dataset.info, values, labels)
    values[0], labels[0] = 9, 0
    assert other.features.item() == 1
    assert other.labels.item() == 2
    parts = [dataset, other, *make([0, 1] * 4, 2).split(1), dataset.take([0])]
    for part in [*parts, pickle.loads(pickle.dumps(dataset)), copy.deepcopy(dataset)]:
        assert not part.features.flags.writeable
        assert not part.labels.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.labels = labels


def test_pickle_keeps_everything():
    dataset = load("mm")
    again = pickle.loads(pickle.dumps(dataset))
    assert again.info == dataset.info
    assert (again.features == dataset.features).all()
    assert (again.labels == dataset.labels).all()


def test_construction_checks():
    info = make([0]).info
    with pytest.raises(DomainError):
        Dataset(info, np.array([[-1.0]]), np.array([0]))
    with pytest.raises(LabelError):
        Dataset(info, np.array([[1.0]]), np.array([3]))
    with pytest.raises(LabelError):
        Dataset(info, np.array([[1.0]]), np.array([0, 1]))


def test_repr_shows_sizes_only():
    assert repr(load("mm")) == "<Dataset 'mm': 830 × 5, 427 benign, 403 malignant>"
    dataset = make([0, 1, 2])
    dataset = Dataset(dataset.info, np.array([[641.0]]), np.array([1]))
    assert "641" not in repr(dataset) + str(dataset) + f"{dataset}"


def test_info_is_frozen():
    with pytest.raises(AttributeError):
        available()[0].name = "other"
