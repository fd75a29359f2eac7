"""What a cloud does with jobs: opens them, and answers each at most once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from ompd.errors import ContextMismatchError, ReplayError, StoreError, VersionError
from ompd.roles.post import Post
from ompd.roles.upkeep import Upkeep
from ompd.stores.tables import PROFILES, Job, Stored, Tables
from ompd.wire import KIND_OF, Frame, Kind, SealedJob

_BODIES = {KIND_OF[profile.job]: profile.job for profile in PROFILES.values()}
JOBS: tuple[Kind, ...] = tuple(_BODIES)


@dataclass(frozen=True, slots=True, repr=False)
class OpenedJob:
    """An authentic job, of which nothing is claimed or computed yet.

    Attributes
    ----------
    table : bytes
        Id of the table that it asks.
    is_whole : bool
        Whether it asks for all of the table: nothing to compute, and long to encrypt and to send.
    """

    table: bytes
    is_whole: bool
    _answer: Callable[[bool], bytes]

    def answer(self, *, keep: bool = True) -> bytes:
        """Claim it, and return the answer frame.

        Parameters
        ----------
        keep : bool, default True
            Whether the answer is remembered for another try, unless the caller does that.

        Raises
        ------
        OmpdError
            As `Cloud.answer`.
        """
        return self._answer(keep)


class Jobs:
    """Jobs on the tables of one cloud; for several threads.

    Parameters
    ----------
    post : Post
    tables : Tables
    upkeep : Upkeep
    lock : lock
        Held while the versions of a table are changed.
    """

    def __init__(self, post: Post, tables: Tables, upkeep: Upkeep, lock: threading.Lock) -> None:
        self._post = post
        self._tables = tables
        self._upkeep = upkeep
        self._lock = lock

    def open(self, job: bytes) -> OpenedJob | bytes:
        """As `Cloud.open_job`."""
        try:
            frame = self._post.authenticate(job, *JOBS)
        except ReplayError:
            if (given := self._post.again(job, *JOBS)) is not None:
                return given
            raise
        body = self._post.open(frame, _BODIES[frame.header.kind])
        is_whole = isinstance(body, SealedJob) and body.whole
        return OpenedJob(body.table_id, is_whole, lambda keep: self._answer(frame, body, keep=keep))

    def refuse(self, job: bytes) -> bytes:
        """As `Cloud.refuse`."""
        return self._post.refuse(job, *JOBS)

    def settle(self, job: bytes) -> bytes:
        """As `Cloud.settle`."""
        return self._post.settle(self._post.claimed(job, *JOBS))

    def _answer(self, frame: Frame, body: Job, *, keep: bool) -> bytes:
        header = frame.header
        with self._upkeep.running(body.table_id, body.version):
            table = self._find(body.table_id, body.version, header.sender)
            if not isinstance(body, table.job):
                raise ContextMismatchError("job: is of another profile than the table")
            run = table.prepare(body)
            self._post.claim(frame)
            self._retire(body.table_id, body.version)
            found = run()
        answer = self._post.send(header.sender, found, nonce=header.nonce, sequence=header.sequence)
        return self._post.answered(header, answer) if keep else answer

    def _find(self, table_id: bytes, version: int, owner: str) -> Stored:
        versions = self._tables.versions(table_id)
        if not versions or versions[0].owner != owner:
            raise ContextMismatchError("job: the sender has no table under this id")
        for found in self._upkeep.living(versions):
            if found.version == version and not found.withdrawn:
                if found.stored is None:
                    raise StoreError("job: the table is damaged on disk")
                return found.stored
        raise VersionError(f"job: expected version {versions[0].version} of the table")

    def _retire(self, table_id: bytes, version: int) -> None:
        """Let older versions end, once one is asked; what is on its way to them still counts."""
        with self._lock:
            expires = self._post.now() + self._post.window
            versions = self._tables.versions(table_id)
            moved = tuple(
                replace(each, asked=True)
                if each.version == version and not each.asked
                else replace(each, expires=expires)
                if each.version < version and each.expires is None
                else each
                for each in self._upkeep.living(versions)
            )
            # Almost always nothing changes. What cannot be kept now is kept by a later job.
            if moved != versions:
                with contextlib.suppress(StoreError):
                    self._tables.keep(table_id, moved)
                self._upkeep.plan()
