from __future__ import annotations

import copy
import pickle

import gmpy2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.blind.limbs import to_limbs
from ompd.errors import OverflowParameterError, ParameterError
from ompd.params import PAPER, ParameterSet, check_profile
from ompd.search.conversion import Modulus, convert
from tests import naive


@st.composite
def settings_and_sums(draw):
    noise = draw(st.integers(1, 200))
    n = draw(st.integers(1, 12))
    multiplier = max(8, noise + (2 * (n + PADDING)).bit_length() + draw(st.integers(1, 90)))
    prefix_bits = draw(st.integers(1, 62))
    modulus = max(64, multiplier + prefix_bits + draw(st.integers(3, 400)))
    sums = draw(
        st.lists(
            st.lists(st.integers(0, (1 << prefix_bits) - 1), min_size=n, max_size=n),
            min_size=1,
            max_size=6,
        )
    )
    return ParameterSet("drawn", modulus, multiplier, noise), prefix_bits, sums


def key_for(parameters, n, prefix_bits):
    return PaperKey.generate(parameters, n + PADDING, (1 << prefix_bits) - 1)


def at_table_scale(queries, key):
    return convert(queries.points, queries.tokens, Modulus.of(key.modulus, key.parameters.limbs))


def unblind(value, key):
    lifted, rest = divmod(value, key.scalar)
    assert rest == 0
    prefix, noise = divmod(lifted, key.multiplier)
    assert noise < 1 << key.parameters.noise_bits
    return prefix, noise


@given(settings_and_sums())
def test_instances_and_queries_carry_prefix_sum_and_noise(drawn):
    parameters, prefix_bits, sums = drawn
    n = len(sums[0])
    key = key_for(parameters, n, prefix_bits)
    table = blind_table(key, np.array(sums, dtype=np.int64))
    assert table.shape == (len(sums), n + PADDING, parameters.limbs)
    queries = blind_queries(key, np.array(sums, dtype=np.int64))
    converted = at_table_scale(queries, key)
    for vectors in (table, converted):
        for row, expected in zip(vectors, sums, strict=True):
            values = naive.from_limbs(row)
            assert max(values) < key.modulus
            assert [unblind(v, key)[0] for v in values] == [0] * PADDING + expected


@given(settings_and_sums())
def test_strict_order_of_distances_survives(drawn):
    parameters, prefix_bits, sums = drawn
    n = len(sums[0])
    key = key_for(parameters, n, prefix_bits)
    table = [naive.from_limbs(row) for row in blind_table(key, np.array(sums, dtype=np.int64))]
    queries = blind_queries(key, np.array(sums[:1], dtype=np.int64))
    (query,) = at_table_scale(queries, key)
    point = naive.from_limbs(query)
    pairs = [
        (naive.l1(plain, sums[0]), naive.l1(row, point))
        for plain, row in zip(sums, table, strict=True)
    ]
    for plain_a, blinded_a in pairs:
        for plain_b, blinded_b in pairs:
            if plain_a < plain_b:
                assert blinded_a < blinded_b


def test_noise_and_scalars_are_fresh_and_fill_their_range():
    key = key_for(PAPER, 3, 30)
    same = np.ones((200, 3), dtype=np.int64)
    noises = [unblind(v, key)[1] for row in blind_table(key, same) for v in naive.from_limbs(row)]
    assert len(set(noises)) == len(noises) == 1000
    assert max(noises).bit_length() > PAPER.noise_bits - 8
    queries = blind_queries(key, same)
    tokens = naive.from_limbs(queries.tokens)
    assert len(set(tokens)) == 200
    for point, token in zip(queries.points, tokens, strict=True):
        values = naive.from_limbs(point)
        assert max(values) < key.modulus
        scalar = key.scalar * gmpy2.invert(token, key.modulus) % key.modulus
        noise = int(values[0] * gmpy2.invert(scalar, key.modulus) % key.modulus)
        assert noise < 1 << PAPER.noise_bits


def test_blinding_in_steps_leaves_no_seam(rng):
    key = key_for(PAPER, 9, 36)
    sums = rng.integers(0, 1 << 36, (4000, 9))
    table = blind_table(key, sums)
    for row in [0, 1, 1488, 1489, 1490, 2977, 2978, 3999]:
        values = [unblind(v, key)[0] for v in naive.from_limbs(table[row])]
        assert values == [0, 0, *sums[row].tolist()]


def test_blinding_writes_where_it_is_told(rng):
    key = key_for(PAPER, 2, 36)
    sums = rng.integers(0, 1 << 36, (5000, 2))
    room = np.zeros((6000, 4, 8), dtype=np.uint64)
    blind_table(key, sums, out=room[500:5500], threads=3)
    assert not room[:500].any()
    assert not room[5500:].any()
    for row in range(0, 5000, 97):
        assert [unblind(v, key)[0] for v in naive.from_limbs(room[500 + row])][2:] == sums[
            row
        ].tolist()
    for bad in (room, room[:5000].astype(np.int64), room[:5000, :3]):
        with pytest.raises(ParameterError, match="out: expected"):
            blind_table(key, sums, out=bad)


def test_paper_profile_has_the_papers_sizes():
    assert (PAPER.modulus_bits, PAPER.multiplier_bits, PAPER.noise_bits) == (512, 200, 128)
    assert PAPER.limbs == 8
    assert check_profile("paper") == PAPER.name
    for name in ("Paper", None, ["paper"]):
        with pytest.raises(ParameterError, match="one of blind, sealed, hardened, paper"):
            check_profile(name)


def test_generated_key_meets_both_conditions():
    prefix_max = (1 << 40) - 1
    key = PaperKey.generate(PAPER, 11, prefix_max)
    assert gmpy2.is_prime(key.modulus)
    assert gmpy2.is_prime(key.multiplier)
    assert key.modulus.bit_length() == 512
    assert key.multiplier.bit_length() == 200
    assert key.scalar * (key.multiplier * prefix_max + 2**128) < key.modulus
    assert key.multiplier > 2 * 11 * (2**128 - 1)


def rebuilt(key, **changes):
    numbers = {"modulus": key.modulus, "multiplier": key.multiplier, "scalar": key.scalar}
    return PaperKey(key.parameters, key.coordinates, key.prefix_max, **(numbers | changes))


def test_unusable_key_numbers_are_refused():
    key = PaperKey.generate(PAPER, 11, (1 << 40) - 1)
    rebuilt(key)
    short = int(gmpy2.prev_prime(1 << 511))
    composite = int(gmpy2.next_prime(1 << 255)) * int(gmpy2.next_prime(3 << 254))
    for changes in (
        {"modulus": short},
        {"modulus": composite},
        {"multiplier": int(gmpy2.prev_prime(1 << 199))},
        {"multiplier": key.multiplier + 1},
        {"scalar": 0},
        {"scalar": -1},
    ):
        (name,) = changes
        with pytest.raises(ParameterError, match=name) as caught:
            rebuilt(key, **changes)
        assert not any(str(abs(v)) in str(caught.value) for v in changes.values() if v > 1)
    with pytest.raises(OverflowParameterError, match="wrap around"):
        rebuilt(key, scalar=key.modulus // key.multiplier)


def test_parameters_that_would_wrap_or_reorder_are_refused():
    with pytest.raises(OverflowParameterError, match="wrap around a modulus of 512 bits"):
        PaperKey.generate(PAPER, 11, 1 << 320)
    tight = ParameterSet("tight", 512, 132, 128)
    PaperKey.generate(tight, 3, 1 << 30)
    with pytest.raises(OverflowParameterError, match="noise over 11 coordinates"):
        PaperKey.generate(tight, 11, 1 << 30)


@pytest.mark.parametrize(
    "sizes",
    [
        {"modulus_bits": 63},
        {"multiplier_bits": 128},
        {"modulus_bits": 200},
        {"noise_bits": 0},
        {"noise_bits": 128.0},
        {"weight_bits": 50},
        {"feature_bits": True},
    ],
)
def test_senseless_parameter_sets_are_refused(sizes):
    with pytest.raises(ParameterError, match="expected"):
        ParameterSet("senseless", **sizes)


def test_wrong_prefix_sums_are_refused():
    key = PaperKey.generate(PAPER, 11, 1000)
    for blind in (blind_table, blind_queries):
        with pytest.raises(ParameterError, match=r"expected shape \(rows, 9\)"):
            blind(key, np.zeros((4, 8), dtype=np.int64))
        for value in (-1, 1001):
            with pytest.raises(OverflowParameterError, match="prefix_sums: expected values"):
                blind(key, np.full((2, 9), value, dtype=np.int64))
    assert blind_table(key, np.zeros((0, 9), dtype=np.int64)).shape == (0, 11, 8)


def test_key_keeps_its_secret():
    key = PaperKey.generate(PAPER, 11, 1000)
    for text in (repr(key), str(key), f"{key}"):
        assert text == "<PaperKey paper, 11 coordinates>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            attempt(key)


@given(st.lists(st.integers(0, 2**192 - 1)), st.integers(3, 5))
def test_limb_round_trip(values, limbs):
    assert naive.from_limbs(to_limbs(values, limbs)) == values
