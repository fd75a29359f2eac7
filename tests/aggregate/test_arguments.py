"""What is refused, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.aggregate import Evaluator, decrypt, encrypt, encrypt_secretly, keygen
from ompd.aggregate.keys import SecretKey, choose
from ompd.errors import Bottom, ContextMismatchError, OmpdError, ParameterError
from ompd.params import AGGREGATE_SETS, AggregateSet
from tests.aggregate.conftest import TINY_COEFFICIENTS


@pytest.mark.parametrize(
    "values",
    [
        [],
        [[1]],
        3,
        None,
        "text",
        [1.0],
        [True],
        ["1"],
        [None],
        [1, 2**70],
        [4],
        [-4],
        [-(2**63)],
        np.array([2**63 + 1], dtype=np.uint64),
        np.array([2**64 - 1], dtype=np.uint64),
        np.zeros(65, dtype=np.int64),
        np.zeros((64, 1), dtype=np.int64),
        {1: 2},
        b"123",
        [[1], [1, 2]],
    ],
)
def test_values_must_be_integers_within_their_bound(tiny, values):
    ev = Evaluator(tiny.public)
    a = encrypt(tiny.public, [1], bound=1)
    for call in (
        lambda: encrypt(tiny.public, values, bound=3),
        lambda: encrypt_secretly(tiny, values, bound=3),
        lambda: ev.add_plain(a, values, bound=3),
        lambda: ev.multiply_plain(a, values, bound=3),
    ):
        with pytest.raises(ParameterError) as caught:
            call()
        # Messages say no value.
        assert "9223" not in str(caught.value)


@pytest.mark.parametrize("bound", [-1, 2**15, 2**70, 1.0, "1", None, True, np.int64(3)])
def test_bounds_are_integers_below_half_of_t(tinies, bound):
    secret = tinies["coefficients"]
    for call in (
        lambda: encrypt(secret.public, [0], bound=bound),
        lambda: encrypt_secretly(secret, [0], bound=bound),
    ):
        with pytest.raises(ParameterError):
            call()


def test_all_types_of_integers_are_values(tiny):
    for kind in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        for form in (np.array, lambda a, kind: np.repeat(np.array(a, kind), 2)[::2]):
            c = encrypt(tiny.public, form([0, 100, 3], kind), bound=100)
            assert decrypt(tiny, c).tolist() == [0, 100, 3]
    assert decrypt(tiny, encrypt(tiny.public, (1, -1), bound=1)).tolist() == [1, -1]
    assert decrypt(tiny, encrypt(tiny.public, [0], bound=0)).tolist() == [0]


def test_keys_are_made_for_what_is_possible():
    assert choose(0, 1, "coefficients").name == "coefficients-8192-24"
    assert choose(1, 2**23 - 1, "coefficients").name == "coefficients-8192-24"
    assert choose(0, 2**23, "coefficients").name == "coefficients-8192-32"
    assert choose(1, 2**23, "coefficients").name == "coefficients-16384-32"
    assert choose(1, 32768, "slots").name == "slots-8192-16"
    assert choose(1, 32769, "slots").name == "slots-8192-20"
    assert choose(2, 100, "slots").name == "slots-16384-25"
    wrong = [(9, 1), (1, 2**31), (-1, 1), (1, -1), (1.0, 1), (1, None), (True, 1)]
    for depth, bound in wrong:
        with pytest.raises(ParameterError):
            keygen(depth, bound)
    with pytest.raises(ParameterError):
        keygen(1, 1, "boxes")
    with pytest.raises(ParameterError):
        SecretKey.generate(TINY_COEFFICIENTS)


def test_sets_that_contradict_themselves_are_refused():
    one = AGGREGATE_SETS[0]
    good = {each: getattr(one, each) for each in one.__dataclass_fields__}
    AggregateSet(**good)
    for field, value in (
        ("degree", 8191),
        ("degree", 32),
        ("packing", "boxes"),
        ("packing", "slots"),
        ("plain_modulus", 1),
        ("plain_modulus", 1 << 33),
        ("plain_modulus", 1 << 30),
        ("primes", ()),
        ("primes", one.primes[:1] * 2),
        ("primes", (*one.primes, 12289)),
        ("special_prime", one.primes[0]),
        ("special_prime", (1 << 61) - 1),
    ):
        with pytest.raises(ParameterError):
            AggregateSet(**good | {field: value})


def test_evaluators_take_ciphertexts_under_their_key_only(tiny):
    ev = Evaluator(tiny.public)
    other = SecretKey.generated(tiny.context.parameters)
    a, b = encrypt(tiny.public, [1], bound=1), encrypt(other.public, [1], bound=1)
    for call in (
        lambda x: ev.add(a, x),
        lambda x: ev.subtract(x, a),
        lambda x: ev.sum([a, x]),
        lambda x: ev.multiply(x, a),
        lambda x: ev.dot([a, a], [a, x]),
        lambda x: ev.add_plain(x, [1], bound=1),
        lambda x: ev.multiply_plain(x, [1], bound=1),
        ev.finish,
    ):
        with pytest.raises(ContextMismatchError):
            call(b)
        for wrong in (None, 1, a.to_bytes(), a.rows):
            with pytest.raises(ParameterError):
                call(wrong)
    for call in (
        lambda: ev.sum([]),
        lambda: ev.sum(a),
        lambda: ev.dot([], []),
        lambda: ev.dot([a], [a, a]),
        lambda: ev.finish(a, flood=39),
        lambda: ev.finish(a, flood=80.0),
        lambda: ev.finish(a, mask=[tiny.context.parameters.plain_modulus]),
        lambda: ev.finish(a, mask=[0.5]),
        lambda: Evaluator(tiny),
        lambda: decrypt(tiny.public, a),
        lambda: decrypt(tiny, a.to_bytes()),
        lambda: encrypt(tiny, [1], bound=1),
        lambda: encrypt_secretly(tiny.public, [1], bound=1),
    ):
        with pytest.raises(ParameterError):
            call()
    with pytest.raises(Bottom):
        decrypt(tiny, b)


def test_a_key_of_depth_zero_multiplies_nothing():
    secret, public = keygen(0, 2**31 - 1)
    a = encrypt(public, [1], bound=1)
    with pytest.raises(ParameterError):
        Evaluator(public).multiply(a, a)
    assert decrypt(secret, Evaluator(public).multiply_plain(a, [7], bound=7)).tolist() == [7]


def test_all_errors_are_of_this_package():
    assert issubclass(Bottom, OmpdError)
