"""Curve arithmetic of the signature scheme through pyblst, the binding to blst.

blst signs in time that does not depend on the secret. pyblst leaves three things to the caller,
all of them dealt with before these methods run: it decodes the point at infinity without a word,
reduces scalars modulo r, and names the reason of a refusal in prose only.
"""

from __future__ import annotations

from typing import Any

from pyblst import BlstP1Element, BlstP2Element, final_verify, miller_loop

from ompd.crypto.signatures import SignatureBackend

#: Compressed generator of G1; RFC 9380 and the draft refer to it as P.
_GENERATOR = bytes.fromhex(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac58"
    "6c55e83ff97a1aeffb3af00adb22c6bb"
)


class PyblstBackend(SignatureBackend):
    """The native backend."""

    name = "pyblst"

    def __init__(self) -> None:
        super().__init__()
        self._generator = BlstP1Element.uncompress(_GENERATOR)

    def _multiply_generator(self, secret: int) -> bytes:
        encoded: bytes = self._generator.scalar_mul(secret).compress()
        return encoded

    def _sign(self, secret: int, message: bytes, dst: bytes) -> bytes:
        encoded: bytes = BlstP2Element.hash_to_group(message, dst).scalar_mul(secret).compress()
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

    def _matches(self, key: Any, message: bytes, dst: bytes, signature: Any) -> bool:
        hashed = BlstP2Element.hash_to_group(message, dst)
        verdict: bool = final_verify(
            miller_loop(key, hashed), miller_loop(self._generator, signature)
        )
        return verdict
