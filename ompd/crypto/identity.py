"""Who is who: a party's keys and their public half.

A proof of possession keeps rogue keys out, but it covers the signing key alone: somebody in the
middle could pass on a party's signing key and proof with an envelope key of their own, or under an
id of their own. A `PublicIdentity` therefore carries a third signature, the *binding*, over id
and both keys. A short-lived envelope key may come with it, under a signature of its own.
"""

from __future__ import annotations

import re
from typing import Self

import msgspec
from msgspec.structs import astuple

from ompd.confidential import Confidential
from ompd.crypto.backends import backend as choose_backend
from ompd.crypto.envelope import COMPACT, check_envelope_key, suite_of
from ompd.crypto.keys import EnvelopeKey, SigningKey
from ompd.crypto.points import G1_BYTES, G2_BYTES
from ompd.crypto.prekeys import SignedPrekey
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import (
    FramingError,
    KeyMaterialError,
    NonCanonicalError,
    PrekeyError,
    TooLargeError,
)

#: Longest id, and longest encoded public identity, in bytes (the post-quantum suite needs 1542, and
#: 1351 more with a short-lived key).
MAX_ID_BYTES = 63
MAX_PUBLIC_IDENTITY_BYTES = 3072

_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
# Keeps a binding from being anything else that the same key signs.
_BINDING_LABEL = b"ompd/identity-binding/1\x00"


def check_id(party_id: object) -> str:
    """Return `party_id` if it has the form of an id.

    That is 1 to 63 characters a-z, 0-9, dot, underscore and hyphen, the first a letter or digit.

    Raises
    ------
    KeyMaterialError
        If it is of another type or form.
    """
    if type(party_id) is not str:
        raise KeyMaterialError(f"id: expected str, got {type(party_id).__name__}")
    if not _ID_PATTERN.fullmatch(party_id):
        raise KeyMaterialError(
            f"id: expected 1 to {MAX_ID_BYTES} characters [a-z0-9._-] starting with a letter or "
            f"digit, got {len(party_id)} characters"
        )
    return party_id


class PublicIdentity(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ompd-id-1"
):
    """What others need to know of a party. Made by `Identity.public`, or decoded.

    Attributes
    ----------
    id : str
        See `check_id`.
    signing_key : bytes
        BLS public key, 48 bytes.
    possession : bytes
        Proof of possession of the signing key, 96 bytes.
    envelope_key : bytes
        HPKE public key in wire form, 33 or 1217 bytes.
    binding : bytes
        Signature over id and both keys, 96 bytes.
    prekey : SignedPrekey, optional
        The present short-lived envelope key. It comes and goes; all else stays until a rotation.
    """

    id: str
    signing_key: bytes
    possession: bytes
    envelope_key: bytes
    binding: bytes
    prekey: SignedPrekey | None = None

    @property
    def lasting(self) -> Self:
        """The same without the short-lived key: what fingerprints and rotations are about."""
        return self.with_prekey(None)

    def with_prekey(self, prekey: SignedPrekey | None) -> Self:
        """Return the same with another short-lived key, or none."""
        return msgspec.structs.replace(self, prekey=prekey)

    def key_at(self, now: float, *, fallback: bool = True) -> bytes:
        """Return what to encrypt to: a valid short-lived key, else the long-lived one if allowed.

        Parameters
        ----------
        now : float
            Seconds since the epoch.
        fallback : bool, default True
            Whether the long-lived key will do.

        Raises
        ------
        PrekeyError
            If it will not, and there is no valid short-lived one.
        """
        prekey = self.prekey
        if prekey is not None and (not fallback or prekey.is_valid(now)):
            prekey.check_time(now)
            return prekey.envelope_key
        if not fallback:
            raise PrekeyError("prekey: none of this party is known; meet it anew once it has one")
        return self.envelope_key

    def to_bytes(self) -> bytes:
        """Return the canonical encoding: a MessagePack array that starts with a versioned label.

        Without a short-lived key, it has no field for one.

        Raises
        ------
        KeyMaterialError
            If a field has the wrong type, form or length.
        """
        self.check_form()
        return _encode(self)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Decode `to_bytes`. The form is checked; the keys and signatures are not, see `verify`.

        Parameters
        ----------
        encoded : bytes
            At most 3072 bytes.

        Raises
        ------
        FramingError
            Not bytes, not MessagePack, or not this structure.
        NonCanonicalError
            Bytes that would be encoded otherwise.
        TooLargeError
            Above the cap.
        KeyMaterialError
            A field of the wrong form or length.
        """
        if type(encoded) is not bytes:
            raise FramingError(f"encoded: expected bytes, got {type(encoded).__name__}")
        if len(encoded) > MAX_PUBLIC_IDENTITY_BYTES:
            raise TooLargeError(
                f"encoded: expected at most {MAX_PUBLIC_IDENTITY_BYTES} bytes, got {len(encoded)}"
            )
        try:
            decoded = msgspec.msgpack.decode(encoded, type=cls)
        except (ValueError, RecursionError):
            # msgspec's own errors are ValueErrors and quote what they read.
            decoded = None
        if decoded is None:
            raise FramingError("encoded: not the encoding of a public identity")
        decoded.check_form()
        if _encode(decoded) != encoded:
            raise NonCanonicalError("encoded: not the canonical encoding")
        return decoded

    def check_form(self) -> None:
        """Return if every field has the right type, form and length; raise otherwise.

        Raises
        ------
        KeyMaterialError
            If one has not.
        """
        check_id(self.id)
        for name, length in (
            ("signing_key", G1_BYTES),
            ("possession", G2_BYTES),
            ("binding", G2_BYTES),
        ):
            value = getattr(self, name)
            if type(value) is not bytes:
                raise KeyMaterialError(f"{name}: expected bytes, got {type(value).__name__}")
            if len(value) != length:
                raise KeyMaterialError(f"{name}: expected {length} bytes, got {len(value)}")
        suite = suite_of(self.envelope_key)
        if self.prekey is not None:
            if type(self.prekey) is not SignedPrekey:
                raise KeyMaterialError(
                    f"prekey: expected SignedPrekey, got {type(self.prekey).__name__}"
                )
            self.prekey.check_form(suite)

    def verify(self, backend: str | SignatureBackend | None = None) -> None:
        """Return if keys, proof, binding and any short-lived key are all sound; raise otherwise.

        Says that one party made all of it, not that the party is who the id suggests.

        Parameters
        ----------
        backend : str or SignatureBackend, optional
            What computes; see `ompd.crypto.backend`.

        Raises
        ------
        KeyMaterialError, SubgroupError
            If the form or the envelope key is not acceptable.
        PointError
            If the signing key is not acceptable.
        ProofOfPossessionError
            If the proof of possession is wrong.
        SignatureError
            If the binding is wrong, or the signature of the short-lived key.
        """
        self.check_form()
        check_envelope_key(self.envelope_key)
        verifier = choose_backend(backend)
        verifier.verify_possession(self.signing_key, self.possession)
        verifier.verify(self.signing_key, binding_message(self), self.binding)
        if self.prekey is not None:
            self.prekey.verify(self.id, self.signing_key, verifier)

    def __repr__(self) -> str:
        return f"PublicIdentity(id={self.id!r}, signing_key={self.signing_key[:4].hex()}...)"


def _encode(public: PublicIdentity) -> bytes:
    if public.prekey is not None:
        return msgspec.msgpack.encode(public)
    # As it was before there were short-lived keys.
    return msgspec.msgpack.encode((public.__struct_config__.tag, *astuple(public)[:-1]))


def binding_message(public: PublicIdentity) -> bytes:
    """Return what the binding signs: a label, then id, signing key and envelope key."""
    fields = (public.id, public.signing_key, public.envelope_key)
    return _BINDING_LABEL + msgspec.msgpack.encode(fields)


class Identity(Confidential):
    """A party with its private keys.

    Parameters
    ----------
    id : str
        See `check_id`.
    signing_key : SigningKey
        Signs the party's frames.
    envelope_key : EnvelopeKey
        Decrypts what is encrypted to the party.

    Attributes
    ----------
    id, signing_key, envelope_key
        As given.
    public : PublicIdentity
        What to hand to others; computed at the start, which takes two signatures.

    Raises
    ------
    KeyMaterialError
        If the id has the wrong form or a key the wrong type.
    """

    __slots__ = ("envelope_key", "id", "public", "signing_key")

    def __init__(self, id: str, signing_key: SigningKey, envelope_key: EnvelopeKey) -> None:
        self.id = check_id(id)
        for name, key, expected in (
            ("signing_key", signing_key, SigningKey),
            ("envelope_key", envelope_key, EnvelopeKey),
        ):
            if not isinstance(key, expected):
                raise KeyMaterialError(
                    f"{name}: expected {expected.__name__}, got {type(key).__name__}"
                )
        self.signing_key = signing_key
        self.envelope_key = envelope_key
        unbound = PublicIdentity(
            id=self.id,
            signing_key=signing_key.public_key,
            possession=signing_key.proof_of_possession,
            envelope_key=envelope_key.public_bytes,
            binding=b"",
        )
        self.public = msgspec.structs.replace(
            unbound, binding=signing_key.sign(binding_message(unbound))
        )

    @classmethod
    def generate(
        cls, id: str, backend: str | SignatureBackend | None = None, suite: str = COMPACT
    ) -> Self:
        """Return a party with new keys.

        Parameters
        ----------
        id : str
            See `check_id`.
        backend : str or SignatureBackend, optional
            What computes signatures; see `ompd.crypto.backend`.
        suite : {"x25519", "mlkem768x25519"}
            How others encrypt to this party.

        Raises
        ------
        KeyMaterialError
            If the id has the wrong form.
        BackendUnavailableError, ParameterError
            If there is no such backend or suite.
        """
        return cls(check_id(id), SigningKey.generate(backend), EnvelopeKey.generate(suite))

    def __repr__(self) -> str:
        return f"Identity(id={self.id!r}, {self.signing_key!r}, {self.envelope_key!r})"
