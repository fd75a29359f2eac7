"""Random circuits: exact or bottom, never wrong, and never noisier than estimated."""

from __future__ import annotations

import collections
import random

import numpy as np
import pytest

from ompd import scoring
from ompd.aggregate import (
    FLOOD_BITS,
    Ciphertext,
    Evaluator,
    decrypt,
    encrypt,
    encrypt_secretly,
    residues,
)
from ompd.aggregate.keys import SecretKey
from ompd.aggregate.noise import OVERFLOW, PARTS
from ompd.errors import Bottom
from ompd.params import AGGREGATE_SETS, SCORING, AggregateSet
from tests.aggregate import measured, oracle
from tests.aggregate.conftest import TINY_SETS

#: A small ring that allows three multiplications one upon another.
DEEP = AggregateSet(
    "deep", 64, 1 << 16, "coefficients",
    (562949953417729, 562949952700417, 562949951979521, 562949950537729, 562949948833793),
    562949953414913, 3,
)  # fmt: skip
SETS = {**TINY_SETS, "deep": DEEP}


@pytest.fixture(scope="module")
def keys():
    return {name: SecretKey.generated(each) for name, each in SETS.items()}


class Pool:
    """Ciphertexts with what they stand for and how deep they are."""

    def __init__(self, secret, draw):
        self.secret = secret
        self.packing = secret.context.parameters.packing
        self.draw = draw
        self.ev = Evaluator(secret.public)
        self.held = [self.fresh() for _ in range(3)]

    def values(self):
        bound = self.draw.choice([1, 3, 20, 100])
        length = self.draw.choice([1, 4, 16, 40])
        return [self.draw.randint(-bound, bound) for _ in range(length)], bound

    def fresh(self):
        values, bound = self.values()
        if self.draw.random() < 0.5:
            return encrypt(self.secret.public, values, bound=bound), values, 0
        return encrypt_secretly(self.secret, values, bound=bound), values, 0

    def step(self):
        (x, a, i), (y, b, j) = self.draw.choice(self.held), self.draw.choice(self.held)
        kind = self.draw.randrange(6)
        if kind == 0:
            new = self.ev.add(x, y), oracle.added(a, b), max(i, j)
        elif kind == 1:
            new = self.ev.subtract(x, y), oracle.subtracted(a, b), max(i, j)
        elif kind == 2:
            values, bound = self.values()
            new = self.ev.add_plain(x, values, bound=bound), oracle.added(a, values), i
        elif kind == 3:
            values, bound = self.values()
            product = oracle.product(a, values, self.packing)
            new = self.ev.multiply_plain(x, values, bound=bound), product, i
        else:
            new = self.ev.multiply(x, y), oracle.product(a, b, self.packing), 1 + max(i, j)
        self.held.append(new)


def circuit(secret, seed, found, *, check=True):
    """One circuit; counts how it ends."""
    parameters = secret.context.parameters
    pool = Pool(secret, random.Random(seed))  # noqa: S311
    for _ in range(pool.draw.randint(1, 8)):
        pool.step()
    c, expected, depth = pool.held[-1]
    if check:
        bits = measured.embedded(measured.noise_of(secret, c))
        assert c.noise == OVERFLOW or bits <= c.noise / PARTS
    for made in (c, pool.ev.finish(c)):
        each = Ciphertext.from_bytes(made.to_bytes(), secret.context)
        try:
            opened = decrypt(secret, each).tolist()
        except Bottom:
            found["bottom"] += 1
            continue
        assert depth <= parameters.depth
        assert max(map(abs, expected)) <= each.bound <= parameters.largest_bound
        assert opened + [0] * (len(expected) - len(opened)) == expected
        found["exact"] += 1
        if made is not c and each.level == 1:
            bits = measured.largest(measured.noise_of(secret, each))
            assert bits <= each.noise / PARTS


def run(keys, count, start):
    found = collections.Counter()
    for seed in range(start, start + count):
        circuit(list(keys.values())[seed % len(keys)], seed, found)
    assert found["exact"] > count / 4
    assert found["bottom"] > count / 20


def test_circuits_are_exact_or_bottom(keys):
    run(keys, 60, 0)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_many_circuits_are_exact_or_bottom(keys, part):
    run(keys, 2500, 2500 * (1 + part))


@pytest.mark.long
@pytest.mark.parametrize("parameters", AGGREGATE_SETS, ids=lambda each: each.name)
def test_every_set_is_as_deep_as_it_says(parameters):
    secret = SecretKey.generate(parameters)
    ev = Evaluator(secret.public)
    most = parameters.largest_bound
    x = encrypt(secret.public, [2, 1] if parameters.depth < 5 else [1, 1], bound=2)
    total = encrypt(secret.public, [most - 1000], bound=most - 1000)
    values = decrypt(secret, x).tolist()
    expected = values
    product = x
    for _ in range(parameters.depth):
        product = ev.multiply(product, x)
        expected = oracle.product(expected, values, parameters.packing)
    if parameters.depth:
        bits = measured.embedded(measured.noise_of(secret, product))
        assert bits <= product.noise / PARTS
    flood = scoring.FLOOD_BITS if parameters is SCORING else FLOOD_BITS
    finished = ev.finish(product, flood=flood)
    assert decrypt(secret, finished)[: len(expected)].tolist() == expected
    assert decrypt(secret, ev.finish(total, flood=flood)).tolist() == [most - 1000]
    if parameters.depth:
        with pytest.raises(Bottom):
            decrypt(secret, ev.multiply(product, x))


def test_full_size_noise_is_below_its_estimate(full):
    rng = np.random.default_rng(1)
    ev = Evaluator(full.public)
    most = full.context.parameters.largest_bound
    a = encrypt(full.public, rng.integers(-15, 16, 8192), bound=15)
    b = encrypt_secretly(full, rng.integers(-most, most + 1, 8192), bound=most)
    cases = [a, b, ev.add(a, b), ev.multiply(a, b), ev.multiply_plain(a, [most] * 9, bound=most)]
    for c in cases:
        bits = measured.embedded(measured.noise_of(full, c))
        # Nor is it far above.
        assert c.noise / PARTS - 25 < bits <= c.noise / PARTS
    finished = ev.finish(cases[3])
    bits = measured.largest(measured.noise_of(full, finished))
    assert finished.noise / PARTS - 10 < bits <= finished.noise / PARTS


def test_headers_that_lie_are_found_out_by_the_noise(keys, rng):
    # Whatever a header says, noise that is too large for the modulus shows.
    for secret in keys.values():
        context = secret.context
        shape = (2, 2, context.parameters.degree)
        for _ in range(20):
            rows = rng.integers(-(2**30), 2**30, shape).astype(float)
            for opened in (decrypt, residues):
                with pytest.raises(Bottom):
                    opened(secret, Ciphertext(context, rows, 0, 1, 1))
