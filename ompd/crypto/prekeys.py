"""Short-lived envelope keys: what was recorded stays secret when a long-lived key is stolen.

The owner signs such a key with its BLS key, hands the statement out as part of its
`PublicIdentity`, and makes a new one every few days. The private half is deleted some time after
the next one took over or the key expired, and with it goes every way to open what was encrypted to
it. Signal calls them signed prekeys.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from ompd.confidential import Confidential
from ompd.crypto.envelope import check_envelope_key, suite_of
from ompd.crypto.keys import EnvelopeKey
from ompd.crypto.points import G2_BYTES
from ompd.errors import (
    DecryptionError,
    KeyMaterialError,
    KeystoreError,
    ParameterError,
    PrekeyError,
)

if TYPE_CHECKING:
    from ompd.crypto.identity import Identity
    from ompd.crypto.signatures import SignatureBackend

_LOGGER = logging.getLogger("ompd.keys")
#: Seconds that others may encrypt to a key, and that it opens once it is superseded or has expired.
LIFETIME = 7 * 86_400.0
OVERLAP = 86_400.0
#: Seconds before its making from when a key is valid, for clocks that differ.
SKEW = 300.0
_LONGEST_LIFETIME_MS = 90 * 86_400_000
# Keeps this signature from being anything else that the same key signs.
_LABEL = b"ompd/prekey/1\x00"


class SignedPrekey(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ompd-prekey-1"
):
    """A short-lived envelope key and its owner's signature.

    Attributes
    ----------
    envelope_key : bytes
        HPKE public key in wire form, which begins with its suite.
    not_before, not_after : int
        First moment at which others may encrypt to it, and the first at which they may not any
        more, in milliseconds since the epoch. Of two keys, the one that begins later counts.
    signature : bytes
        By the owner's signing key over id and all of this, 96 bytes.
    """

    envelope_key: bytes
    not_before: int
    not_after: int
    signature: bytes

    def check_form(self, suite: str) -> None:
        """Return if every field has the right type and range; raise otherwise.

        Raises
        ------
        KeyMaterialError
            If one has not, or the key is of another suite than the owner's long-lived one.
        """
        for name in ("not_before", "not_after"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < 1 << 53:
                raise KeyMaterialError(f"{name}: expected milliseconds since the epoch")
        if not 0 < self.not_after - self.not_before <= _LONGEST_LIFETIME_MS:
            raise KeyMaterialError("not_after: expected up to 90 days after not_before")
        if type(self.signature) is not bytes or len(self.signature) != G2_BYTES:
            raise KeyMaterialError(f"signature: expected {G2_BYTES} bytes")
        if suite_of(self.envelope_key) != suite:
            raise KeyMaterialError("envelope_key: expected the suite of the long-lived key")

    def verify(self, id: str, signing_key: bytes, backend: SignatureBackend) -> None:
        """Return if the key is acceptable and its owner signed it; raise otherwise.

        Raises
        ------
        KeyMaterialError, SubgroupError
            If the key is not acceptable.
        SignatureError
            If the owner did not sign this.
        """
        check_envelope_key(self.envelope_key)
        backend.verify(signing_key, _message(id, self), self.signature)

    def is_valid(self, now: float) -> bool:
        """Whether others may encrypt to it at `now`, in seconds since the epoch."""
        return self.not_before <= now * 1000 < self.not_after

    def check_time(self, now: float) -> None:
        """Return if others may encrypt to it at `now`, in seconds since the epoch; raise otherwise.

        Raises
        ------
        PrekeyError
        """
        if now * 1000 < self.not_before:
            raise PrekeyError("prekey: is not valid yet")
        if now * 1000 >= self.not_after:
            raise PrekeyError("prekey: has expired; get the party's next one")

    def __repr__(self) -> str:
        return f"SignedPrekey(envelope_key={self.envelope_key[1:5].hex()}...)"


def successor(known: SignedPrekey | None, offered: SignedPrekey | None) -> SignedPrekey | None:
    """Return which of two verified keys of one party counts.

    Raises
    ------
    PrekeyError
        If the offered one is older, or of the same age and different: it may have been recorded.
    """
    if offered is None or known == offered:
        return known
    if known is not None and offered.not_before <= known.not_before:
        raise PrekeyError("prekey: a newer one of this party is known")
    return offered


def _message(id: str, prekey: SignedPrekey) -> bytes:
    fields = (id, prekey.envelope_key, prekey.not_before, prekey.not_after)
    return _LABEL + msgspec.msgpack.encode(fields)


def _left(held: tuple[Held, ...], now: int) -> tuple[Held, ...]:
    return tuple(each for each in held if each.until > now)


@dataclass(frozen=True, slots=True, repr=False)
class Held:
    """A short-lived key with its private half.

    Attributes
    ----------
    statement : SignedPrekey
    key : EnvelopeKey
    until : int
        When the private half is deleted, in milliseconds since the epoch.
    """

    statement: SignedPrekey
    key: EnvelopeKey
    until: int


class Prekeys(Confidential):
    """The short-lived keys of one party: the present one and, for a while, the one before.

    Parameters
    ----------
    identity : Identity
        Whose keys they are; it signs them.
    clock : callable
        Seconds since the epoch.
    lifetime : float
        Seconds that others may encrypt to a key, up to 90 days.
    overlap : float
        Seconds that a key still opens once it was superseded or has expired.
    held : sequence of Held
        Keys that were made before, the oldest first.
    save : callable, optional
        Called with the keys that are left whenever one is added, before it counts, or deleted.

    Raises
    ------
    ParameterError
        If a time is out of range.
    """

    __slots__ = (
        "_clock", "_held", "_identity", "_lifetime", "_lock", "_overlap", "_save", "_unsaved",
    )  # fmt: skip

    def __init__(
        self,
        identity: Identity,
        *,
        clock: Callable[[], float] = time.time,
        lifetime: float = LIFETIME,
        overlap: float = OVERLAP,
        held: tuple[Held, ...] = (),
        save: Callable[[tuple[Held, ...]], None] = lambda held: None,
    ) -> None:
        if not 1 <= lifetime <= _LONGEST_LIFETIME_MS / 1000 - SKEW:
            raise ParameterError("lifetime: expected 1 second to 90 days")
        if not 0 <= overlap <= _LONGEST_LIFETIME_MS / 1000:
            raise ParameterError("overlap: expected 0 seconds to 90 days")
        self._identity = identity
        self._clock = clock
        self._lifetime = lifetime
        self._overlap = overlap
        self._held = held
        self._save = save
        self._lock = threading.Lock()
        self._unsaved = False

    @property
    def statement(self) -> SignedPrekey | None:
        """What to hand out; None before the first key."""
        held = self._held
        return held[-1].statement if held else None

    def belong_to(self, identity: Identity) -> bool:
        """Whether this identity signs them."""
        return self._identity.public == identity.public

    def begin(self, known: SignedPrekey | None = None) -> None:
        """Make the next key if there is none that others take; `known` as for `rotate`.

        Kept keys may have expired while nothing ran, or be those of a backup.

        Raises
        ------
        KeystoreError
            If the keys cannot be kept.
        """
        present = self.statement
        older = present is not None and known is not None and present.not_before < known.not_before
        if present is None or older or not present.is_valid(self._clock()):
            self.rotate(known)

    def rotate(self, known: SignedPrekey | None = None) -> SignedPrekey:
        """Make the next key; the present one opens for `overlap` seconds more, none before it does.

        Parameters
        ----------
        known : SignedPrekey, optional
            What others have of this party, if that may be another one than is held here.

        Returns
        -------
        SignedPrekey
            What to hand out now.

        Raises
        ------
        KeystoreError
            If the keys cannot be kept; they stay as they were.
        """
        with self._lock:
            now = int(self._clock() * 1000)
            overlap = int(self._overlap * 1000)
            before = self._held[-1:]
            skew = int(SKEW * 1000)
            # Later than the one before, or it would be taken for a rollback; but if that came
            # from a clock that was ahead, nobody has admitted it.
            earlier = [old.statement.not_before for old in before]
            earlier += [known.not_before] if known else []
            start = max([now - skew] + [each + 1 for each in earlier if each <= now + skew])
            end = max(now, start) + int(self._lifetime * 1000)
            key = EnvelopeKey.generate(self._identity.envelope_key.suite)
            unsigned = SignedPrekey(key.public_bytes, start, end, b"")
            signature = self._identity.signing_key.sign(_message(self._identity.id, unsigned))
            statement = msgspec.structs.replace(unsigned, signature=signature)
            kept = [replace(old, until=min(old.until, now + overlap)) for old in before]
            held = _left((*kept, Held(statement, key, end + overlap)), now)
            self._save(held)
            self._held = held
            self._unsaved = False
            return statement

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytes:
        """Return the content of an envelope to one of the keys.

        Raises
        ------
        DecryptionError
            If it was encrypted to none of those that are left.
        """
        for held in reversed(self._alive()):
            try:
                return held.key.decrypt(ciphertext, info)
            except DecryptionError:
                continue
        raise DecryptionError("ciphertext: was not encrypted to a short-lived key that is left")

    def expire(self) -> None:
        """Delete the keys whose time is over; `rotate` and `open` do so as well.

        Also tries again what the disk refused then, as `rotate` does and `open` does not.
        """
        self._alive(again=True)

    def _alive(self, *, again: bool = False) -> tuple[Held, ...]:
        now = int(self._clock() * 1000)
        if any(held.until <= now for held in self._held) or (again and self._unsaved):
            with self._lock:
                # Here first: no query is to wait for a disk.
                self._held = _left(self._held, now)
                self._unsaved = True
                try:
                    self._save(self._held)
                    self._unsaved = False
                except KeystoreError as error:
                    _LOGGER.warning("a short-lived key is over and still on disk: %s", error)
        return self._held

    def __repr__(self) -> str:
        return f"<Prekeys of {self._identity.id}>"
