"""Who asked for what kind of thing, when, and what came of it: a log that shows tampering.

A folder of mode 0700 holds files ``log-<number of the first entry>``, each of them made as a whole
and then only appended to; [audit_lines](audit_lines.py) has the lines. Every call of `append` is
one write and one sync. The party signs the chain when it opens and closes the log, at the begin
and end of every file, and with the first entries that come a minute after the last signature.

**A crash** leaves whole lines and at most one torn end. Whoever opens the log next moves that into
a file ``cut-<number>``, and says so in the log. Nothing that `append` has returned from is in it.

**Tampering.** Up to the last signed head, whoever has not the key can change nothing unseen, nor
leave anything out in between. What follows the last head, a minute at most, is only chained; and
whoever can write here can put back an older state of the whole folder. So keep heads elsewhere:
servers tell each to their logs, and `verify` compares with any of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from ompd.crypto import Identity
from ompd.errors import StoreError
from ompd.files import own_folder, refusing, write_all, write_private
from ompd.stores.audit_check import Head, Walked, cut_name, file_name, log_files
from ompd.stores.audit_lines import (
    BEGUN,
    CLOSED,
    CRASHED,
    OPENED,
    OWN,
    RESTORED,
    START,
    TORN,
    VERSION,
    Event,
    EventLine,
    HeadLine,
    LogLine,
    head_message,
    moment,
    written,
)

#: Bytes after which a new file begins.
FILE_BYTES = 16 << 20
#: Seconds after which the next entries are signed.
SIGN_SECONDS = 60.0
_RESTORED = "restored"


class AuditLog:
    """The log of one party, used by one process at a time and by any of its threads.

    Parameters
    ----------
    folder : path
        Made if it is missing; its parent exists.
    identity : Identity
        Whose log it is, and who signs it.
    clock : callable
        Seconds since the epoch.
    told : callable, optional
        Told of each signature, once it is on disk, to note it elsewhere.

    Raises
    ------
    StoreError
        From every method, if the folder or a file in it cannot be used, or this process was forked
        from the one that opened it. When opened, also if the log is of another party, or the end of
        it does not follow from the beginning. After an error, another try may follow.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        identity: Identity,
        clock: Callable[[], float] = time.time,
        told: Callable[[Head], None] | None = None,
    ) -> None:
        self._told = told
        self._folder = Path(folder).absolute()
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._descriptor = -1
        self._chain, self._next, self._size, self._signed = START, 1, 0, -math.inf
        # Whether there may be something behind what was written, and whether the file has its end.
        self._failed = self._full = False
        self._folder_lock = own_folder(self._folder, StoreError, "audit log")
        try:
            with refusing(StoreError, "audit log"):
                self._open()
        except BaseException:
            self._give_back()
            raise

    @property
    def head(self) -> Head:
        """The last entry that is on disk."""
        with self._lock:
            return Head(self._next - 1, self._chain.hex())

    def append(self, events: Sequence[Event]) -> None:
        """Write events to disk, all of them or none; returns when they are there.

        Raises
        ------
        ParameterError, KeyMaterialError
            If something is in an event that does not belong there.
        """
        for event in events:
            event.check()
        if events:
            with self._lock, refusing(StoreError, "audit log"):
                self._folder_lock.check(StoreError, "audit log")
                self._make_room()
                self._write(events, sign=abs(self._clock() - self._signed) > SIGN_SECONDS)

    def close(self) -> None:
        """Sign the log, and let another process have it; may be repeated."""
        with self._lock:
            if self._folder_lock.held:
                with refusing(StoreError, "audit log"):
                    self._make_room()
                    self._write([self._own(CLOSED)], sign=False)
                    self._write([], sign=True)
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AuditLog of {self._next - 1} entries>"

    def _open(self) -> None:
        files = log_files(self._folder)
        if not files:
            self._begin()
            outcome = BEGUN
        else:
            walked = Walked(files[-1])
            if walked.party != self._identity.id:
                raise StoreError("audit log: is of another party")
            key = self._identity.signing_key
            if walked.heads and walked.heads[-1].line.key == key.public_key.hex():
                # Of other keys only a registry knows whether they were this party's.
                walked.heads[-1].check(walked.party, [key.public_key], key.backend)
            self._chain, self._next, self._size = walked.chain, walked.next, walked.good
            self._descriptor = _open_file(files[-1])
            outcome = OPENED if walked.closed else CRASHED
            if walked.torn:
                self._cut(files[-1])
                outcome = TORN
        mark = self._folder / _RESTORED
        restored = [self._own(RESTORED)] if mark.exists() else []
        self._write([self._own(outcome), *restored], sign=True)
        mark.unlink(missing_ok=True)

    def _own(self, outcome: str) -> Event:
        return Event(self._clock(), "", OWN, "", outcome)

    def _cut(self, file: Path) -> None:
        """Move a torn end out of the way."""
        with file.open("rb") as data:
            data.seek(self._size)
            # Before it is cut off; another try after a crash finds the same bytes.
            write_private(self._folder / cut_name(self._next), [data.read()])
        os.ftruncate(self._descriptor, self._size)

    def _make_room(self) -> None:
        """Begin another file behind a signature, if there is need."""
        if self._size >= FILE_BYTES and not self._full:
            self._write([], sign=True)
            self._full = True
        if self._full:
            # Of which a failed try may have left the file: nothing goes into the old one any more.
            self._begin()
            self._full = False

    def _begin(self) -> None:
        """Begin a file."""
        line = LogLine(VERSION, self._identity.id, self._next, self._chain.hex())
        content, chain = written(line, self._chain)
        file = self._folder / file_name(self._next)
        # What an earlier try left there says the same.
        write_private(file, [content])
        descriptor = _open_file(file)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._chain, self._size, self._signed = chain, len(content), -math.inf

    def _write(self, events: Sequence[Event], *, sign: bool) -> None:
        """Append events, and before them perhaps the signature of what is on disk; durably."""
        parts = []
        chain, number = self._chain, self._next
        now = self._clock()
        sign = sign or self._signed == -math.inf
        if sign:
            key = self._identity.signing_key
            message = head_message(self._identity.id, number, moment(now), chain)
            line = HeadLine(number, moment(now), key.public_key.hex(), key.sign(message).hex())
            content, chain = written(line, chain)
            parts.append(content)
            head = Head(number, chain.hex())
            number += 1
        for event in events:
            when, *rest = event
            content, chain = written(EventLine(number, moment(when), *rest), chain)
            parts.append(content)
            number += 1
        data = b"".join(parts)
        if self._failed:
            os.ftruncate(self._descriptor, self._size)
        self._failed = True
        try:
            write_all(self._descriptor, memoryview(data))
            os.fsync(self._descriptor)
        except BaseException:
            # At once, or the end of the process would leave it; a full disk lets a file be cut. A
            # later sync may say that all is well with what this one could not write.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._failed = False
        self._size += len(data)
        self._chain, self._next = chain, number
        if sign:
            self._signed = now
            if self._told is not None:
                self._told(head)

    def _give_back(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._folder_lock.release()


def _open_file(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))


def note_restored(folder: Path) -> None:
    """If there is a log in a folder, let it say when it is next opened that it was put back.

    Raises
    ------
    OSError
    """
    if log_files(folder):
        write_private(folder / _RESTORED, [])
