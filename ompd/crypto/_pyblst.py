"""Curve arithmetic of the signature scheme through pyblst, the binding to blst.

blst signs in time that does not depend on the secret; `bench/leak.py` looks for exceptions. pyblst
leaves three things to the caller, all of them dealt with before these methods run: it decodes the
point at infinity without a word, reduces scalars modulo r, and names the reason of a refusal in
prose only.
"""

from __future__ import annotations

from typing import Any

from pyblst import BlstP1Element, BlstP2Element, final_verify, miller_loop

from ompd.crypto.groups import Group
from ompd.crypto.points import GROUP_ORDER
from ompd.crypto.signatures import SignatureBackend

#: Compressed generator of G1; RFC 9380 and the draft refer to it as P.
_GENERATOR = bytes.fromhex(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac58"
    "6c55e83ff97a1aeffb3af00adb22c6bb"
)


class PyblstBackend(SignatureBackend):
    """The native backend."""

    name = "pyblst"
    # Below this, powers and multiples cost more than the pairings they replace.
    batch_from = 16

    def __init__(self) -> None:
        super().__init__()
        self._generator = BlstP1Element.uncompress(_GENERATOR)

    def _multiply_generator(self, secret: int) -> bytes:
        encoded: bytes = _multiplied(self._generator, secret).compress()
        return encoded

    def _sign(self, secret: int, message: bytes, dst: bytes) -> bytes:
        encoded: bytes = _multiplied(BlstP2Element.hash_to_group(message, dst), secret).compress()
        return encoded

    def _load_key(self, encoded: bytes) -> Any:
        try:
            return BlstP1Element.uncompress(encoded)
        except ValueError:
            return None

    def _load_signature(self, encoded: bytes) -> Any:
        try:
            return BlstP2Element.uncompress(encoded)
        except ValueError:
            return None

    def _hash(self, message: bytes, dst: bytes) -> Any:
        return BlstP2Element.hash_to_group(message, dst)

    def _add(self, left: Any, right: Any) -> Any:
        return left + right

    def _loop(self, key: Any, hashed: Any) -> Any:
        return miller_loop(key, hashed)

    def _generator_loop(self, signature: Any) -> Any:
        return miller_loop(self._generator, signature)

    def _multiply(self, left: Any, right: Any) -> Any:
        return left * right

    def _agree(self, loops: Any, generator_loop: Any) -> bool:
        verdict: bool = final_verify(loops, generator_loop)
        return verdict


def _multiplied(point: Any, secret: int) -> Any:
    """Return `point` times `secret`, by way of a factor that always has 32 bytes.

    pyblst pads shorter scalars, which takes it 50 to 270 ns longer and would tell of one key in
    116 that it begins with a byte of zeros. Of s and r - s, one is above r / 2 > 2**253, and the
    two products are each other's negative.
    """
    opposite = GROUP_ORDER - secret
    product = point.scalar_mul(max(secret, opposite))
    return (product, -product)[secret < opposite]


class PyblstGroup(Group):
    """Arithmetic by the native library."""

    def __init__(self, curve: SignatureBackend) -> None:
        super().__init__(curve)
        self.generator = BlstP1Element.uncompress(_GENERATOR)

    def multiply(self, point: Any, scalar: int) -> Any:
        """Return a multiple, by way of a factor of 32 bytes."""
        return _multiplied(point, scalar)

    def add(self, left: Any, right: Any) -> Any:
        """Return the sum."""
        return left + right

    def encode(self, point: Any) -> bytes:
        """Return the compressed form."""
        return bytes(point.compress())
