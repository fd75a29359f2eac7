"""Blind tokens on both libraries."""

from __future__ import annotations

import pickle
from hashlib import sha256

import pytest
from py_ecc.bls.g2_primitives import G2_to_signature, signature_to_G2
from py_ecc.bls.hash_to_curve import hash_to_G2
from py_ecc.optimized_bls12_381 import multiply

from ompd.errors import (
    IdentityPointError,
    ParameterError,
    PointDecodingError,
    PointError,
    SubgroupError,
    TokenError,
)
from ompd.share import Token, TokenKey, blind, check_token, unblind

PURPOSE = b"ta|7"
DST = b"OMPD-TOKEN-V1_BLS12381G2_XMD:SHA-256_SSWU_RO_"
INFINITY = b"\xc0" + bytes(95)


def g2(c1, c0):
    return (c1 | 0x80 << 376).to_bytes(48, "big") + c0.to_bytes(48, "big")


def first_outside():
    """A point of the curve outside G2: the first c0 that gives one."""
    for c0 in range(1, 100):
        try:
            signature_to_G2(g2(0, c0))
        except ValueError:
            continue
        return g2(0, c0)
    raise AssertionError


def bought(key, purpose=PURPOSE):
    blinded = blind(purpose)
    return unblind(key.public, purpose, blinded, key.issue(blinded.point))


def test_a_token_is_good_for_its_purpose_and_key_alone():
    key, other = TokenKey.generate(), TokenKey.generate()
    token = bought(key)
    check_token(key.public, PURPOSE, token)
    assert Token.from_bytes(token.to_bytes()) == token
    for public, purpose in ((other.public, PURPOSE), (key.public, b"ta|8"), (key.public, b"")):
        with pytest.raises(TokenError):
            check_token(public, purpose, token)
    with pytest.raises(TokenError):
        check_token(key.public, PURPOSE, Token(bytes(32), token.signature))
    with pytest.raises(TokenError):
        check_token(key.public, PURPOSE, Token(token.name, bought(key).signature))


def test_the_oracle_agrees():
    key = TokenKey(bytes(31) + b"\x0b", "pyblst")
    slow = TokenKey(bytes(31) + b"\x0b", "py_ecc")
    assert key.public == slow.public
    blinded = blind(PURPOSE)
    assert key.issue(blinded.point) == slow.issue(blinded.point)
    token = unblind(key.public, PURPOSE, blinded, slow.issue(blinded.point))
    expected = multiply(hash_to_G2(PURPOSE + token.name, DST, sha256), 11)
    assert token.signature == bytes(G2_to_signature(expected))
    check_token(key.public, PURPOSE, token, "py_ecc")


def test_the_issuer_sees_another_point_each_time():
    key = TokenKey.generate()
    blinded = [blind(PURPOSE) for _ in range(3)]
    assert len({each.point for each in blinded}) == 3
    tokens = [unblind(key.public, PURPOSE, each, key.issue(each.point)) for each in blinded]
    seen = b"".join(each.point + key.issue(each.point) for each in blinded)
    for token in tokens:
        assert token.name not in seen
        assert token.signature not in seen


@pytest.mark.parametrize("backend", ["pyblst", "py_ecc"])
def test_bad_points(backend):
    key = TokenKey.generate(backend)
    bad = {
        INFINITY: IdentityPointError,
        first_outside(): SubgroupError,
        bytes(96): PointDecodingError,
        b"": PointDecodingError,
        b"\xbf" + b"\xff" * 95: PointDecodingError,
    }
    blinded = blind(PURPOSE)
    for point, error in bad.items():
        with pytest.raises(error):
            key.issue(point)
        with pytest.raises(error):
            unblind(key.public, PURPOSE, blinded, point, backend)
        with pytest.raises(TokenError):
            check_token(key.public, PURPOSE, Token(bytes(32), point), backend)
    with pytest.raises(PointError):
        check_token(b"\xc0" + bytes(47), PURPOSE, Token(bytes(32), blinded.point), backend)


def test_an_issuer_with_another_key_is_found_out():
    # Signing each buyer's tokens with a key of their own would mark them.
    key, mark = TokenKey.generate(), TokenKey.generate()
    blinded = blind(PURPOSE)
    with pytest.raises(TokenError):
        unblind(key.public, PURPOSE, blinded, mark.issue(blinded.point))


def test_types_and_secrets():
    key = TokenKey.generate()
    assert TokenKey(key.to_bytes()).public == key.public
    with pytest.raises(ParameterError):
        blind("ta|7")
    for wrong in (b"", bytes(127), "token"):
        with pytest.raises(TokenError):
            Token.from_bytes(wrong)
    for secret in (bytes(32), b"\xff" * 32, b"", 5):
        with pytest.raises(PointDecodingError):
            TokenKey(secret)
    for holder in (key, blind(PURPOSE)):
        assert repr(holder) == f"<{type(holder).__name__}>"
        with pytest.raises(TypeError):
            pickle.dumps(holder)
    assert bought(key).name.hex() not in repr(bought(key))
