"""A cloud's stock of dealt material: each session is used for one image, or lost.

Material that is used twice reveals the exact difference of two images. A session is therefore
marked as spent, durably, before anything of it leaves the cloud; what was begun when a process
ended is lost.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.errors import MaterialError, SpentMaterialError, StoreError
from ompd.files import FolderLock, own_folder, refusing, write_all
from ompd.stores.database import Database, MemoryDatabase

_SCHEMA = (
    "CREATE TABLE sessions (session BLOB PRIMARY KEY, dealt BLOB, size INTEGER NOT NULL, "
    "whole INTEGER NOT NULL, spent INTEGER NOT NULL) WITHOUT ROWID",
)
_NAME = "stock"
_SESSION_BYTES = 16


class MaterialStock:
    """Sessions that a cloud can use, each once.

    Parameters
    ----------
    folder : path, optional
        Of mode 0700, made if missing; its parent exists. One process has it at a time. None keeps
        everything in memory.

    Raises
    ------
    StoreError
        If the folder cannot be used, or somebody else has it.

    Notes
    -----
    Files hold what lets this cloud take part in one session; with the other cloud's they would
    reveal the image. A spent session stays in the ledger, 16 bytes each, and its material goes.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._lock = threading.Lock()
        self._folder = None if folder is None else Path(folder).absolute()
        self._held: FolderLock | None = None
        self._database: Database | MemoryDatabase
        #: Bytes that are there of sessions that are not whole, and what there is in memory.
        self._parts: dict[bytes, int] = {}
        self._memory: dict[bytes, bytearray] = {}
        if self._folder is None:
            self._database = MemoryDatabase(_NAME, _SCHEMA)
            return
        self._held = own_folder(self._folder, StoreError, _NAME)
        try:
            self._database = Database(
                self._folder / "ledger", application=0x4F4D504D, version=1, schema=_SCHEMA
            )
            with self._database.reading() as connection:
                # Keys of spent sessions leave the file, too.
                connection.execute("PRAGMA secure_delete = ON")
            self._sweep()
        except BaseException:
            self._held.release()
            raise

    def add(self, session: bytes, dealt: bytes, size: int) -> None:
        """Begin to keep a session.

        Parameters
        ----------
        session : bytes
            16 bytes.
        dealt : bytes
            What the dealer said of it, given back by `spend`.
        size : int
            Bytes of material that follow.

        Raises
        ------
        SpentMaterialError
            If there is or was a session of that name.
        StoreError
        """
        with self._lock, self._database.writing() as connection:
            found = connection.execute("SELECT 1 FROM sessions WHERE session = ?", [session])
            if found.fetchone():
                raise SpentMaterialError("session: was dealt before")
            if self._folder is None:
                self._memory[session] = bytearray()
            else:
                with refusing(StoreError, _NAME):
                    self._path(session).unlink(missing_ok=True)
            self._parts[session] = 0
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, 0)", [session, dealt, size, not size]
            )

    def append(self, session: bytes, offset: int, content: bytes) -> None:
        """Keep the next part of a session's material.

        Raises
        ------
        MaterialError
            If nothing of this session is expected, or not this part.
        StoreError
        """
        with self._lock:
            size = self._row(session)[1]
            there = self._parts.get(session)
            if there is None or offset != there or offset + len(content) > size or not content:
                raise MaterialError("material: expected the next part of a session that was dealt")
            if self._folder is None:
                self._memory[session] += content
            else:
                with refusing(StoreError, _NAME):
                    self._write(session, offset, content, last=offset + len(content) == size)
            self._parts[session] = there + len(content)
            if self._parts[session] == size:
                del self._parts[session]
                with self._database.writing() as connection:
                    connection.execute("UPDATE sessions SET whole = 1 WHERE session = ?", [session])

    def dealt(self, session: bytes) -> bytes:
        """Return what the dealer said of a session that is whole and not spent.

        Raises
        ------
        MaterialError, SpentMaterialError
            If it is not.
        StoreError
        """
        with self._lock:
            return self._row(session, whole=True)[0]

    def spend(self, session: bytes) -> npt.NDArray[np.uint8]:
        """Mark a session as spent, for ever, and return its material.

        When this returns, no crash lets the session be used again.

        Raises
        ------
        MaterialError, SpentMaterialError
            If it is not whole, or was spent.
        StoreError
            If that could not be made durable; nothing may leave then.
        """
        with self._lock:
            size = self._row(session, whole=True)[1]
            data: npt.NDArray[Any] = np.empty(0, np.uint8)
            if size and self._folder is not None:
                with refusing(StoreError, _NAME):
                    # The mapping outlives the file's name.
                    data = np.memmap(self._path(session), np.uint8, "r")
                if data.size != size:
                    raise StoreError(f"{_NAME}: a file has another length than was written")
            elif size:
                data = np.frombuffer(self._memory[session], np.uint8)
            with self._database.writing() as connection:
                connection.execute(
                    "UPDATE sessions SET spent = 1, dealt = NULL WHERE session = ?", [session]
                )
            self._drop(session)
            return data

    def close(self) -> None:
        """Let others have the folder; may be repeated."""
        with self._lock:
            self._database.close()
            if self._held is not None:
                self._held.release()

    def _row(self, session: bytes, *, whole: bool = False) -> tuple[bytes, int]:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT dealt, size, whole, spent FROM sessions WHERE session = ?", [session]
            ).fetchone()
        if row is None:
            raise MaterialError("session: was not dealt to this cloud")
        dealt, size, is_whole, spent = row
        if spent:
            raise SpentMaterialError("session: its material was used or begun to be used")
        if whole and not is_whole:
            raise MaterialError("session: its material is not complete")
        return dealt, size

    def _path(self, session: bytes) -> Path:
        assert self._folder is not None  # noqa: S101  (for the type checker)
        return self._folder / f"{session.hex()}.material"

    def _write(self, session: bytes, offset: int, content: bytes, *, last: bool) -> None:
        descriptor = os.open(self._path(session), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            write_all(descriptor, memoryview(content))
            if last:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _drop(self, session: bytes) -> None:
        self._memory.pop(session, None)
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._path(session).unlink()

    def _sweep(self) -> None:
        """Forget sessions whose parts had not all come, and remove files that nobody needs."""
        assert self._folder is not None  # noqa: S101
        with self._database.writing() as connection:
            connection.execute("UPDATE sessions SET spent = 1, dealt = NULL WHERE whole = 0")
            kept = connection.execute("SELECT session FROM sessions WHERE spent = 0").fetchall()
        names = {f"{session.hex()}.material" for (session,) in kept}
        with refusing(StoreError, _NAME):
            for path in self._folder.glob("*.material"):
                if path.name not in names:
                    path.unlink()
