"""The registry of admitted parties."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from ompd.crypto.backends import backend as choose_backend
from ompd.crypto.identity import PublicIdentity
from ompd.crypto.prekeys import SKEW, successor
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import KeyMaterialError, PrekeyError, UnknownKeyError
from ompd.params import Role, check_role


class PartyDirectory(Protocol):
    """Where a party looks up others: a `Directory`, or the durable `ompd.stores.Registry`."""

    def register(self, public_identity: PublicIdentity, role: Role | None = None) -> None:
        """Admit a party after verifying what it presents.

        By default in the role it has already, else as a user, the least.
        """

    def get(self, id: str) -> PublicIdentity:
        """Return a party's present keys, or raise `UnknownKeyError`."""

    def role(self, id: str) -> Role:
        """Return what a party may do, or raise `UnknownKeyError`."""

    def member(self, id: str) -> tuple[PublicIdentity, Role]:
        """Return both by one look, or raise what `get` does."""

    def __contains__(self, id: object) -> bool: ...

    def __len__(self) -> int: ...


class Directory:
    """The registry of admitted parties, in memory. Safe to share between threads.

    Parameters
    ----------
    backend : str or SignatureBackend, optional
        What verifies; see `ompd.crypto.backend`.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self,
        backend: str | SignatureBackend | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._backend = choose_backend(backend)
        self._lock = threading.Lock()
        self._by_id: dict[str, PublicIdentity] = {}
        self._id_by_signing_key: dict[bytes, str] = {}
        self._roles: dict[str, Role] = {}

    def register(self, public_identity: PublicIdentity, role: Role | None = None) -> None:
        """Admit a party. Registering the same identity again brings its next short-lived key.

        Whether the id may be used by whoever presents it is for the caller to find out.

        Parameters
        ----------
        public_identity : PublicIdentity
            What the party presents.
        role : {"user", "hospital", "cloud", "patient", "physician", "authority"}, optional
            What it may do; by default what it has been, else a user, the least.

        Raises
        ------
        ParameterError
            If there is no such role.
        KeyMaterialError
            If the form is wrong, the id is taken by other keys or in another role, or the signing
            key by another id.
        PrekeyError
            If its short-lived key has expired, or a newer one is known.
        PointError, SubgroupError, ProofOfPossessionError, SignatureError
            As `PublicIdentity.verify`.
        """
        if type(public_identity) is not PublicIdentity:
            raise KeyMaterialError(
                f"public_identity: expected PublicIdentity, got {type(public_identity).__name__}"
            )
        if role is not None:
            check_role(role)
        # Outside the lock: in pure Python it takes most of a second.
        public_identity.verify(self._backend)
        check_fresh(public_identity, self._clock())
        with self._lock:
            known = self._by_id.get(public_identity.id)
            if known is not None and known.lasting != public_identity.lasting:
                raise KeyMaterialError("public_identity: its id is registered with other keys")
            if role is not None and self._roles.get(public_identity.id, role) != role:
                raise KeyMaterialError("public_identity: its id is registered in another role")
            owner = self._id_by_signing_key.setdefault(
                public_identity.signing_key, public_identity.id
            )
            if owner != public_identity.id:
                raise KeyMaterialError(
                    "public_identity: its signing key is registered under another id"
                )
            self._by_id[public_identity.id] = merged(known, public_identity)
            self._roles.setdefault(public_identity.id, role or "user")

    def get(self, id: str) -> PublicIdentity:
        """Return the party registered under `id`.

        Raises
        ------
        UnknownKeyError
            If there is none.
        """
        with self._lock:
            found = self._by_id.get(id) if type(id) is str else None
        if found is None:
            raise UnknownKeyError("id: no party of this id is registered")
        return found

    def role(self, id: str) -> Role:
        """Return the role in which a party is registered.

        Raises
        ------
        UnknownKeyError
            If there is no such party.
        """
        return self.member(id)[1]

    def member(self, id: str) -> tuple[PublicIdentity, Role]:
        """Return `get` and `role` of a party.

        Raises
        ------
        UnknownKeyError
            If there is no such party.
        """
        return self.get(id), self._roles[id]

    def __contains__(self, id: object) -> bool:
        with self._lock:
            return type(id) is str and id in self._by_id

    def __len__(self) -> int:
        with self._lock:
            return len(self._by_id)

    def __repr__(self) -> str:
        return f"<Directory of {len(self)} parties>"


def check_fresh(public_identity: PublicIdentity, now: float) -> None:
    """Refuse a short-lived key that has expired, or whose maker's clock is ahead.

    The latter would keep out all later ones until that moment.

    Raises
    ------
    PrekeyError
    """
    prekey = public_identity.prekey
    if prekey is not None and prekey.not_after <= now * 1000:
        raise PrekeyError("prekey: has expired")
    if prekey is not None and prekey.not_before > (now + SKEW) * 1000:
        raise PrekeyError("prekey: begins in the future; one of the two clocks is wrong")


def merged(known: PublicIdentity | None, offered: PublicIdentity) -> PublicIdentity:
    """Return what is to be registered of the same party: the newer of two short-lived keys.

    Raises
    ------
    PrekeyError
        If the offered one is older.
    """
    prekey = successor(None if known is None else known.prekey, offered.prekey)
    return offered.with_prekey(prekey)
