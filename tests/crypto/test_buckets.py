"""Encryption of buckets."""

from __future__ import annotations

import pytest

from ompd.crypto.buckets import TAG_BYTES, BucketCipher
from ompd.errors import BucketAuthError, KeyMaterialError

KEY = bytes(range(32))
PLAIN = b"sixteen bytes of" * 3


def sealed(cipher, place=3):
    into = bytearray(len(PLAIN) + TAG_BYTES)
    cipher.seal(place, memoryview(PLAIN), memoryview(into))
    return bytes(into)


def opened(cipher, data, place=3):
    into = bytearray(len(PLAIN))
    cipher.open(place, memoryview(data), memoryview(into))
    return bytes(into)


def test_what_was_sealed_opens():
    cipher = BucketCipher(KEY, b"table 1")
    data = sealed(cipher)
    assert opened(cipher, data) == PLAIN
    assert opened(BucketCipher(cipher.key, cipher.context), data) == PLAIN
    assert PLAIN not in data


@pytest.mark.parametrize("context", [b"", b"table 2", b"table 1 ", b"table 1\x00"])
def test_a_bucket_is_bound_to_its_context(context):
    data = sealed(BucketCipher(KEY, b"table 1"))
    with pytest.raises(BucketAuthError):
        opened(BucketCipher(KEY, context), data)


def test_a_bucket_is_bound_to_its_place_and_key():
    cipher = BucketCipher(KEY, b"table 1")
    data = sealed(cipher)
    with pytest.raises(BucketAuthError):
        opened(cipher, data, place=4)
    with pytest.raises(BucketAuthError):
        opened(BucketCipher.generate(b"table 1"), data)
    for place in (0, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(BucketAuthError):
            opened(cipher, bytes(changed))


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"0", bytearray(KEY)])
def test_keys_have_32_bytes(key):
    with pytest.raises(KeyMaterialError):
        BucketCipher(key, b"")
