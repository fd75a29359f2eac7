"""The cloud: keeps tables and answers jobs on them.

This module names neither the encoder nor the secret side of blinding, and needs neither.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from typing import Any, Self

import msgspec

from ompd.crypto import Identity
from ompd.errors import (
    ContextMismatchError,
    TooLargeError,
    VersionError,
)
from ompd.roles.jobs import Jobs, OpenedJob
from ompd.roles.keeping import Keeping
from ompd.roles.party import Party
from ompd.roles.upkeep import Upkeep, longest
from ompd.stores.keeper import Keeper
from ompd.stores.tables import (
    CHANGES,
    PROFILES,
    Change,
    Changing,
    MemoryTables,
    Past,
    Tables,
    Version,
)
from ompd.wire import Frame, Header, Kind, Receipt, Withdrawal

#: Tables of one hospital.
_MOST_TABLES = 1024
#: Versions of one table that answer at a time: each has a map and labels of its own.
_MOST_VERSIONS = 16
#: Changes that are acknowledged again while none of the versions that they made was asked.
_MOST_PAST = 64

_UPLOADS = {kind: profile.upload for kind, profile in PROFILES.items()}


class Cloud(Party):
    """Finds neighbours among blinded instances, or returns encrypted buckets.

    Parameters
    ----------
    identity : Identity
    tables : Tables, optional
        Where its tables live, which is the cloud's alone: `MemoryTables()` by default. On
        `FolderTables(path)` they outlive the process.
    keeper : Keeper, optional
        Where records and programs are kept; without, none are.
    **options
        Directory, replays, clock and window as for `Party`.

    Attributes
    ----------
    tables : Tables
    keeping : Keeping or None
        Answers what is asked about records and programs.
    """

    role = "cloud"

    def __init__(
        self,
        identity: Identity,
        *,
        tables: Tables | None = None,
        keeper: Keeper | None = None,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        # In each, newest version first; the one in use stays until the hospital has moved on.
        self.tables: Tables = MemoryTables() if tables is None else tables
        self._lock = threading.Lock()
        self._upkeep = Upkeep(self.tables, self._post.now, self._lock, self._post.window)
        self._jobs = Jobs(self._post, self.tables, self._upkeep, self._lock)
        self.keeping = None if keeper is None else Keeping(self._post, keeper)
        if self.tables.kept():
            # What the process before had yet to do.
            self._upkeep.plan(soon=True)

    def close(self) -> None:
        """Let another process have the tables, where they are of a kind that lasts."""
        self._upkeep.close()
        self.tables.close()

    def tidy(self) -> None:
        """Do now what a thread of the cloud does by itself when it is due.

        Versions whose time is over are removed, as are the data of tables that were withdrawn.
        Rows that no version has any more are overwritten, and rows that were added are indexed.

        Raises
        ------
        StoreError
            If tables cannot be kept where they live; another try may follow.
        """
        self._upkeep.tidy()
        if self.keeping is not None:
            self.keeping.tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def store(self, upload: bytes) -> bytes:
        """Accept a table, a piece or a change of one, or its end, and return a receipt frame.

        Pieces come in order. A receipt says how many rows of the upload are here; a piece that is
        here already, or that leaves a gap, changes nothing and gets such a receipt too. With the
        last piece the table is indexed and can be asked.

        Chooses K on the blinded table where the hospital left it open. The version before goes on
        answering until the hospital, once it has the receipt, asks the new one. An upload that is
        here already is acknowledged again, also if the hospital gave it another time, and changes
        nothing.

        A change makes a version of the newest one, which goes on answering as well. If it removes
        rows, the versions that have them end after half a window, and the rows are overwritten by
        the time that the receipt tells, one window from now; only a job that takes longer than
        the other half delays it. A withdrawn table ends likewise, as a sealed version when the
        next is there, which may leave rows out.

        Raises
        ------
        ContextMismatchError
            If another hospital owns the table, or a piece or change contradicts what is here.
        VersionError
            If the version is not newer than the stored one, or that is not what is to be changed:
            the table is to be published anew then.
        TooLargeError
            If the hospital has very many tables or unfinished uploads here, or answers would not
            fit into a frame.
        ParameterError, RangeError, NeighborsError, LabelError, TableError
            If modulus, values, layout, K or labels are not possible.
        StoreError
            If tables cannot be kept where they live; the upload may come again.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._post.authenticate(upload, *_UPLOADS, *CHANGES, Kind.WITHDRAWAL)
        if frame.header.kind in CHANGES:
            return self._change(frame)
        if frame.header.kind == Kind.WITHDRAWAL:
            return self._withdraw(frame)
        header = frame.header
        if (receipt := self._acknowledged(header)) is not None:
            return receipt
        body = self._post.open(frame, _UPLOADS[header.kind])
        del frame
        ref = body.table_id, body.version, header.sender
        # Nothing is put down for a table that is withdrawn meanwhile.
        with self._upkeep.changing(body.table_id):
            with self._lock:
                self._check_succession(*ref)
            have = self.tables.stage(header, body)
        if have < body.rows:
            return self._receipt(header, body.table_id, body.version, 0, have)
        added = self.tables.build(header, body)
        try:
            assert added.stored is not None  # noqa: S101  (it was just built)
            k = added.stored.k
            erased = self._replaced(header, self.tables.versions(body.table_id))
            receipt = self._receipt(header, body.table_id, body.version, k, have, erased)
            with self._lock:
                kept = self._kept(self._check_succession(*ref), ending=bool(erased))
                self.tables.keep(body.table_id, (replace(added, receipt=receipt), *kept))
        except BaseException:
            self.tables.discard(added)
            raise
        if erased or self.tables.littered:
            self._upkeep.plan()
        return receipt

    def _change(self, frame: Frame) -> bytes:
        header = frame.header
        body = self._post.open(frame, CHANGES[header.kind].change)
        ref = body.table_id, body.version, header.sender
        with self._upkeep.changing(body.table_id):
            if (receipt := self._repeated(header, body.table_id)) is not None:
                return receipt
            with self._lock:
                base = self._base(header, body, self._check_succession(*ref))
            added = self.tables.change(header, body, base)
            try:
                assert added.stored is not None  # noqa: S101  (it was just built)
                erased = self._erased() if body.removed else 0
                now = Past(_digest(header), body.version, added.stored.rows, erased)
                past = (*(() if base.asked else base.past[1 - _MOST_PAST :]), now)
                receipt = self._past_receipt(header, body.table_id, added.stored.k, now)
                with self._lock:
                    versions = self._check_succession(*ref)
                    # A table that was published anew may have come meanwhile.
                    self._base(header, body, versions)
                    kept = self._kept(versions, ending=bool(erased))
                    added = replace(added, receipt=receipt, past=past)
                    self.tables.keep(body.table_id, (added, *kept))
            except BaseException:
                self.tables.discard(added)
                raise
        self._upkeep.plan(soon=isinstance(added.stored, Changing) and added.stored.limbs.is_slow)
        return receipt

    def _withdraw(self, frame: Frame) -> bytes:
        header = frame.header
        body = self._post.open(frame, Withdrawal)
        ref = body.table_id, body.version, header.sender
        with self._upkeep.changing(body.table_id), self._lock:
            if (receipt := self._repeated(header, body.table_id)) is not None:
                return receipt
            versions = self._check_succession(*ref)
            now = Past(_digest(header), body.version, 0, self._erased())
            receipt = self._past_receipt(header, body.table_id, 0, now)
            end = Version(header.sender, body.version, header, None, receipt, withdrawn=True)
            end = replace(
                end, past=(now,), expires=self._post.now() + longest(end, self._post.window)
            )
            self.tables.keep(body.table_id, (end, *self._kept(versions, ending=True)))
        self._upkeep.plan()
        return receipt

    def answer(self, job: bytes) -> bytes:
        """Answer a job frame with a verdict frame, or with sums of buckets.

        The same frame, byte for byte, gets the same answer again as long as it is fresh and the
        answer is kept; nothing is computed for it.

        Raises
        ------
        ContextMismatchError
            If the sender has no such table here.
        VersionError
            If the job is for a version of the table that is not or no longer here.
        StoreError
            If the table is damaged where it lives, or the place was closed.
        FramingError, RangeError
            If the queries or offsets have the wrong number or range, or are of another profile
            than the table.
        OmpdError
            If the frame is not authentic, fresh and well-formed, or was received before and its
            answer is not kept.
        """
        opened = self.open_job(job)
        return opened if isinstance(opened, bytes) else opened.answer()

    def open_job(self, job: bytes) -> OpenedJob | bytes:
        """Do what `answer` begins with: verify and decrypt.

        A server learns here which table is asked, and lets the job wait for its turn.

        Returns
        -------
        OpenedJob or bytes
            The answer, if that was given before.

        Raises
        ------
        OmpdError
            If the frame is not authentic, fresh and well-formed, or was received before and its
            answer is not kept.
        """
        return self._jobs.open(job)

    def settle(self, job: bytes) -> bytes:
        """Return the answer to a job that was received before, a refusal if it has none.

        For one that nobody works on any more, since the process that did was killed: however often
        it comes again, the hospital is told the same, and asks anew.

        Raises
        ------
        OmpdError
            If it was not received before, or is not fresh any more.
        """
        return self._jobs.settle(job)

    def refuse(self, job: bytes) -> bytes:
        """Answer a job that `answer` did not accept with a frame that tells no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before.
        """
        return self._jobs.refuse(job)

    def _acknowledged(self, header: Header) -> bytes | None:
        """Return a receipt for a piece of an upload that is stored, also with another time."""
        for table_id, versions in self.tables.kept().items():
            for each in self._upkeep.living(versions):
                if each.stored is None:
                    continue
                if each.upload == header:
                    return each.receipt
                if _unplaced(each.upload) == _unplaced(header):
                    told = each.stored.k, each.stored.rows, self._replaced(header, versions[1:])
                    return self._receipt(header, table_id, each.version, *told)
        return None

    def _receipt(
        self, header: Header, table_id: bytes, version: int, k: int, have: int, erased: int = 0
    ) -> bytes:
        body = Receipt(table_id, version, k, have, erased)
        return self._post.send(header.sender, body, nonce=header.nonce, sequence=header.sequence)

    def _check_succession(self, table_id: bytes, version: int, owner: str) -> tuple[Version, ...]:
        """Refuse a version that cannot follow those that are here; returns these."""
        versions = self.tables.versions(table_id)
        if not versions:
            owned = sum(each[0].owner == owner for each in self.tables.kept().values())
            if owned >= _MOST_TABLES:
                raise TooLargeError(f"table: expected at most {_MOST_TABLES} per hospital")
            return versions
        newest = versions[0]
        if newest.owner != owner:
            raise ContextMismatchError("table: belongs to another hospital")
        if version == newest.version and newest.stored is None and not newest.withdrawn:
            # It is damaged, and mended by another upload.
            return versions[1:]
        if version <= newest.version:
            raise VersionError(f"table: expected a version above {newest.version}")
        return versions

    def _kept(self, versions: tuple[Version, ...], *, ending: bool = False) -> tuple[Version, ...]:
        """Return the versions that go on answering beside a new one.

        The hospital asks the version whose receipt it has: the last one asked or, if that has yet
        to begin, the one before the new one. Others came to nothing, and of those that were asked
        the oldest end where there are many. With `ending`, their time is limited in any case.
        """
        before = self._upkeep.living(versions)
        kept = [old for old in before if (old is before[0] or old.asked) and old.stored is not None]
        if ending:
            end = self._post.now() + self._post.window / 2
            kept = [replace(old, expires=min(old.expires or end, end)) for old in kept]
        return tuple(kept[: _MOST_VERSIONS - 1])

    def _base(self, header: Header, body: Change, versions: tuple[Version, ...]) -> Version:
        """Return the version that a change is made of."""
        newest = versions[0] if versions else None
        if newest is None or newest.version != body.base or newest.stored is None:
            raise VersionError("change: the version that it is made of is not the newest here")
        if newest.stored.upload is not CHANGES[header.kind].upload:
            raise ContextMismatchError("change: is of another profile than the table")
        return newest

    def _repeated(self, header: Header, table_id: bytes) -> bytes | None:
        """Return a receipt for a change that was made already."""
        for each in self.tables.versions(table_id):
            for past in each.past:
                if past.digest == _digest(header):
                    k = 0 if each.stored is None else each.stored.k
                    return self._past_receipt(header, table_id, k, past)
        return None

    def _past_receipt(self, header: Header, table_id: bytes, k: int, past: Past) -> bytes:
        return self._receipt(header, table_id, past.version, k, past.have, past.erased)

    def _replaced(self, header: Header, versions: tuple[Version, ...]) -> int:
        # Nobody tells this cloud which rows a sealed table has no more.
        return self._erased() if header.kind == Kind.SEALED_UPLOAD and versions else 0

    def _erased(self) -> int:
        # By when what is removed now is overwritten, in milliseconds.
        return int((self._post.now() + self._post.window) * 1000)


def _digest(header: Header) -> bytes:
    """What a change that is sent again has in common with the first: all but the time."""
    plain = msgspec.msgpack.encode(msgspec.structs.replace(header, timestamp=0))
    return hashlib.blake2b(plain, digest_size=16).digest()


def _unplaced(header: Header) -> Header:
    """What all pieces of an upload have in common, however often it is sent."""
    return msgspec.structs.replace(header, timestamp=0, sequence=0)
