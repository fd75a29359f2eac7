"""Kernels against Python's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd._kernels import ciphertexts, residues, sampling
from ompd._kernels.residue_bits import pack, unpack
from ompd._kernels.switching import divide
from ompd.aggregate.ring import plain_ring, reversed_bits, root_of_one, tables_of
from ompd.params import AGGREGATE_SETS
from tests.aggregate import oracle
from tests.aggregate.conftest import TINY_SETS
from tests.aggregate.transforms import restored, transformed, unreduced
from tests.marks import long

#: The greatest primes of some lengths that are 1 modulo 1024; sets may have 25 to 49 bits.
PRIMES = (33550337, 4294957057, 17592186037249, 562949953408001)
#: Every prime of every set.
ALL = sorted({p for each in AGGREGATE_SETS for p in (*each.primes, each.special_prime)})


def edges(most, p):
    return st.one_of(
        st.integers(-most, most),
        st.integers(0, 9).map(lambda gap: most - gap),
        st.integers(0, 9).map(lambda gap: gap - most),
        st.integers(-3, 3),
        st.integers(-(2 * most // p), 2 * most // p).map(
            lambda halves: (halves * p + (halves & 1)) // 2
        ),
    )


@given(data=st.data(), p=st.sampled_from(ALL))
def test_products_and_reductions_are_residues(data, p):
    a = data.draw(edges(4 * p, p))
    w = data.draw(edges(p // 2 + 1, p))
    found = residues.scaled(float(a), float(w), w / p, float(p))
    assert (a * w - int(found)) % p == 0
    assert abs(found) < p
    assert abs(found) <= p // 2 + abs(a) / 16 + 1
    a = data.draw(edges(13 * p // 2, p))
    found = residues.product(float(a), float(w), float(p), 1 / p)
    assert (a * w - int(found)) % p == 0
    assert abs(found) <= p // 2 + 3 * abs(a) / 32 + 1
    a = data.draw(edges(4 * p, p))
    found = residues.reduced(float(a), float(p), 1 / p)
    assert (a - int(found)) % p == 0
    assert abs(found) <= (p + 1) // 2


@pytest.mark.long
def test_many_products_are_residues():
    rng = np.random.default_rng(1)
    for p in ALL:
        a = rng.integers(-4 * p, 4 * p + 1, (1, 1, 40_000))
        near = rng.integers(0, 9, a.shape)
        a = np.where(near == 0, 4 * p - near, np.where(near == 1, near - 4 * p, a))
        w = rng.integers(-(p // 2), p // 2 + 1, a.shape)
        ring = plain_ring(64, p)
        out = np.empty(a.shape)
        ciphertexts.multiply_rows(a.astype(float), w[0].astype(float), out, ring)
        flat = zip(a.ravel().tolist(), w.ravel().tolist(), out.ravel().tolist(), strict=True)
        assert all((x * y - int(z)) % p == 0 for x, y, z in flat)
        assert np.abs(out).max() <= (p + 1) // 2


def centred(values, p):
    values = [int(each) % p for each in values]
    return np.array([each - p if each > p // 2 else each for each in values], dtype=float)


@pytest.mark.parametrize("n", [64, 128, *long(512)])
@pytest.mark.parametrize("p", PRIMES)
def test_transforms_are_values_at_odd_powers_of_a_root(n, p, rng):
    ring = plain_ring(n, p)
    root = root_of_one(p, 2 * n)
    assert pow(root, n, p) == p - 1
    given = rng.integers(0, p, n).tolist()
    given[:4] = [0, p - 1, p // 2, p // 2 + 1]
    x = transformed(centred(given, p), ring)
    assert np.abs(x).max() <= (p + 1) // 2
    loose = unreduced(centred(given, p), ring)
    assert np.abs(loose).max() <= 2 * p
    assert not ((loose - x) % p).any()
    places = reversed_bits(n.bit_length() - 1)
    for place in rng.choice(n, 16, replace=False):
        point = pow(root, 2 * int(places[place]) + 1, p)
        assert int(x[place]) % p == oracle.residue_at(given, point, p)
    assert (restored(x, ring) == centred(given, p)).all()


@pytest.mark.parametrize("p", PRIMES)
def test_products_of_transforms_are_negacyclic(p, rng):
    n = 64
    ring = plain_ring(n, p)
    a, b = rng.integers(0, p, (2, n)).tolist()
    rows = np.array([[transformed(centred(values, p), ring)] for values in (a, b)])
    out = np.empty((1, 1, n))
    ciphertexts.multiply_rows(rows[:1], rows[1], out, ring)
    assert [int(each) % p for each in restored(out[0, 0], ring)] == oracle.negacyclic(a, b, p)


@pytest.mark.parametrize("number", [0, *long(*range(1, len(AGGREGATE_SETS)))])
def test_transforms_of_full_size(number, rng):
    tables = tables_of(AGGREGATE_SETS[number])
    n = tables.degree
    for row, prime in enumerate(tables.ring.primes):
        p = int(prime)
        x = rng.integers(-(p // 2), p // 2 + 1, n)
        kinds = rng.integers(0, 8, n)
        # As far out as residues get.
        x = np.where(kinds == 0, p // 2, np.where(kinds == 1, -(p // 2), x)).astype(float)
        for start in (x, np.full(n, float(p // 2)), np.where(kinds < 4, p // 2, -(p // 2)) * 1.0):
            y = transformed(start, tables.ring, row)
            place = int(rng.integers(n))
            point = pow(
                root_of_one(p, 2 * n), 2 * int(reversed_bits(n.bit_length() - 1)[place]) + 1, p
            )
            assert int(y[place]) % p == oracle.residue_at(start.astype(int).tolist(), point, p)
            assert (restored(y, tables.ring, row) == start).all()


@pytest.mark.parametrize("packing", ["coefficients", "slots"])
def test_division_changes_no_plaintext(packing, rng):
    parameters = TINY_SETS[packing]
    tables = tables_of(parameters)
    n, t = parameters.degree, parameters.plain_modulus
    moduli = (*parameters.primes, parameters.special_prime)
    for special in (1, 2, 3, 4):
        divisor = moduli[special]
        count = special
        values = rng.integers(-(2**40), 2**40, n) * 977 + rng.integers(-500, 500, n)
        rows = np.empty((count + 1, n))
        for row in range(count + 1):
            rows[row] = transformed(centred(values, moduli[row]), tables.ring, row)
        out = np.zeros((count, n))
        divide(rows, special, count, tables.division, tables.ring, out, np.empty((3, n)), False)
        expected = []
        for value in values.tolist():
            rest = value * pow(t, -1, divisor) % divisor
            rest = t * (rest - divisor if rest > divisor // 2 else rest)
            assert (value - rest) % divisor == 0
            expected.append((value - rest) // divisor)
            if special < len(parameters.primes):
                assert (expected[-1] - value) % t == 0
        for row in range(count):
            p = moduli[row]
            assert (restored(out[row], tables.ring, row) == centred(expected, p)).all()


def test_bytes_give_ternary_digits_without_bias():
    out = np.full(5, 9.0)
    found = []
    for octet in range(256):
        filled = sampling.ternary(np.array([octet], dtype=np.uint8), out, 0)
        assert filled == (5 if octet < 243 else 0)
        if filled:
            found.append(tuple(out))
    # Each combination of five digits exactly once.
    assert len(set(found)) == 243
    assert set(np.unique(found)) == {-1, 0, 1}
    short = np.zeros(3)
    assert sampling.ternary(np.array([250, 7], dtype=np.uint8), short, 2) == 3


@given(words=st.lists(st.integers(0, 2**48 - 1), min_size=1, max_size=20))
def test_errors_are_differences_of_twenty_one_bits(words):
    low = np.array([word & 0xFFFFFFFF for word in words], dtype=np.uint32)
    high = np.array([word >> 32 for word in words], dtype=np.uint16)
    out = np.ones(len(words))
    sampling.binomial(low, high, 5.0, out)
    mask = (1 << 21) - 1
    expected = [1 + 5 * ((w & mask).bit_count() - (w >> 21 & mask).bit_count()) for w in words]
    assert out.tolist() == expected


@given(words=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_uniform_residues_are_words_below_the_prime(words):
    for p in (97, PRIMES[-1]):
        mask = (1 << p.bit_length()) - 1
        out = np.empty(len(words))
        filled = sampling.uniform(
            np.array(words, dtype=np.uint64), np.uint64(mask), np.uint64(p), out, 0
        )
        expected = [word & mask for word in words if word & mask < p]
        assert [int(each) % p for each in out[:filled]] == expected
        assert (np.abs(out[:filled]) <= p // 2).all()


@given(data=st.data(), p=st.sampled_from([97, *PRIMES]))
def test_residues_travel_in_as_many_bits_as_the_prime_has(data, p):
    values = data.draw(st.lists(st.integers(0, p - 1), min_size=8, max_size=8))
    bits = p.bit_length()
    octets = np.zeros(bits, dtype=np.uint8)
    pack(centred(values, p), float(p), bits, octets)
    whole = sum(value << bits * place for place, value in enumerate(values))
    assert octets.tobytes() == whole.to_bytes(bits, "little")
    out = np.empty(8)
    assert unpack(octets, float(p), bits, out)
    assert (out == centred(values, p)).all()
    place = data.draw(st.integers(0, 7))
    wrong = whole + (data.draw(st.integers(p, (1 << bits) - 1)) - values[place] << bits * place)
    octets[:] = np.frombuffer(wrong.to_bytes(bits, "little"), dtype=np.uint8)
    assert not unpack(octets, float(p), bits, out)


@given(
    limbs=st.lists(st.integers(0, 2**40 - 1), min_size=3, max_size=3), factor=st.integers(1, 2**32)
)
def test_wide_integers_are_sums_of_limbs(limbs, factor):
    p, n = PRIMES[2], 64
    ring = plain_ring(n, p)
    out = np.zeros((1, n))
    given = np.repeat(np.array(limbs, dtype=float)[:, None], n, axis=1)
    ciphertexts.add_wide(given, float(factor), out, np.empty((3, n)), ring)
    expected = factor * sum(limb << 40 * place for place, limb in enumerate(limbs))
    assert {int(each) % p for each in restored(out[0], ring)} == {expected % p}


@given(
    value=st.integers(-(2**42), 2**42), t=st.sampled_from([257, 65537, 1 << 16, 1 << 24, 1 << 32])
)
def test_remainders_lie_around_zero(value, t):
    out = np.array([float(value)])
    ciphertexts.remainders(out, float(t))
    assert (int(out[0]) - value) % t == 0
    assert -t <= 2 * int(out[0]) < t
