"""A verifiable oblivious pseudorandom function: VOPRF of RFC 9497, ristretto255-SHA512.

The side that holds the key is the package `voprf` (`Evaluator`). The client's side is here, since a
client of that package cannot be kept: its blinds have to outlive the process, or what was paid for
would be lost with it.

Elements are blinded by adding r·G and unblinded by taking off r times the public key, instead of
being multiplied by r and 1/r. What the evaluator sees is uniform either way. That the result is
right rests on the public key being the one that the evaluator used, which the proof shows; without
verified proofs this kind of blinding is not safe (Jarecki, Krawczyk and Xu 2020).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha512
from typing import Any

from ompd.confidential import Confidential
from ompd.crypto import ristretto
from ompd.crypto.ristretto import ELEMENT_BYTES, ORDER, Element, FixedBase
from ompd.errors import (
    BackendUnavailableError,
    IdentityPointError,
    KeyMaterialError,
    ParameterError,
    PointDecodingError,
    PointError,
    ProofError,
)

#: Bytes of an output, and of the proof at the beginning of an answer.
OUTPUT_BYTES = 64
PROOF_BYTES = 64
SEED_BYTES = 32
#: Most elements that are evaluated at once.
MOST_ELEMENTS = 1024
_CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
_GROUP_DST = b"HashToGroup-" + _CONTEXT
_SCALAR_DST = b"HashToScalar-" + _CONTEXT
_SEED_DST = b"Seed-" + _CONTEXT


class Evaluator(Confidential):
    """The side that holds the key.

    Parameters
    ----------
    seed : bytes
        32 secret bytes.
    info : bytes
        What the key is for; other keys of the same seed say nothing about this one.

    Attributes
    ----------
    public : bytes
        Public key, 32 bytes.

    Raises
    ------
    BackendUnavailableError
        If the package `voprf` is not installed here.
    KeyMaterialError
        If the seed is not 32 bytes.
    ParameterError
        If `info` is too long.
    """

    __slots__ = ("_evaluator", "_library", "public")

    def __init__(self, seed: bytes, info: bytes) -> None:
        self._library = _native()
        if type(seed) is not bytes or len(seed) != SEED_BYTES:
            raise KeyMaterialError(f"seed: expected {SEED_BYTES} bytes")
        if type(info) is not bytes or len(info) > 1024:
            raise ParameterError("info: expected at most 1024 bytes")
        self._evaluator = self._library.Evaluator.from_seed(seed, info)
        self.public: bytes = self._evaluator.public_key.serialize()

    def evaluate(self, elements: Sequence[bytes]) -> bytes:
        """Evaluate blinded elements.

        Parameters
        ----------
        elements : sequence of bytes
            1 to 1024 elements of 32 bytes.

        Returns
        -------
        bytes
            A proof of 64 bytes for all, and 32 bytes for each.

        Raises
        ------
        PointDecodingError, IdentityPointError
            If an element is none, or the identity.
        ParameterError
            If there are none or too many.
        """
        if not 1 <= len(elements) <= MOST_ELEMENTS:
            raise ParameterError(f"elements: expected 1 to {MOST_ELEMENTS}, got {len(elements)}")
        inputs = [self._decoded(element) for element in elements]
        answer: bytes = self._evaluator.evaluate_batch(inputs).serialize()
        return answer

    def output(self, message: bytes) -> bytes:
        """Return the function of a known input, 64 bytes."""
        found: bytes = self._evaluator.evaluate_known_input(message)
        return found

    def _decoded(self, element: bytes) -> Any:
        if type(element) is bytes and len(element) == ELEMENT_BYTES:
            if not any(element):
                raise IdentityPointError("element: is the identity")
            try:
                return self._library.BlindedInput.deserialize(element)
            except ValueError:
                pass
        raise PointDecodingError("element: is not the canonical encoding of an element")


def blind_all(messages: Sequence[bytes]) -> tuple[list[int], list[bytes]]:
    """Blind inputs.

    Returns
    -------
    blinds : list of int
        Secret; needed to make sense of the answer.
    elements : list of bytes
        For the evaluator, 32 bytes each.
    """
    blinds = [ristretto.random_scalar() for _ in messages]
    base = _generator()
    elements = [
        ristretto.encode(ristretto.add(_hashed(message), base.multiply(blind)))
        for message, blind in zip(messages, blinds, strict=True)
    ]
    return blinds, elements


def finalize_all(
    messages: Sequence[bytes],
    blinds: Sequence[int],
    elements: Sequence[bytes],
    answer: bytes,
    public: bytes,
) -> list[bytes]:
    """Verify an evaluator's answer, and return the outputs.

    Parameters
    ----------
    messages, blinds, elements
        As for and from `blind_all`.
    answer : bytes
        What `Evaluator.evaluate` returned.
    public : bytes
        Public key, 32 bytes.

    Returns
    -------
    list of bytes
        64 bytes for each input.

    Raises
    ------
    ProofError
        If the answer has another length, or was not computed with this key.
    PointDecodingError, IdentityPointError
        If an element of it, or the key, is none.
    """
    evaluated = verified(elements, answer, public)
    base = _key(public)
    return [
        _output(message, ristretto.add(element, ristretto.negate(base.multiply(blind))))
        for message, blind, element in zip(messages, blinds, evaluated, strict=True)
    ]


def verified(elements: Sequence[bytes], answer: bytes, public: bytes) -> list[Element]:
    """Return the evaluated elements of an answer whose proof holds; raises as `finalize_all`."""
    expected = PROOF_BYTES + ELEMENT_BYTES * len(elements)
    if type(answer) is not bytes or len(answer) != expected:
        raise ProofError(f"answer: expected {expected} bytes")
    challenge = _scalar(answer[:ELEMENT_BYTES])
    response = _scalar(answer[ELEMENT_BYTES:PROOF_BYTES])
    encoded = [
        answer[place : place + ELEMENT_BYTES]
        for place in range(PROOF_BYTES, expected, ELEMENT_BYTES)
    ]
    evaluated = [ristretto.decode(each, "answer") for each in encoded]
    sent = [ristretto.decode(each, "element") for each in elements]
    seed = sha512(_framed(public, _SEED_DST)).digest()
    weights = [
        ristretto.hash_to_scalar(
            _framed(seed) + place.to_bytes(2, "big") + _framed(mine, theirs) + b"Composite",
            _SCALAR_DST,
        )
        for place, (mine, theirs) in enumerate(zip(elements, encoded, strict=True))
    ]
    first, second = ristretto.combine_each(weights, [sent, evaluated])
    commitments = (
        ristretto.add(_generator().multiply(response), _key(public).multiply(challenge)),
        ristretto.combine([response, challenge], [first, second]),
    )
    parts = [ristretto.encode(each) for each in (first, second, *commitments)]
    if ristretto.hash_to_scalar(_framed(public, *parts) + b"Challenge", _SCALAR_DST) != challenge:
        raise ProofError("proof: the answer was not computed with this key")
    return evaluated


def check_public(public: object) -> bytes:
    """Return a public key that is one.

    Raises
    ------
    PointDecodingError, IdentityPointError
    """
    ristretto.decode(public, "public")
    assert isinstance(public, bytes)  # noqa: S101  (it was decoded)
    return public


def _native() -> Any:
    try:
        return importlib.import_module("voprf").ristretto
    except ImportError:
        raise BackendUnavailableError(
            "voprf: cannot be imported; pip install 'ompd[monitor]'"
        ) from None


def _scalar(encoded: bytes) -> int:
    scalar = int.from_bytes(encoded, "little")
    if scalar >= ORDER:
        raise ProofError("proof: expected scalars below the order of the group")
    return scalar


def _hashed(message: bytes) -> Element:
    return ristretto.hash_to_group(message, _GROUP_DST)


def _output(message: bytes, element: Element) -> bytes:
    framed = _framed(message, ristretto.encode(element))
    return sha512(framed + b"Finalize").digest()


def _framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


@lru_cache(maxsize=1)
def _generator() -> FixedBase:
    return FixedBase(ristretto.GENERATOR, 8)


@lru_cache(maxsize=64)
def _key(public: bytes) -> FixedBase:
    try:
        return FixedBase(ristretto.decode(public, "public"), 6)
    except PointError as error:
        raise type(error)(*error.args) from None
