"""What security rests on: sizes, distributions, and noise that hides where results come from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ompd._kernels import ciphertexts
from ompd.aggregate import Evaluator, encrypt, encrypt_secretly
from ompd.aggregate import sampling as samplers
from ompd.aggregate.keys import SecretKey
from ompd.aggregate.noise import HEADROOM, PARTS, Noise, both, parts_of
from ompd.aggregate.ring import tables_of
from ompd.params import AGGREGATE_SETS
from tests.aggregate import measured
from tests.aggregate.conftest import TINY_COEFFICIENTS
from tests.aggregate.transforms import restored
from tests.marks import long

#: Homomorphic Encryption Standard (2018), table 1, ternary secret, classical, 128 bits.
TABLE = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}


def is_prime(n):
    """Miller and Rabin, sure below 3.3 * 10^24 with these bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        if n % base == 0:
            return n == base
        power = pow(base, odd, n)
        if power not in (1, n - 1) and not any(
            (power := power * power % n) == n - 1 for _ in range(twos - 1)
        ):
            return False
    return True


@pytest.mark.parametrize("parameters", AGGREGATE_SETS, ids=lambda each: each.name)
def test_sets_have_128_bits_of_security(parameters):
    n, t = parameters.degree, parameters.plain_modulus
    moduli = (*parameters.primes, parameters.special_prime)
    assert math.log2(math.prod(moduli)) <= TABLE[n]
    assert all(map(is_prime, moduli))
    assert all(p % (2 * n) == 1 for p in moduli)
    assert all(p % t == 1 for p in parameters.primes[1:])
    assert math.gcd(t, math.prod(moduli)) == 1
    if parameters.packing == "slots":
        assert is_prime(t)
        assert t % (2 * n) == 1
    # Nobody chose among them: each is the next one down from a power of two.
    first, *others = parameters.primes
    groups = [(others, math.lcm(2 * n, t)), ([first], 2 * n), ([parameters.special_prime], 2 * n)]
    if first % t == 1:
        groups[:2] = [(list(parameters.primes), math.lcm(2 * n, t))]
    for group, step in groups:
        top = 1 << group[0].bit_length()
        between = range((top - 2) // step * step + 1, group[-1] - 1, -step)
        assert [p for p in between if is_prime(p) and (p in group or p not in moduli)] == [*group]


def chi_square(counts, expected):
    """How far off in standard deviations, by Wilson's and Hilferty's transformation."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    part = 2 / (9 * (len(counts) - 1))
    mean = ((counts - expected) ** 2 / expected).sum() / (len(counts) - 1)
    return (mean ** (1 / 3) - 1 + part) / math.sqrt(part)


def error_counts(errors):
    """Errors by value, the rare ones together; and what they should be."""
    weights = np.array([math.comb(42, 21 + k) for k in range(-21, 22)]) / 2**42
    counts = np.bincount(errors.astype(int) + 21, minlength=43)

    def merged(values):
        return [values[:12].sum(), *values[12:31], values[31:].sum()]

    return merged(counts), merged(weights * len(errors))


@pytest.mark.parametrize("keys", [2, *long(20)])
def test_secrets_are_uniform_and_errors_binomial(keys):
    # Fresh randomness of the operating system: 6.5 deviations come by once in 10^10 runs.
    parameters = AGGREGATE_SETS[0]
    secrets, errors = [], []
    for _ in range(keys):
        secret = SecretKey.generate(parameters)
        tables, t = secret.context.tables, parameters.plain_modulus
        secrets.append(restored(secret.rows[0], tables.ring))
        b, a = secret.public.encryption
        masked = np.empty((1, *b.shape))
        ciphertexts.multiply_rows(a[None], secret.rows, masked, tables.ring)
        ciphertexts.add(masked, b[None], masked, tables.ring)
        found = [restored(masked[0, row], tables.ring, row) for row in range(len(b))]
        assert all((each == found[0]).all() for each in found)
        assert not (found[0] % t).any()
        errors.append(found[0] / t)
    secrets, errors = np.concatenate(secrets), np.concatenate(errors)
    assert set(np.unique(secrets)) == {-1, 0, 1}
    assert chi_square(np.bincount(secrets.astype(int) + 1), [len(secrets) / 3] * 3) < 6.5
    assert np.abs(errors).max() <= 21
    assert chi_square(*error_counts(errors)) < 6.5
    # Neighbours have nothing to do with each other.
    for values in (secrets, errors):
        product = (values[1:] * values[:-1]).sum() / (values**2).sum()
        assert abs(product) * math.sqrt(len(values)) < 6


def test_randomness_of_encryption_is_distributed_alike(rng):
    draws = np.concatenate([samplers.fresh_ternary(8192) for _ in range(10)])
    assert chi_square(np.bincount(draws.astype(int) + 1), [len(draws) / 3] * 3) < 6.5
    errors = np.concatenate([samplers.add_errors(np.zeros(8192), 1) for _ in range(10)])
    assert chi_square(*error_counts(errors)) < 6.5
    # A test that sees a bias of one in twenty.
    biased = np.where(rng.random(len(draws)) < 0.05, 1, draws)
    counts = np.bincount(biased.astype(int) + 1)
    assert chi_square(counts, [len(draws) / 3] * 3) > 6.5


def test_seeds_mean_what_the_description_says():
    tables = tables_of(TINY_COEFFICIENTS)
    seed = bytes(range(32))
    cipher = Cipher(algorithms.AES(seed), modes.ECB()).encryptor()  # noqa: S305
    found = samplers.expanded(seed, tables, 5)
    for row in range(5):
        p = int(tables.ring.primes[row])
        expected, number = [], 0
        while len(expected) < 64:
            block = number.to_bytes(8, "little") + row.to_bytes(8, "little")
            block = cipher.update(block)
            words = int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little")
            words = [word % (1 << p.bit_length()) for word in words]
            expected += [word for word in words if word < p]
            number += 1
        assert [int(x) % p for x in found[row]] == expected[:64]
    assert (samplers.expanded(seed, tables, 2) == found[:2]).all()


def test_second_components_are_uniform(full):
    c = encrypt(full.public, [1], bound=1)
    for rows in (c.rows[0], c.rows[1], full.public.encryption[0], full.public.encryption[1]):
        p = full.context.parameters.primes[1]
        places = (rows[1] + (p // 2)) * (64 / p)
        counts = np.bincount(np.clip(places.astype(int), 0, 63), minlength=64)
        assert chi_square(counts, [len(places) / 64] * 64) < 6.5


def share(values, direction):
    """How much of a direction is in a vector of integers."""
    values, direction = np.array([float(each) for each in values]), np.array(direction, float)
    return float(values @ direction / (direction @ direction))


def test_flooding_hides_what_a_value_was_multiplied_by(tinies):
    # The owner of the key encrypts zero and knows its noise. The evaluator multiplies by a secret
    # weight: the value stays zero, and the noise has become the weight's multiple.
    secret = tinies["coefficients"]
    ev = Evaluator(secret.public)
    rng = np.random.default_rng(1)
    weights = (-300, 300)
    right = naked = leaked = 0
    count = 300
    for _ in range(count):
        query = encrypt_secretly(secret, [0], bound=0)
        known = measured.noise_of(secret, query)
        weight = int(rng.choice(weights))
        product = ev.multiply_plain(query, [weight], bound=300)
        naked += share(measured.noise_of(secret, product), known) == weight
        # With little flooding it shows as well, ...
        weak = ev.add_plain(product, [0], bound=0)
        samplers.add_flood(weak.rows[0], 8, 1 << 16, secret.context.tables)
        leaked += (share(measured.noise_of(secret, weak), known) > 0) == (weight > 0)
        # ... and of what is finished this is the best guess there is.
        finished = ev.finish(product)
        right += (share(measured.noise_of(secret, finished), known) > 0) == (weight > 0)
    assert naked == leaked == count
    assert abs(right - count / 2) < 6 * math.sqrt(count) / 2


def test_flooding_is_uniform_and_as_wide_as_it_says(tinies):
    secret = tinies["coefficients"]
    parameters = secret.context.parameters
    noises = Noise(parameters)
    assert noises.flood_bits(100 * PARTS, 80) == 100 - 16 + 80
    assert noises.flood_bits(10 * PARTS, 80) == 80
    tables = secret.context.tables
    found = []
    for bits in (41, 80, 113):
        for _ in range(40):
            c = encrypt_secretly(secret, [0], bound=0)
            c.rows[:] = 0
            samplers.add_flood(c.rows[0], bits, 3, tables)
            values = measured.noise_of(secret, c)
            assert not any(value % 3 for value in values)
            values = [value // 3 + (1 << bits - 1) for value in values]
            assert min(values) >= 0
            assert max(values) < 1 << bits
            found += [(bits, value >> bits - 4, value & 15) for value in values]
    for place in (1, 2):
        for bits in (41, 80, 113):
            counts = np.bincount([each[place] for each in found if each[0] == bits], minlength=16)
            assert chi_square(counts, [counts.sum() / 16] * 16) < 6.5


def test_equal_results_of_equal_evaluations_differ(tinies):
    secret = tinies["coefficients"]
    ev = Evaluator(secret.public)
    c = encrypt(secret.public, [1], bound=1)
    assert len({ev.finish(c).to_bytes() for _ in range(20)}) == 20


def test_noise_adds_up_and_never_down():
    assert both(PARTS, PARTS) == 2 * PARTS
    assert both(500 * PARTS, 0) >= 500 * PARTS
    assert parts_of(1.0001) == PARTS + 1
    noises = Noise(TINY_COEFFICIENTS)
    top = math.log2(TINY_COEFFICIENTS.primes[0])
    assert noises.opens(int((top - 1 - HEADROOM) * PARTS), 1)
    assert not noises.opens(int((top - 1 - HEADROOM) * PARTS) + 2, 1)
