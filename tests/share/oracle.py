"""Re-encryption as its equations say, on py_ecc; imports nothing from the package."""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from py_ecc.bls.g2_primitives import G1_to_pubkey, pubkey_to_G1
from py_ecc.optimized_bls12_381 import G1, add, curve_order, multiply, neg

R = curve_order


def hkdf(label, *parts, length=32):
    material = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    key = hmac.digest(bytes(32), material, "sha256")
    found, block = b"", b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + label + bytes([number]), "sha256")
        found += block
    return found[:length]


def scalar(label, *parts):
    return int.from_bytes(hkdf(label, *parts, length=48), "big") % (R - 1) + 1


def encode(point):
    return bytes(G1_to_pubkey(point))


def decode(data):
    return pubkey_to_G1(data)


def number(value):
    return value.to_bytes(32, "big")


class Person:
    def __init__(self, secret):
        self.secret = secret
        self.b = scalar(b"ompd/share/receiving/1\0", secret)
        self.public = encode(multiply(G1, self.b))

    def scope(self, name):
        return scalar(b"ompd/share/scope/1\0", self.secret, name)


def record_key(shared, capsule, bound):
    return hkdf(b"ompd/share/record/1\0", shared, capsule, bound)


def seal(public, bound, plaintext, e, v):
    point, commitment = encode(multiply(G1, e)), encode(multiply(G1, v))
    c = scalar(b"ompd/share/capsule/1\0", point, commitment, bound)
    capsule = point + number(c) + number((v + c * e) % R)
    key = record_key(encode(multiply(decode(public), e)), capsule, bound)
    return capsule, AESGCM(key).encrypt(bytes(12), plaintext, bound)


def valid(capsule, bound):
    point, c, s = capsule[:48], capsule[48:80], capsule[80:]
    c, s = int.from_bytes(c, "big"), int.from_bytes(s, "big")
    commitment = add(multiply(G1, s), neg(multiply(decode(point), c)))
    return scalar(b"ompd/share/capsule/1\0", point, encode(commitment), bound) == c


def opened(secret, capsule, ciphertext, bound):
    """Content, by the secret that E is to be multiplied with; None if it does not open."""
    key = record_key(encode(multiply(decode(capsule[:48]), secret)), capsule, bound)
    try:
        return AESGCM(key).decrypt(bytes(12), ciphertext, bound)
    except InvalidTag:
        return None


def divisor(shared, point, recipient, scope):
    return scalar(b"ompd/share/grant/1\0", shared, point, recipient, scope)


def turned_rightly(capsule, turned, key, bound):
    other, c, s = turned[:48], turned[48:80], turned[80:]
    c, s = int.from_bytes(c, "big"), int.from_bytes(s, "big")
    first = add(multiply(G1, s), neg(multiply(decode(key), c)))
    second = add(multiply(decode(capsule[:48]), s), neg(multiply(decode(other), c)))
    parts = (capsule, other, key, encode(first), encode(second), bound)
    return scalar(b"ompd/share/reencryption/1\0", *parts) == c
