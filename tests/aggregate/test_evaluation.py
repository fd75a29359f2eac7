from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.aggregate import (
    Ciphertext,
    Evaluator,
    PublicKey,
    decrypt,
    encrypt,
    encrypt_secretly,
    keygen,
    mapped,
    residues,
)
from ompd.aggregate.keys import SecretKey
from ompd.errors import Bottom, ParameterError
from ompd.threads import at_most
from tests.aggregate import oracle

SMALL = st.lists(st.integers(-5, 5), min_size=1, max_size=8)


def test_what_is_encrypted_is_decrypted(tiny):
    rng = np.random.default_rng(1)
    most = tiny.context.parameters.largest_bound
    for length in (1, 7, 64):
        values = rng.integers(-most, most + 1, length)
        values[0] = most
        for c in (
            encrypt(tiny.public, values, bound=most),
            encrypt_secretly(tiny, values, bound=most),
        ):
            found = decrypt(tiny, c)
            assert found.dtype == np.int64
            assert found.tolist() == values.tolist()


@given(a=SMALL, b=SMALL, c=SMALL, packing=st.sampled_from(["coefficients", "slots"]))
def test_small_circuits_equal_the_oracle(tinies, a, b, c, packing):
    secret = tinies[packing]
    public = secret.public
    ev = Evaluator(public)
    x, y = encrypt(public, a, bound=5), encrypt_secretly(secret, b, bound=5)
    z = encrypt(public, c, bound=5)

    def product(a, b):
        return oracle.product(a, b, packing)

    cases = [
        (ev.add(x, y), oracle.added(a, b)),
        (ev.subtract(x, y), oracle.subtracted(a, b)),
        (ev.sum([x, y, z]), oracle.added(oracle.added(a, b), c)),
        (ev.add_plain(x, c, bound=5), oracle.added(a, c)),
        (ev.multiply_plain(x, c, bound=5), product(a, c)),
        (ev.multiply(x, y), product(a, b)),
        (ev.dot([x, y], [z, z]), oracle.added(product(a, c), product(b, c))),
        (ev.add(ev.multiply(x, y), z), oracle.added(product(a, b), c)),
    ]
    for found, expected in cases:
        for each in (found, ev.finish(found)):
            opened = decrypt(secret, each).tolist()
            # Products of slots may be shorter than the longer factor.
            assert opened + [0] * (len(expected) - len(opened)) == expected
            sent = each.to_bytes()
            again = Ciphertext.from_bytes(sent, public.context)
            assert again.to_bytes() == sent
            assert decrypt(secret, again).tolist() == opened


def test_keys_of_full_size(full):
    public = PublicKey.from_bytes(full.public.to_bytes())
    secret = SecretKey.from_bytes(full.to_bytes(), public)
    ev = Evaluator(public)
    rng = np.random.default_rng(1)
    a, b = rng.integers(-15, 16, 4000), rng.integers(-20, 21, 4193)
    product = ev.multiply(encrypt(public, a, bound=15), encrypt_secretly(full, b, bound=20))
    sent = ev.finish(product).to_bytes()
    assert len(sent) < 91_000
    found = decrypt(secret, Ciphertext.from_bytes(sent, public.context))
    assert (found == np.convolve(a, b)).all()


def test_too_many_multiplications_are_bottom(tiny):
    ev = Evaluator(tiny.public)
    one = encrypt(tiny.public, [1], bound=1)
    square = ev.multiply(one, one)
    assert decrypt(tiny, square)[0] == 1
    for product in (ev.multiply(square, one), ev.multiply(square, square)):
        with pytest.raises(Bottom):
            decrypt(tiny, product)
        with pytest.raises(Bottom):
            decrypt(tiny, ev.finish(product))
        with pytest.raises(Bottom):
            residues(tiny, product)


def test_values_that_may_be_too_large_are_bottom(tiny):
    ev = Evaluator(tiny.public)
    most = tiny.context.parameters.largest_bound
    large = encrypt(tiny.public, [most], bound=most)
    total = ev.add(large, encrypt(tiny.public, [1], bound=1))
    with pytest.raises(Bottom):
        decrypt(tiny, total)
    assert residues(tiny, total)[0] == (most + 1) % tiny.context.parameters.plain_modulus


def test_more_values_than_the_ring_holds_are_bottom(tinies):
    secret = tinies["coefficients"]
    ev = Evaluator(secret.public)
    a = encrypt(secret.public, [1] * 40, bound=1)
    with pytest.raises(Bottom):
        decrypt(secret, ev.multiply(a, a))
    b = encrypt(secret.public, [1] * 25, bound=1)
    assert decrypt(secret, ev.multiply(a, b))[39] == 25


def test_another_key_is_bottom(tiny):
    other = SecretKey.generated(tiny.context.parameters)
    with pytest.raises(Bottom):
        decrypt(other, encrypt(tiny.public, [1], bound=1))


def test_a_mask_hides_what_it_covers_and_nothing_else(tiny):
    t = tiny.context.parameters.plain_modulus
    ev = Evaluator(tiny.public)
    a = encrypt(tiny.public, [3, 1, 4, 1], bound=5)
    mask = np.arange(64) % t
    mask[:2] = 0
    found = residues(tiny, ev.finish(a, mask=mask))
    assert found.tolist() == [3, 1, 6, 4, *range(4, 64)]
    assert decrypt(tiny, ev.finish(a, mask=mask))[:2].tolist() == [3, 1]


def test_results_do_not_depend_on_the_number_of_threads(tiny):
    ev = Evaluator(tiny.public)
    factors = [encrypt(tiny.public, [k], bound=9) for k in range(10)]
    for threads in (1, 2, 5):
        with at_most(threads):
            products = mapped(ev.multiply, factors, factors[::-1])
            finished = mapped(ev.finish, products)
            found = mapped(lambda c: decrypt(tiny, c)[0], finished)
        assert found == [k * (9 - k) for k in range(10)]
    assert mapped(ev.finish, []) == []
    for wrong in ((), ([1], [1, 2])):
        with pytest.raises(ParameterError):
            mapped(ev.multiply, *wrong)
    with pytest.raises(ParameterError):
        mapped(ev.finish, [factors[0], None])


def test_what_needs_no_multiplication_has_no_key_for_it():
    secret, public = keygen(depth=0, bound=2**31 - 1)
    assert not len(public.relinearisation)
    ev = Evaluator(public)
    values = np.array([2**31 - 3, -5])
    total = ev.finish(
        ev.add(encrypt(public, values, bound=2**31 - 2), encrypt(public, [1], bound=1))
    )
    assert decrypt(secret, total).tolist() == [2**31 - 2, -5]
