from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd._kernels.laplace import fill_noise
from ompd.blind import LaplaceNoise, epsilon_per_unit
from ompd.blind.laplace import KEY_BYTES
from ompd.errors import (
    KeyMaterialError,
    OverflowParameterError,
    ParameterError,
    PrivacyParameterError,
)
from tests import naive

KEY = bytes(range(KEY_BYTES))
PARTS = st.one_of(st.integers(1, 40), st.integers(1, 2**48 - 1))
#: A chi-square statistic above this has a probability below 1e-6 for up to 40 degrees of freedom.
CHI_SQUARE = 100.0


class Words:
    """Uniform words, one after the other."""

    def __init__(self, words):
        self.words = iter(words)

    def below(self, bound):
        """Uniform integer below `bound`."""
        if bound == 1:
            return 0
        while True:
            word = next(self.words)
            if word < 2**64 // bound * bound:
                return word % bound

    def chance(self, gamma):
        """True with probability exp(-gamma) for a pair gamma of numerator and denominator."""
        count = 1
        while self.below(gamma[1]) < gamma[0] and self.below(count) == 0:
            count += 1
        return count % 2 == 1

    def laplace(self, numerator, denominator):
        """Discrete Laplace of scale denominator/numerator, as published."""
        while True:
            rest = self.below(denominator)
            if not self.chance((rest, denominator)):
                continue
            units = 0
            while self.chance((1, 1)):
                units += 1
            size = (rest + denominator * units) // numerator
            if self.below(2) == 0:
                return size
            if size:
                return -size


@given(PARTS, PARTS, st.integers(0, 2**32), st.integers(1, 4))
def test_kernel_equals_the_sampler_in_python_integers(numerator, denominator, seed, columns):
    words = np.random.default_rng(seed).integers(0, 2**64, (3, 200), dtype=np.uint64)
    # The largest words are those that a rejection must throw away.
    words[0, ::5] = 2**64 - 1
    words[1, ::3] = 2**64 - 1 - words[1, ::3] % np.uint64(denominator)
    noise = np.empty((3, columns), np.int64)
    short = np.empty(3, np.bool_)
    fill_noise(words, np.uint64(numerator), np.uint64(denominator), noise, short)
    for row in range(3):
        source = Words(words[row].tolist())
        try:
            expected = [source.laplace(numerator, denominator) for _ in range(columns)]
        except StopIteration:
            assert short[row]
        else:
            assert not short[row]
            assert noise[row].tolist() == expected


def test_short_words_are_reported_at_every_length():
    words = np.random.default_rng(1).integers(0, 2**64, (1, 60), dtype=np.uint64)
    noise, short = np.empty((1, 2), np.int64), np.empty(1, np.bool_)
    reached = []
    for length in range(61):
        part = np.ascontiguousarray(words[:, :length])
        fill_noise(part, np.uint64(3), np.uint64(10), noise, short)
        if not short[0]:
            reached.append(noise.tolist())
    assert 0 < len(reached) < 60
    assert all(found == reached[0] for found in reached)


def probability(value, a):
    q = math.exp(-a)
    return (1 - q) / (1 + q) * q ** abs(value)


@pytest.mark.parametrize("a", [Fraction(1, 7), Fraction(2, 3), Fraction(1), Fraction(9, 4)])
def test_noise_has_the_distribution_of_the_claim(a):
    # Two vectors and two kinds: what the noise is added to must not matter.
    vectors = np.concatenate([np.zeros((3000, 9), np.int64), np.full((3000, 9), 50)])
    identities = [str(number) for number in range(len(vectors))]
    noise = LaplaceNoise(KEY, a)
    for release in (noise.instances, noise.queries):
        drawn = release(vectors, identities) - vectors
        for part in (drawn[:3000], drawn[3000:], drawn[:, :1], drawn[:, 8:]):
            most = 1
            while part.size * probability(most + 1, a) > 20 and most < 15:
                most += 1
            statistic, rest = 0.0, part.size
            for value in range(-most, most + 1):
                expected = part.size * probability(value, a)
                count = int((part == value).sum())
                statistic += (count - expected) ** 2 / expected
                rest -= count
            expected = part.size * (
                1 - sum(probability(value, a) for value in range(-most, most + 1))
            )
            if expected > 20:
                statistic += (rest - expected) ** 2 / expected
            assert statistic < CHI_SQUARE


@pytest.mark.parametrize("a", [Fraction(1, 10**6), Fraction(12345, 2**47), Fraction(1, 2**40)])
def test_wide_noise_has_the_right_tail(a):
    vectors = np.zeros((8000, 5), np.int64)
    drawn = LaplaceNoise(KEY, a).instances(vectors).astype(np.float64) * float(a)
    # Continuous by now: quantiles of the Laplace distribution of scale 1.
    expected = [-math.log(2 * share) for share in (0.05, 0.25)]
    for share, quantile in zip((0.95, 0.75), expected, strict=True):
        assert abs((drawn < quantile).mean() - share) < 0.012
        assert abs((drawn > -quantile).mean() - share) < 0.012


def test_strong_a_leaves_values_alone():
    vectors = np.arange(90).reshape(10, 9)
    noise = LaplaceNoise(KEY, Fraction(200))
    assert (noise.instances(vectors) == vectors).all()
    assert (noise.queries(vectors) == vectors).all()


def test_log_ratio_of_random_pairs_is_bounded_and_the_bound_is_reached(rng):
    a, draws = Fraction(1, 10), 20_000
    noise = LaplaceNoise(KEY, a)
    identities = [str(number) for number in range(draws)]
    for _ in range(5):
        x, y = rng.integers(0, 6, (2, 4))
        distance = naive.l1(x.tolist(), y.tolist())
        outcomes = noise.queries(np.repeat(x[np.newaxis], draws, axis=0), identities)
        # Log of Pr[M(x) = outcome] / Pr[M(y) = outcome] in units of a: the other factors cancel.
        ratios = np.abs(outcomes - y).sum(axis=1) - np.abs(outcomes - x).sum(axis=1)
        assert np.abs(ratios).max() <= distance
        # Weighted with 1 / ratio the outcomes of x are those of y, whose probabilities add up to
        # 1: that holds only if the noise really has this ratio.
        weights = np.exp(-float(a) * ratios)
        assert abs(weights.mean() - 1) < 6 * weights.std() / math.sqrt(draws) + 1e-9
        # The bound is reached where every coordinate falls on the side of x.
        q = math.exp(-a)
        share = math.prod(1 / (1 + q) if p != r else 1.0 for p, r in zip(x, y, strict=True))
        error = math.sqrt(share * (1 - share) / draws)
        assert abs((ratios == distance).mean() - share) <= 6 * error


def test_frequencies_of_neighbouring_vectors_keep_and_reach_the_bound():
    # One coordinate, vectors one and three apart; exp(a * distance) is 1.65 and 4.48.
    a, count = Fraction(1, 2), 40_000
    noise = LaplaceNoise(KEY, a)
    identities = [str(number) for number in range(count)]
    for distance in (1, 3):
        left, right = (
            noise.queries(np.full((count, 1), value), identities)[:, 0] for value in (0, distance)
        )
        bound = math.exp(a * distance)
        for outcome in range(-3, 4 + distance):
            ratio = (left == outcome).sum() / (right == outcome).sum()
            assert 1 / bound / 1.2 < ratio < bound * 1.2
        assert (left <= 0).sum() / (right <= 0).sum() > bound / 1.1
        assert (left >= distance).sum() / (right >= distance).sum() < 1 / bound * 1.1


def test_repeated_queries_do_not_average_the_noise_away(rng):
    noise = LaplaceNoise.generate(Fraction(1, 20))
    vector = rng.integers(0, 100, (1, 9))
    first = noise.queries(vector, ["alice"])
    assert (first != vector).any()
    many = np.repeat(vector, 500, axis=0)
    assert (noise.queries(many, ["alice"] * 500) == first).all()
    # In other company, in another order and place too.
    mixed = np.concatenate([rng.integers(0, 100, (7, 9)), vector])
    assert (noise.queries(mixed, [*"abcdefg", "alice"])[7] == first[0]).all()
    assert (noise.queries(many) == noise.queries(vector)[0]).all()


def test_noise_depends_on_vector_person_kind_key_and_epsilon(rng):
    a = Fraction(1, 10**9)
    vector = rng.integers(0, 100, (1, 9))
    noise = LaplaceNoise(KEY, a)
    releases = [
        noise.queries(vector) - vector,
        noise.queries(vector, ["alice"]) - vector,
        noise.queries(vector, ["bob"]) - vector,
        noise.queries(vector, [""]) - vector,
        noise.instances(vector) - vector,
        noise.instances(vector, ["alice"]) - vector,
        noise.queries(vector + 1) - vector - 1,
        LaplaceNoise(KEY[::-1], a).queries(vector) - vector,
        LaplaceNoise(KEY, Fraction(1, 10**9 + 1)).queries(vector) - vector,
        LaplaceNoise.generate(a).queries(vector) - vector,
        LaplaceNoise.generate(a).queries(vector) - vector,
    ]
    values = np.concatenate(releases).reshape(-1)
    # All coordinates of all of them differ; by chance two would with a probability below 1e-5.
    assert len(np.unique(values)) == len(values) == 99


def same_bytes():
    """A row and a query whose bytes, with count and identity, are the same."""
    # Count 0 | 5 | 1 | no identity: 0 and one byte of 0. As a query: 0 | 5 | has one | its bytes.
    return (np.array([[5, 1]]), None), (np.array([[0, 5]]), ["\0" * 8])


def test_rows_and_queries_never_share_noise_or_name():
    row, query = same_bytes()
    noise = LaplaceNoise(KEY, Fraction(1, 10**9))
    drawn = noise.instances(*row) - row[0], noise.queries(*query) - query[0]
    assert not np.isin(*drawn).any()
    digests = [*noise.instance_digests(*row), *noise.query_digests(*query)]
    assert len(set(digests)) == 2


def test_names_are_not_what_noise_is_made_of():
    """The ledger's file keeps names; noise that followed from one would come off the vector."""
    a, rows = Fraction(1, 10**9), np.arange(900).reshape(300, 3)
    noise = LaplaceNoise(KEY, a)
    for names, release in (
        (noise.query_digests(rows), noise.queries(rows)),
        (noise.instance_digests(rows), noise.instances(rows)),
    ):
        words = np.zeros((300, 400), np.uint64)
        words[:, :4] = [np.frombuffer(name, "<u8") for name in names]
        drawn, short = np.empty((300, 1), np.int64), np.empty(300, np.bool_)
        fill_noise(words, np.uint64(a.numerator), np.uint64(a.denominator), drawn, short)
        # Four words are enough for a first coordinate here and there.
        assert not (drawn[:, 0] == (release - rows)[:, 0]).any()


def test_row_names_are_those_of_releases():
    noise = LaplaceNoise(KEY, Fraction(1, 3))
    rows = np.array([[5, 5], [7, 7], [5, 5]])
    digests = noise.instance_digests(rows, ["a", "b", "a"])
    assert len(set(digests)) == 3
    assert noise.instance_digests(rows[::-1], ["a", "b", "a"])[:2] == [digests[0], digests[1]]
    assert noise.instance_digests(rows[:1], ["b"])[0] not in digests
    other = LaplaceNoise(KEY, Fraction(1, 4)).instance_digests(rows, ["a", "b", "a"])
    assert not set(other) & set(digests)


def test_coordinates_are_independent():
    drawn = LaplaceNoise(KEY, Fraction(1, 10**6)).instances(np.zeros((20_000, 4), np.int64))
    signs = np.sign(drawn)
    large = (np.abs(drawn) > 693_147).astype(int) * 2 - 1
    columns = np.concatenate([signs, large], axis=1)
    correlation = columns.T @ columns / len(columns) - np.eye(8)
    # Standard deviation 0.007 each.
    assert np.abs(correlation).max() < 0.04


def test_equal_rows_of_a_table_get_independent_noise_and_keep_it():
    noise = LaplaceNoise(KEY, Fraction(1, 10**6))
    rows = np.array([[5, 5], [7, 7], [5, 5], [5, 5]])
    first = noise.instances(rows)
    assert len(np.unique(first - rows)) == 8
    # The next version has other rows in another order: the releases of the old ones are repeated.
    later = noise.instances(rows[[1, 3, 0]])
    assert later.tolist() == [first[1].tolist(), first[0].tolist(), first[2].tolist()]
    named = noise.instances(rows, ["a", "b", "b", "c"])
    turned = noise.instances(rows[::-1], ["c", "b", "b", "a"])
    assert turned[::-1].tolist() == named.tolist()
    twice = noise.instances(rows[[0, 0]], ["a", "a"])
    assert twice[0].tolist() == named[0].tolist() != twice[1].tolist()


def test_chunks_leave_no_seam(rng):
    noise = LaplaceNoise(KEY, Fraction(1, 50))
    rows = rng.integers(0, 2**40, (9000, 2))
    whole = noise.queries(rows)
    for first, last in ((0, 10), (4090, 4100), (8190, 8200), (8999, 9000)):
        assert (noise.queries(rows[first:last]) == whole[first:last]).all()


def test_digests_name_releases(rng):
    noise = LaplaceNoise(KEY, Fraction(1, 3))
    rows = rng.integers(0, 100, (2, 9))
    digests = noise.query_digests(rows[[0, 1, 0]], ["a", "a", "b"])
    assert [len(digest) for digest in digests] == [32] * 3
    others = [
        *noise.query_digests(rows[:1]),
        *LaplaceNoise(KEY[::-1], Fraction(1, 3)).query_digests(rows[:1], ["a"]),
        *LaplaceNoise(KEY, Fraction(1, 4)).query_digests(rows[:1], ["a"]),
    ]
    assert len({*digests, *others}) == 6
    assert noise.query_digests(rows[:1], ["a"]) == digests[:1]


def test_no_rows_need_no_noise():
    noise = LaplaceNoise(KEY, Fraction(1, 3))
    empty = np.empty((0, 4), np.int64)
    for release in (noise.instances, noise.queries):
        assert release(empty).shape == (0, 4)
        assert release(empty, []).shape == (0, 4)
    assert noise.query_digests(empty) == []


def test_values_near_the_limits():
    edge = np.array([[2**62 - 1, -(2**62)]])
    strong = LaplaceNoise(KEY, Fraction(200))
    assert (strong.queries(edge) == edge).all()
    for value in (2**62, -(2**62) - 1, 2**63 - 1, -(2**63)):
        with pytest.raises(OverflowParameterError, match="expected values of at most 62 bits"):
            strong.instances(np.array([[0, value]]))
    weak = LaplaceNoise(KEY, Fraction(1, 2**47))
    with pytest.raises(OverflowParameterError, match="with noise they need more"):
        weak.instances(np.repeat(edge, 100, axis=0))
    extreme = weak.instances(np.zeros((500, 3), np.int64))
    assert np.abs(extreme).max() > 2**48


@pytest.mark.parametrize(
    ("vectors", "identities"),
    [
        (np.zeros((2, 3)), None),
        (np.zeros((2, 3), np.uint64), None),
        (np.zeros(3, np.int64), None),
        (np.zeros((2, 0), np.int64), None),
        ([[1, 2]], None),
        (np.zeros((2, 3), np.int64), ["a"]),
        (np.zeros((2, 3), np.int64), "ab"),
        (np.zeros((2, 3), np.int64), ["a", 7]),
        (np.zeros((2, 3), np.int64), [b"a", b"b"]),
    ],
)
def test_wrong_arguments_are_refused(vectors, identities):
    noise = LaplaceNoise(KEY, Fraction(1, 3))
    for call in (noise.instances, noise.queries, noise.query_digests):
        with pytest.raises(ParameterError, match="expected"):
            call(vectors, identities)


@pytest.mark.parametrize(
    "a",
    [
        Fraction(0),
        Fraction(-1, 3),
        Fraction(1, 2**48),
        Fraction(2**48),
        0.5,
        1,
        math.nan,
        True,
        "1",
    ],
)
def test_senseless_fractions_are_refused(a):
    with pytest.raises(PrivacyParameterError, match="epsilon_per_unit: expected"):
        LaplaceNoise.generate(a)


def test_the_key_is_checked_and_kept():
    for key in (b"", KEY[:-1], KEY + b"x", bytearray(KEY), KEY.hex()):
        with pytest.raises(KeyMaterialError, match="key: expected 32 bytes"):
            LaplaceNoise(key, Fraction(1))
    noise = LaplaceNoise(KEY, Fraction(1, 8))
    assert repr(noise) == "<LaplaceNoise of epsilon 0.125 per unit>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            attempt(noise)


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=2, max_size=2), min_size=2, max_size=20),
    st.one_of(st.floats(1e-3, 1e3), st.fractions("1/1000", 1000), st.integers(1, 1000)),
)
def test_epsilon_is_per_median_distance(rows, epsilon):
    distances = sorted(naive.l1(x, y) for i, x in enumerate(rows) for y in rows[:i])
    half = len(distances) // 2
    median = Fraction(distances[half] + distances[~half], 2)
    vectors = np.array(rows)
    if median == 0:
        with pytest.raises(PrivacyParameterError, match="no scale"):
            epsilon_per_unit(epsilon, vectors)
        return
    found = epsilon_per_unit(epsilon, vectors)
    exact = Fraction(epsilon) / median
    assert exact * (1 - Fraction(1, 2**30)) <= found <= exact
    LaplaceNoise(KEY, found)


@given(
    st.integers(1, 2**62 - 1),
    st.one_of(st.floats(1e-2, 1e4), st.integers(1, 10**20)),
)
def test_rounding_never_weakens_and_always_fits(distance, epsilon):
    vectors = np.array([[0], [distance]])
    exact = Fraction(epsilon) / distance
    if exact < Fraction(1, 2**48 - 1):
        with pytest.raises(PrivacyParameterError, match="expected more"):
            epsilon_per_unit(epsilon, vectors)
        return
    found = epsilon_per_unit(epsilon, vectors)
    LaplaceNoise(KEY, found)
    assert found <= exact
    assert found >= min(exact, 2**48 - 1) * (1 - Fraction(1, 2**20))


def test_large_tables_are_sampled_evenly():
    # 511 gaps of 8: every eighth row is looked at, and they are 0, 1, 2, ... 511.
    vectors = np.repeat(np.arange(512), 8)[: 511 * 8 + 1, np.newaxis]
    gaps = sorted(x - y for x in range(512) for y in range(x))
    assert len(gaps) == 130_816
    median = Fraction(gaps[65_407] + gaps[65_408], 2)
    assert epsilon_per_unit(3, vectors) == 3 / median


@pytest.mark.parametrize(
    "epsilon", [0, -1, 0.0, -2.5, math.nan, math.inf, -math.inf, True, "8", None]
)
def test_senseless_epsilons_are_refused(epsilon):
    with pytest.raises(PrivacyParameterError, match="epsilon: expected"):
        epsilon_per_unit(epsilon, np.array([[1], [5]]))


def test_tables_without_a_scale_are_refused():
    for rows in ([[3]], [[3], [3]], [[3]] * 9 + [[4]]):
        with pytest.raises(PrivacyParameterError, match="vectors: "):
            epsilon_per_unit(8, np.array(rows))
    with pytest.raises(OverflowParameterError, match="63 bits"):
        epsilon_per_unit(8, np.array([[-(2**62), 0], [2**62, 5]]))
    with pytest.raises(ParameterError, match="int64"):
        epsilon_per_unit(8, np.array([[1.0], [2.0]]))


def test_the_smallest_epsilon_that_can_be_kept_is_kept():
    rows = np.array([[0], [1]])
    least = Fraction(1, 2**48 - 1)
    assert epsilon_per_unit(least, rows) == least
    # Hardly more, but of integers that are too large; rounding it up is not allowed.
    assert epsilon_per_unit(least + Fraction(1, 2**200), rows) == least
    with pytest.raises(PrivacyParameterError):
        epsilon_per_unit(least - Fraction(1, 2**200), rows)
