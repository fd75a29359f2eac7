"""Curve arithmetic of the signature scheme through py_ecc, in pure Python.

The portable fallback and the oracle of the tests. It is slow, and its time depends on the
secret: on a machine whose users can time each other's signatures, install pyblst.

Importing py_ecc raises the interpreter's recursion limit to 100 000. That is left alone, since its
hash to the curve recurses 636 levels deep and would otherwise fail under a deep call stack.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from py_ecc.bls import g2_primitives
from py_ecc.bls.hash_to_curve import hash_to_G2
from py_ecc.optimized_bls12_381.optimized_curve import G1, add, multiply, neg
from py_ecc.optimized_bls12_381.optimized_pairing import final_exponentiate, pairing

from ompd.crypto.groups import Group
from ompd.crypto.signatures import SignatureBackend

# py_ecc annotates its own functions more narrowly than they are used by its own callers.
_encode_g1: Any = g2_primitives.G1_to_pubkey
_encode_g2: Any = g2_primitives.G2_to_signature
_decode_g1: Any = g2_primitives.pubkey_to_G1
_decode_g2: Any = g2_primitives.signature_to_G2
_in_subgroup: Any = g2_primitives.subgroup_check
_hash_to_g2: Any = hash_to_G2


class PyEccBackend(SignatureBackend):
    """The portable backend."""

    name = "py_ecc"
    batch_from = 2

    def __init__(self) -> None:
        super().__init__()
        self._negated_generator = neg(G1)

    def _multiply_generator(self, secret: int) -> bytes:
        return bytes(_encode_g1(multiply(G1, secret)))

    def _sign(self, secret: int, message: bytes, dst: bytes) -> bytes:
        return bytes(_encode_g2(multiply(_hash_to_g2(message, dst, sha256), secret)))

    # A decoder's ValueError means off the curve or, in G1, x = 0: py_ecc takes the latter for a
    # malformed infinity, but it belongs to two points of order three. Both are to be refused, and
    # the caller finds the reason by itself.

    def _load_key(self, encoded: bytes) -> Any:
        try:
            point = _decode_g1(encoded)
        except ValueError:
            return None
        return point if _in_subgroup(point) else None

    def _load_signature(self, encoded: bytes) -> Any:
        try:
            point = _decode_g2(encoded)
        except ValueError:
            return None
        return point if _in_subgroup(point) else None

    def _hash(self, message: bytes, dst: bytes) -> Any:
        return _hash_to_g2(message, dst, sha256)

    def _add(self, left: Any, right: Any) -> Any:
        return add(left, right)

    def _loop(self, key: Any, hashed: Any) -> Any:
        return pairing(hashed, key, final_exponentiate=False)

    def _generator_loop(self, signature: Any) -> Any:
        # Inverted, so that the final exponentiation is applied once, to the quotient.
        return pairing(signature, self._negated_generator, final_exponentiate=False)

    def _multiply(self, left: Any, right: Any) -> Any:
        return left * right

    def _agree(self, loops: Any, generator_loop: Any) -> bool:
        result = final_exponentiate(loops * generator_loop)
        return bool(result == type(result).one())


class PyEccGroup(Group):
    """Arithmetic in pure Python."""

    def __init__(self, curve: SignatureBackend) -> None:
        super().__init__(curve)
        self.generator = G1

    def multiply(self, point: Any, scalar: int) -> Any:
        """Return a multiple."""
        return multiply(point, scalar)

    def add(self, left: Any, right: Any) -> Any:
        """Return the sum."""
        return add(left, right)

    def encode(self, point: Any) -> bytes:
        """Return the compressed form."""
        # The third coordinate of a point of G1 is a number, that of one of G2 a pair.
        in_g1 = isinstance(point[2], type(G1[2]))
        return bytes(_encode_g1(point) if in_g1 else _encode_g2(point))
