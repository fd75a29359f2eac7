"""One encoding per value, and typed errors for everything else."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from ompd.aggregate import (
    Ciphertext,
    Evaluator,
    PublicKey,
    decrypt,
    encrypt,
    encrypt_secretly,
    keys,
)
from ompd.aggregate.keys import SecretKey
from ompd.errors import (
    Bottom,
    ContextMismatchError,
    FrameError,
    FramingError,
    KeyMaterialError,
    RangeError,
    VersionError,
)
from tests.aggregate.conftest import TINY_SETS


@pytest.fixture
def named(monkeypatch):
    monkeypatch.setattr(keys, "AGGREGATE_SETS", tuple(TINY_SETS.values()))


def samples(secret):
    ev = Evaluator(secret.public)
    a = encrypt(secret.public, [1, -2, 3], bound=3)
    b = encrypt_secretly(secret, [1, -2, 3], bound=3)
    return [a, b, ev.multiply(a, b), ev.finish(a)]


def test_the_layout_is_as_described(tiny):
    a, b, product, finished = samples(tiny)
    context = tiny.context
    primes = context.parameters.primes
    for c, level, depth, seeded in (
        (a, 4, 0, 0),
        (b, 4, 0, 1),
        (product, 4, 1, 0),
        (finished, 1, 0, 0),
    ):
        data = c.to_bytes()
        assert data[:4] == bytes([1, seeded, level, depth])
        assert int.from_bytes(data[4:8], "little") == c.noise
        assert int.from_bytes(data[8:12], "little") == c.length
        assert int.from_bytes(data[12:20], "little") == c.bound
        assert data[20:52] == context.digest
        assert len(data) == context.size_of(level, seeded=bool(seeded))
        bits = primes[0].bit_length()
        first = int.from_bytes(data[52 : 52 + bits * 8], "little")
        residues = [first >> bits * place & (1 << bits) - 1 for place in range(64)]
        assert residues == [int(x) % primes[0] for x in c.rows[0, 0]]


def test_every_wrong_form_has_its_error(tiny):
    context = tiny.context
    data = samples(tiny)[0].to_bytes()

    def changed(place, octets):
        return data[:place] + octets + data[place + len(octets) :]

    cases = [
        (bytearray(data), FramingError),
        (None, FramingError),
        (b"", FramingError),
        (data[:51], FramingError),
        (data[:-1], FramingError),
        (data + b"\0", FramingError),
        (changed(0, b"\2"), VersionError),
        (changed(1, b"\2"), RangeError),
        (changed(1, b"\1"), FramingError),
        (changed(2, b"\0"), RangeError),
        (changed(2, b"\5"), RangeError),
        (changed(4, b"\xff" * 4), RangeError),
        (changed(8, bytes(4)), RangeError),
        (changed(12, b"\xff" * 8), RangeError),
        (changed(20, bytes([data[20] ^ 1])), ContextMismatchError),
        (changed(52, b"\xff" * 8), RangeError),
    ]
    for wrong, error in cases:
        with pytest.raises(error):
            Ciphertext.from_bytes(wrong, context)


def mutate(data, rng):
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(data))) if rng.random() < 0.5 else int(rng.integers(52))
        kind = rng.integers(5)
        if kind < 3:
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            data[place : place + int(rng.integers(1, 5))] = rng.bytes(int(rng.integers(5)))
        else:
            del data[place:]
        if len(data) < 53:
            break
    return bytes(data)


def mutations(secret, count, seed):
    rng = np.random.default_rng(seed)
    sent = [each.to_bytes() for each in samples(secret)]
    ev = Evaluator(secret.public)
    accepted = 0
    for number in range(count):
        data = mutate(sent[number % 4], rng)
        try:
            c = Ciphertext.from_bytes(data, secret.context)
        except FrameError:
            continue
        accepted += 1
        assert c.to_bytes() == data
        if number % 16 == 0:
            for made in (c, ev.finish(ev.add(c, c))):
                try:
                    decrypt(secret, made)
                except Bottom:
                    continue
    assert 0 < accepted < count


def test_mutated_ciphertexts_have_typed_errors(tiny):
    mutations(tiny, 300, 1)


@pytest.mark.long
@pytest.mark.parametrize("part", range(2))
def test_many_mutated_ciphertexts_have_typed_errors(tiny, part):
    mutations(tiny, 25_000, 2 + part)


def test_strangers_ciphertexts_must_be_new(tiny):
    context = tiny.context
    a, b, product, finished = samples(tiny)
    for new in (a, b):
        context.check_fresh(Ciphertext.from_bytes(new.to_bytes(), context), bound=3, length=3)
        for wrong in ({"bound": 2, "length": 3}, {"bound": 3, "length": 4}):
            with pytest.raises(RangeError):
                context.check_fresh(new, **wrong)
    for old in (product, finished):
        with pytest.raises(RangeError):
            context.check_fresh(old, bound=old.bound, length=old.length)
    # As little noise as the key's owner adds is too little for anybody else's.
    quiet = Ciphertext(context, a.rows, b.noise, 3, 3)
    with pytest.raises(RangeError):
        context.check_fresh(quiet, bound=3, length=3)
    other = SecretKey.generated(context.parameters)
    with pytest.raises(ContextMismatchError):
        context.check_fresh(encrypt(other.public, [1, 2, 3], bound=3), bound=3, length=3)


def test_public_keys_come_back(tiny, named):
    data = tiny.public.to_bytes()
    again = PublicKey.from_bytes(data)
    assert again.to_bytes() == data
    assert again.context.digest == tiny.context.digest
    assert (again.encryption == tiny.public.encryption).all()
    assert (again.relinearisation == tiny.public.relinearisation).all()
    name = tiny.context.parameters.name.encode()
    assert data[: 2 + len(name)] == bytes([1, len(name)]) + name
    for wrong, error in (
        (bytearray(data), FramingError),
        (b"\1", FramingError),
        (data[:9], FramingError),
        (data[:-1], FramingError),
        (data + b"\0", FramingError),
        (b"\2" + data[1:], VersionError),
        (data[:3] + b"?" + data[4:], FramingError),
        (data[:-6] + b"\xff" * 6, RangeError),
    ):
        with pytest.raises(error):
            PublicKey.from_bytes(wrong)


def test_mutated_public_keys_have_typed_errors(tiny, named):
    rng = np.random.default_rng(1)
    data = tiny.public.to_bytes()
    for _ in range(200):
        wrong = mutate(data, rng)
        try:
            assert PublicKey.from_bytes(wrong).to_bytes() == wrong
        except FrameError:
            continue


def test_secret_keys_come_back_and_keep_to_themselves(tiny):
    encoded = tiny.to_bytes()
    assert len(encoded) == 65
    again = SecretKey.from_bytes(encoded, tiny.public)
    assert decrypt(again, encrypt(tiny.public, [5], bound=5)).tolist() == [5]
    assert repr(tiny) == "<SecretKey>"
    for refused in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            refused(tiny)
    other = SecretKey.generated(tiny.context.parameters)
    for wrong in (None, b"", encoded[:-1], b"\2" + encoded[1:], other.to_bytes()):
        with pytest.raises(KeyMaterialError):
            SecretKey.from_bytes(wrong, tiny.public)
    assert "Ciphertext of 1 values" in repr(encrypt(tiny.public, [5], bound=5))
    assert "tiny" in repr(tiny.public)


def test_equal_values_look_different(tiny):
    sent = {encrypt(tiny.public, [5], bound=5).to_bytes() for _ in range(20)}
    sent |= {encrypt_secretly(tiny, [5], bound=5).to_bytes() for _ in range(20)}
    assert len(sent) == 40
