from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd import datasets
from ompd.encode import ReliefEncoder
from ompd.encode.coarse import CoarseEncoder, choose_step, coarsen
from ompd.errors import DomainError, LabelError, NeighborsError, ParameterError
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, compute, limbs_of, vote

STEP = st.one_of(st.integers(1, 2**62), st.integers(0, 62).map(lambda bits: 1 << bits))


@given(st.lists(st.integers(-(2**62), 2**63 - 1), max_size=20), STEP)
def test_division_rounds_half_to_even(values, step):
    expected = [round(Fraction(value, step)) for value in values]
    assert coarsen(np.array(values, dtype=np.int64), step).tolist() == expected


@given(st.integers(0, 1000), st.integers(1, 2**40))
def test_ties_go_to_the_even_neighbour(quotient, half):
    middle = np.array([(2 * quotient + 1) * half], dtype=np.int64)
    assert coarsen(middle, 2 * half).tolist() == [quotient + quotient % 2]


def encoder_of(weights):
    schema = Schema(
        tuple(Feature(f"f{j}", "numeric", 0.0, 1.0) for j in range(len(weights))),
        ("no", "yes"),
    )
    return ReliefEncoder(schema, weights, 16, 16)


@given(
    st.lists(st.integers(0, 2**16), min_size=1, max_size=9),
    st.integers(1, 2**34),
    st.integers(0, 2**32),
)
def test_coarse_encoder_is_an_encoder(weights, step, seed):
    base = encoder_of(tuple(weights))
    coarse = CoarseEncoder(base, step)
    rows = np.random.default_rng(seed).uniform(0, 1, (5, len(weights)))
    vectors = coarse.encode(rows)
    expected = [[round(Fraction(x, step)) for x in row] for row in base.encode(rows).tolist()]
    assert vectors.tolist() == expected
    assert vectors.dtype == np.int64
    assert coarse.schema is base.schema
    assert coarse.coordinates == len(weights)
    top = coarse.encode(np.ones(len(weights)))
    assert top.max() == coarse.largest == round(Fraction(base.largest, step))


@pytest.mark.parametrize("step", [0, -1, 2**62 + 1, 2.0, True, None])
def test_senseless_steps_are_refused(step):
    with pytest.raises(ParameterError, match="step: expected an integer from 1"):
        CoarseEncoder(encoder_of((1,)), step)
    with pytest.raises(ParameterError, match="step: expected an integer from 1"):
        coarsen(np.zeros(1, np.int64), step)


def test_errors_of_the_base_come_through():
    with pytest.raises(DomainError):
        CoarseEncoder(encoder_of((1, 1)), 4).encode([0.5, 1.5])


def leave_one_out(vectors, labels, k):
    """Right answers, neighbours of the own class, and rows that differ from all others."""
    table = LimbTable(limbs_of(vectors), labels, int(labels.max()) + 1)
    found = compute(table, table.limbs, k, exclude=np.arange(len(labels)))
    own = (labels[found[1]] == labels[:, np.newaxis]).sum()
    counts = np.unique(vectors, axis=0, return_counts=True)[1]
    return int((vote(table, *found) == labels).sum()), int(own), int((counts == 1).sum())


@pytest.mark.parametrize(("name", "k", "seed"), [("wbc", 9, 5), ("mm", 11, 4), ("mm", 11, 5)])
def test_chosen_step_is_the_coarsest_that_costs_nothing(name, k, seed):
    train, _ = datasets.load(name).split(seed=seed)
    vectors = ReliefEncoder.fit(train.schema, train.features, train.labels).encode(train.features)
    step = choose_step(vectors, train.labels, 2, k)
    wanted = leave_one_out(vectors, train.labels, k)
    width = int(np.ptp(vectors, axis=0).max()).bit_length()
    passing = []
    for bits in range(2, 17):
        coarse = coarsen(vectors, 1 << (width - bits))
        found = leave_one_out(coarse, train.labels, k)
        right = wanted[0] - found[0] <= len(vectors) / 250
        alike = wanted[1] - found[1] <= len(vectors) * k / 250
        if right and alike and 2 * found[2] >= wanted[2]:
            passing.append(1 << (width - bits))
    assert step == max(passing)
    assert step == choose_step(vectors, train.labels, 2, k)


def test_a_larger_table_is_judged_by_evenly_spread_rows(rng):
    # The class is the low bit of a number of 12 bits: only the first rows are held out.
    vectors = np.concatenate(
        [rng.integers(0, 2**12, (300, 1)) << 20, rng.integers(0, 2**12, (900, 1)) << 20]
    )
    labels = (vectors[:, 0] >> 31).astype(np.int64)
    assert choose_step(vectors, labels, 2, 1, held_out=40) >= 2**20
    with pytest.raises(NeighborsError):
        choose_step(vectors[:5], labels[:5], 2, 5)


def test_fine_classes_need_fine_steps(rng):
    # Neighbouring numbers differ in class, so every bit counts; duplicates make 1-NN perfect.
    vectors = np.repeat(rng.permutation(2**12)[:400], 3)[:, np.newaxis] * 64
    labels = (vectors[:, 0] // 64 % 2).astype(np.int64)
    assert choose_step(vectors, labels, 2, 1) == 64


def test_few_bits_are_left_as_they_are():
    labels = np.array([0, 0, 1, 1])
    for vectors in ([[0], [1], [2], [3]], [[7], [7], [7], [7]]):
        assert choose_step(np.array(vectors), labels, 2, 1) == 1
    with pytest.raises(LabelError):
        choose_step(np.array([[0], [900], [50], [70]]), np.array([0, 0, 1, 2]), 2, 1)
