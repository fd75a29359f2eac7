"""Who may take part: a durable registry of parties, their roles, keys and periods of validity.

A party's keys form *generations*. The first is admitted by whoever runs the registry, who has made
sure that the party is who it says; each later one is signed with the key of the one before. Old
generations stay for the record and are no longer accepted.

The file is trusted: who can write to it decides who takes part.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Self

from ompd.crypto import PublicIdentity, SignatureBackend, check_fresh, merged
from ompd.crypto import backend as choose_backend
from ompd.crypto.rotation import rotation_message
from ompd.errors import (
    KeyMaterialError,
    ParameterError,
    RevokedKeyError,
    SignatureError,
    UnknownKeyError,
)
from ompd.params import Role, check_role
from ompd.stores import generations
from ompd.stores.database import Database
from ompd.stores.generations import Registration

#: Longest reason of a revocation, in characters.
MAX_REASON = 200


class Registry:
    """The registry of parties, in a SQLite file that threads and processes may share.

    Takes the place of `ompd.crypto.Directory` wherever one is expected. ``len`` and ``in`` count
    the parties that `get` returns now.

    Parameters
    ----------
    path : path
        SQLite file; created if missing, with mode 0600, on a local file system.
    backend : str or SignatureBackend, optional
        What verifies; see `ompd.crypto.backend`.
    clock : callable
        Seconds since the epoch.

    Raises
    ------
    StoreError
        From every method, if the file is damaged, foreign, writable by others, or locked for ten
        seconds.
    VersionError
        If the file was written by a newer version of this library.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        backend: str | SignatureBackend | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = choose_backend(backend)
        self._clock = clock
        self._database = Database(
            path, application=0x4F4D5052, version=1, schema=generations.SCHEMA
        )

    def close(self) -> None:
        """Close the file; the registry cannot be used any more."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def admit(
        self,
        public_identity: PublicIdentity,
        role: Role,
        valid_from: float | None = None,
        valid_until: float | None = None,
        *,
        readmit: bool = False,
    ) -> None:
        """Admit a party. Admitting it again in the same role brings its next short-lived key.

        Whether the id may be used by whoever presents it is for the caller to find out.

        Parameters
        ----------
        public_identity : PublicIdentity
            What the party presents.
        role : {"user", "hospital", "cloud", "patient", "physician", "authority"}
        valid_from, valid_until : float, optional
            First moment of validity and the first after, in seconds since the epoch; no bound
            by default. For an identity that is there already, see `renew`.
        readmit : bool, default False
            Whether a party whose keys were revoked may come back with other keys.

        Raises
        ------
        KeyMaterialError
            If the form is wrong, the id is taken by other keys or in another role, or the signing
            key was ever registered under another id or in an earlier generation.
        RevokedKeyError
            If just these keys were revoked.
        PrekeyError
            If its short-lived key has expired, or a newer one is known.
        PointError, SubgroupError, ProofOfPossessionError, SignatureError
            As `PublicIdentity.verify`.
        ParameterError
            If role or period are not acceptable.
        """
        _check_identity(public_identity)
        check_role(role)
        start, end = _check_period(valid_from, valid_until)
        # Outside the transaction: in pure Python it takes most of a second.
        public_identity.verify(self._backend)
        check_fresh(public_identity, self._clock())
        with self._database.writing() as connection:
            known = generations.current(connection, public_identity.id)
            if known is None:
                connection.execute("INSERT INTO parties VALUES (?, ?)", (public_identity.id, role))
                generation = 1
            else:
                same = known.public.lasting == public_identity.lasting
                if same and known.revoked_at is not None:
                    raise RevokedKeyError("public_identity: its keys were revoked")
                if known.role != role:
                    raise KeyMaterialError("public_identity: its id is registered in another role")
                if same:
                    generations.update(connection, known, merged(known.public, public_identity))
                    return
                if known.revoked_at is None or not readmit:
                    raise KeyMaterialError("public_identity: its id is registered with other keys")
                generations.supersede(connection, known, self._clock())
                generation = known.generation + 1
            generations.insert(
                connection, public_identity, generation, self._clock(), start, end, b""
            )

    def register(self, public_identity: PublicIdentity, role: Role | None = None) -> None:
        """Admit a party; by default in the role it has already, else as a user, the least.

        Raises
        ------
        KeyMaterialError, PointError, ProofOfPossessionError, SignatureError, RevokedKeyError
            As `admit`.
        """
        _check_identity(public_identity)
        if role is None:
            with self._database.reading() as connection:
                known = generations.current(connection, public_identity.id)
            role = "user" if known is None else known.role
        self.admit(public_identity, role)

    def rotate(self, public_identity: PublicIdentity, signature_by_old_key: bytes) -> None:
        """Let new keys of a party take the place of its present ones, at once.

        Role and end of validity stay as they are. Repeating the last rotation changes nothing.

        Parameters
        ----------
        public_identity : PublicIdentity
            The new keys.
        signature_by_old_key : bytes
            Over `rotation_message`; see `Rotation.make`.

        Raises
        ------
        UnknownKeyError
            If the party is not registered; as one of its subclasses, if the present keys are
            revoked, expired or not yet valid.
        SignatureError
            If the present key did not sign this.
        KeyMaterialError
            If the new signing key was registered before.
        PrekeyError
            If their short-lived key has expired.
        PointError, SubgroupError, ProofOfPossessionError
            As `PublicIdentity.verify`.
        """
        _check_identity(public_identity)
        if type(signature_by_old_key) is not bytes:
            raise SignatureError(
                f"signature_by_old_key: expected bytes, got {type(signature_by_old_key).__name__}"
            )
        old = self._present(public_identity.id)
        old.check(self._clock())
        if old.public.lasting == public_identity.lasting:
            return
        public_identity.verify(self._backend)
        check_fresh(public_identity, self._clock())
        message = rotation_message(old.public.signing_key, public_identity)
        self._backend.verify(old.public.signing_key, message, signature_by_old_key)
        with self._database.writing() as connection:
            # Again, since it was read before two slow verifications.
            known = generations.current(connection, public_identity.id)
            if known is None or known.generation != old.generation:
                raise KeyMaterialError("public_identity: other keys took over in the meantime")
            now = self._clock()
            known.check(now)
            generations.supersede(connection, known, now)
            generations.insert(
                connection, public_identity, known.generation + 1, now, None, known.valid_until,
                signature_by_old_key,
            )  # fmt: skip

    def renew(self, id: str, valid_until: float | None) -> None:
        """Set another end of validity for a party's present keys.

        Raises
        ------
        UnknownKeyError
            If there is no such party; `RevokedKeyError` if its keys were revoked.
        ParameterError
            If it is no finite number, or not after the start.
        """
        with self._database.writing() as connection:
            known = generations.known(connection, id)
            if known.revoked_at is not None:
                raise RevokedKeyError("id: the keys of this party were revoked")
            _check_period(known.valid_from, valid_until)
            connection.execute(
                "UPDATE generations SET valid_until = ? WHERE id = ? AND generation = ?",
                (valid_until, id, known.generation),
            )

    def revoke(self, id: str, reason: str) -> None:
        """Accept nothing more under a party's keys, from now on and for ever.

        A repeated revocation keeps the first moment and reason.

        Parameters
        ----------
        id : str
        reason : str
            1 to 200 printable characters, for the record.

        Raises
        ------
        UnknownKeyError
            If there is no such party.
        ParameterError
            If the reason has another form.
        """
        if type(reason) is not str or not 1 <= len(reason) <= MAX_REASON:
            raise ParameterError(f"reason: expected 1 to {MAX_REASON} characters")
        if not reason.isprintable():
            raise ParameterError("reason: expected printable characters")
        with self._database.writing() as connection:
            known = generations.known(connection, id)
            connection.execute(
                "UPDATE generations SET revoked_at = ?, reason = ? "
                "WHERE id = ? AND generation = ? AND revoked_at IS NULL",
                (self._clock(), reason, id, known.generation),
            )

    def get(self, id: str, now: float | None = None) -> PublicIdentity:
        """Return the present keys of a party if they are valid.

        Parameters
        ----------
        id : str
        now : float, optional
            Seconds since the epoch; by the registry's clock if not given.

        Raises
        ------
        UnknownKeyError
            If there is no such party; as `RevokedKeyError`, `ExpiredKeyError` or
            `NotYetValidError` if there is.
        """
        found = self._present(id)
        found.check(self._clock() if now is None else now)
        return found.public

    def role(self, id: str) -> Role:
        """Return a party's role, whatever the state of its keys.

        Raises
        ------
        UnknownKeyError
            If there is no such party.
        """
        return self._present(id).role

    def member(self, id: str) -> tuple[PublicIdentity, Role]:
        """Return the present keys of a party if they are valid, and its role; by one look.

        Raises
        ------
        UnknownKeyError
            As `get`.
        """
        found = self._present(id)
        found.check(self._clock())
        return found.public, found.role

    def parties(self) -> tuple[Registration, ...]:
        """Return the present generation of every party, by id."""
        with self._database.reading() as connection:
            rows = connection.execute(generations.CURRENT + "ORDER BY id").fetchall()
        return tuple(map(generations.registration, rows))

    def history(self, id: str) -> tuple[Registration, ...]:
        """Return all generations of a party, the oldest first.

        Raises
        ------
        UnknownKeyError
            If there is no such party.
        """
        query = generations.SELECT + "WHERE id = ? ORDER BY generation"
        with self._database.reading() as connection:
            rows = connection.execute(query, (generations.text_of(id),)).fetchall()
        if not rows:
            raise generations.unknown()
        return tuple(map(generations.registration, rows))

    def __contains__(self, id: object) -> bool:
        try:
            self.get(id)  # type: ignore[arg-type]
        except UnknownKeyError:
            return False
        return True

    def __len__(self) -> int:
        now = self._clock()
        return sum(entry.state(now) == "valid" for entry in self.parties())

    def __bool__(self) -> bool:
        # An empty registry is still one: ``directory or Directory()`` must not replace it.
        return True

    def __repr__(self) -> str:
        return f"<Registry of {len(self)} parties>"

    def _present(self, id: str) -> Registration:
        with self._database.reading() as connection:
            return generations.known(connection, id)


def _check_identity(public_identity: object) -> None:
    if type(public_identity) is not PublicIdentity:
        raise KeyMaterialError(
            f"public_identity: expected PublicIdentity, got {type(public_identity).__name__}"
        )
    public_identity.check_form()


def _check_period(start: object, end: object) -> tuple[float | None, float | None]:
    for name, value in (("valid_from", start), ("valid_until", end)):
        if value is not None and (type(value) not in (int, float) or not _finite(value)):
            raise ParameterError(f"{name}: expected a finite number of seconds since the epoch")
    first = None if start is None else float(start)  # type: ignore[arg-type]
    last = None if end is None else float(end)  # type: ignore[arg-type]
    if first is not None and last is not None and not first < last:
        raise ParameterError("valid_until: expected a moment after valid_from")
    return first, last


def _finite(value: object) -> bool:
    # A float cannot hold every int.
    return -(2.0**53) < value < 2.0**53  # type: ignore[operator]
