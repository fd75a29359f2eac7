"""BLS signatures on BLS12-381: one interface, two interchangeable backends.

The ciphersuite is BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_ of draft-irtf-cfrg-bls-signature-05:
public keys are G1 points (48 bytes), signatures and proofs of possession G2 points (96 bytes), both
compressed. `backend` picks pyblst where it is installed and py_ecc elsewhere. The two produce the
same bytes and refuse the same inputs with the same errors, because everything except the curve
arithmetic happens in `SignatureBackend`.

A valid signature says nothing about who owns the key. Keys must have passed
`SignatureBackend.verify_possession` before signatures of several parties are ever aggregated; the
`Directory` of this package sees to it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from ompd.crypto.batch import Curve, Item, wrong_items
from ompd.crypto.points import GROUP_ORDER, check_g1, check_g2, refuse_g1, refuse_g2
from ompd.errors import (
    IdentityPointError,
    KeyMaterialError,
    OmpdError,
    ParameterError,
    PointDecodingError,
    PointError,
    ProofOfPossessionError,
    SignatureError,
    SubgroupError,
)

#: Domain separation tag of signatures, which is also the name of the ciphersuite.
SIGNATURE_DST = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
#: Domain separation tag of proofs of possession.
POSSESSION_DST = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"

_WRONG_SIGNATURE = "signature: does not belong to this message and public key"

#: Decoded public keys that a backend remembers; the subgroup check is worth saving and a
#: deployment has far fewer parties than this.
CACHED_KEYS = 8192


# A signature that is not even a point is refused as such, and also as a bad signature: whoever
# catches `SignatureError` around `verify` must not miss it.


class SignatureDecodingError(SignatureError, PointDecodingError):
    """The signature is not a canonical encoding of a point on the curve."""


class SignatureIdentityError(SignatureError, IdentityPointError):
    """The signature is the point at infinity."""


class SignatureSubgroupError(SignatureError, SubgroupError):
    """The signature is a curve point outside the prime-order subgroup."""


_AS_SIGNATURE_ERROR: dict[type[PointError], type[SignatureError]] = {
    PointDecodingError: SignatureDecodingError,
    IdentityPointError: SignatureIdentityError,
    SubgroupError: SignatureSubgroupError,
}


def check_secret(secret: object) -> int:
    """Return `secret` if it is a usable secret scalar.

    Raises
    ------
    KeyMaterialError
        If it is not an int with 1 <= secret < r (255 bits). Both libraries would take some of
        these: pyblst reduces modulo r in silence, which turns r into the zero key.
    """
    if type(secret) is not int:
        raise KeyMaterialError(f"secret: expected an int, got {type(secret).__name__}")
    if not 1 <= secret < GROUP_ORDER:
        raise KeyMaterialError(
            f"secret: expected 1 <= secret < r, got an int of the wrong sign or size "
            f"({secret.bit_length()} bits)"
        )
    return secret


class SignatureBackend(Curve):
    """The signature scheme on top of one library's curve arithmetic.

    Subclasses supply the abstract methods; they are called with checked arguments only.
    Instances keep no state but a bounded cache of decoded public keys and may be shared between
    threads. Get one from `backend`.

    Attributes
    ----------
    name : str
        "pyblst" or "py_ecc".
    """

    name: str

    def __init__(self) -> None:
        self._key_point = lru_cache(maxsize=CACHED_KEYS)(self._checked_key)

    def public_key(self, secret: int) -> bytes:
        """Return the public key of `secret`.

        Parameters
        ----------
        secret : int
            Scalar with 1 <= secret < r.

        Returns
        -------
        bytes
            48 bytes, a compressed G1 point.

        Raises
        ------
        KeyMaterialError
            If the secret has the wrong type or range.
        """
        return self._multiply_generator(check_secret(secret))

    def sign(self, secret: int, message: bytes) -> bytes:
        """Sign `message`.

        Parameters
        ----------
        secret : int
            Scalar with 1 <= secret < r.
        message : bytes
            Any length, also empty.

        Returns
        -------
        bytes
            96 bytes, a compressed G2 point; the same for the same arguments.

        Raises
        ------
        KeyMaterialError
            If the secret has the wrong type or range.
        ParameterError
            If the message is not bytes.
        """
        return self._sign(check_secret(secret), _check_message(message), SIGNATURE_DST)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Return if `signature` belongs to `message` and `public_key`; raise otherwise.

        Parameters
        ----------
        public_key : bytes
            48 bytes.
        message : bytes
            Any length.
        signature : bytes
            96 bytes.

        Raises
        ------
        PointError
            If the public key is refused, as `check_public_key` would.
        SignatureError
            If the signature is wrong. When its bytes are no acceptable point, the error is also
            an `IdentityPointError`, `PointDecodingError` or `SubgroupError`.
        ParameterError
            If the message is not bytes.

        Notes
        -----
        CoreVerify of the draft, section 2.7, with KeyValidate. pyblst holds the interpreter lock
        throughout; threads do not speed it up.
        """
        key, point = self._decode(public_key, message, signature)
        if not self._matches(key, message, SIGNATURE_DST, point):
            raise SignatureError(_WRONG_SIGNATURE)

    def verify_many(self, items: Iterable[tuple[bytes, bytes, bytes]]) -> list[OmpdError | None]:
        """Tell of every item whether `verify` would accept it, for less than that would cost.

        **Raises nothing for a bad signature**: the caller has to look at every verdict.

        Parameters
        ----------
        items : iterable of (public_key, message, signature)
            Keys may repeat, and so may whole items.

        Returns
        -------
        list
            One entry per item, in order: None if it is good, else the error that `verify` would
            raise: a `PointError`, `SignatureError` or `ParameterError`.

        Raises
        ------
        ParameterError
            If an item is no tuple of three.

        Notes
        -----
        A wrong signature is reported good with a chance below 2**-120, since the combination
        draws factors of 128 bits from the operating system; see `ompd.crypto.batch`. One wrong
        item among many is found by halving, which costs about half as much again. A batch of
        nothing but wrong ones costs about twice what checking one by one would.
        """
        verdicts: list[OmpdError | None] = []
        places: list[int] = []
        decoded: list[Item] = []
        for item in items:
            if type(item) is not tuple or len(item) != 3:
                raise ParameterError("items: expected tuples of public key, message and signature")
            verdict: OmpdError | None = None
            try:
                key, point = self._decode(*item)
            except (PointError, SignatureError, ParameterError) as error:
                # A new one without traceback, which would keep this frame and all items alive.
                verdict = type(error)(*error.args)
            else:
                hashed = self._hash(item[1], SIGNATURE_DST)
                places.append(len(verdicts))
                decoded.append(Item(item[0], key, hashed, point))
            verdicts.append(verdict)
        for place in wrong_items(self, decoded):
            verdicts[places[place]] = SignatureError(_WRONG_SIGNATURE)
        return verdicts

    def prove_possession(self, secret: int) -> bytes:
        """Return the proof that the owner of the public key holds `secret`.

        Parameters
        ----------
        secret : int
            Scalar with 1 <= secret < r.

        Returns
        -------
        bytes
            96 bytes, a compressed G2 point.

        Raises
        ------
        KeyMaterialError
            If the secret has the wrong type or range.
        """
        return self._sign(secret, self.public_key(secret), POSSESSION_DST)

    def verify_possession(self, public_key: bytes, proof: bytes) -> None:
        """Return if `proof` shows possession of the secret behind `public_key`; raise otherwise.

        Parameters
        ----------
        public_key : bytes
            48 bytes.
        proof : bytes
            96 bytes.

        Raises
        ------
        PointError
            If the public key is refused, as `check_public_key` would.
        ProofOfPossessionError
            Whatever is wrong with the proof.

        Notes
        -----
        PopVerify of the draft, section 3.3.3.
        """
        key = self._key_point(check_g1(public_key, "public_key"))
        try:
            point = self._signature_point(proof, "proof")
        except PointError as error:
            raise ProofOfPossessionError(str(error)) from None
        if not self._matches(key, public_key, POSSESSION_DST, point):
            raise ProofOfPossessionError("proof: does not belong to this public key")

    def check_public_key(self, public_key: bytes) -> None:
        """Return if `public_key` is a point that may serve as a key; raise otherwise.

        Parameters
        ----------
        public_key : bytes
            48 bytes.

        Raises
        ------
        IdentityPointError
            The point at infinity, under which signatures can be forged.
        PointDecodingError
            Not the canonical encoding of a point on the curve.
        SubgroupError
            On the curve, but outside the prime-order subgroup.

        Notes
        -----
        KeyValidate of the draft, section 2.5.
        """
        self._key_point(check_g1(public_key, "public_key"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def _decode(self, public_key: bytes, message: bytes, signature: bytes) -> tuple[Any, Any]:
        """Return key and signature as points, or raise what `verify` promises."""
        _check_message(message)
        key = self._key_point(check_g1(public_key, "public_key"))
        try:
            return key, self._signature_point(signature, "signature")
        except PointError as error:
            raise _AS_SIGNATURE_ERROR[type(error)](str(error)) from None

    def _matches(self, key: Any, message: bytes, dst: bytes, signature: Any) -> bool:
        """Tell whether e(key, hash of message) equals e(generator, signature)."""
        loop = self._loop(key, self._hash(message, dst))
        return self._agree(loop, self._generator_loop(signature))

    def _checked_key(self, encoded: bytes) -> Any:
        point = self._load_key(encoded)
        if point is None:
            refuse_g1(encoded, "public_key")
        return point

    def _signature_point(self, encoded: bytes, name: str) -> Any:
        point = self._load_signature(check_g2(encoded, name))
        if point is None:
            refuse_g2(encoded, name)
        return point

    @abstractmethod
    def _multiply_generator(self, secret: int) -> bytes:
        """Return the compressed G1 generator times `secret`."""

    @abstractmethod
    def _sign(self, secret: int, message: bytes, dst: bytes) -> bytes:
        """Return the compressed hash of `message` in G2 times `secret`."""

    @abstractmethod
    def _load_key(self, encoded: bytes) -> Any:
        """Decode what passed `check_g1`; None if off the curve or the subgroup."""

    @abstractmethod
    def _load_signature(self, encoded: bytes) -> Any:
        """Decode what passed `check_g2`; None if off the curve or the subgroup."""

    @abstractmethod
    def _hash(self, message: bytes, dst: bytes) -> Any:
        """Return the hash of `message` in G2."""


def _check_message(message: object) -> bytes:
    if type(message) is not bytes:
        raise ParameterError(f"message: expected bytes, got {type(message).__name__}")
    return message
