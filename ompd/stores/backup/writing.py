"""Making a backup, of a party whose server is stopped."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import stat
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from ompd.crypto import Identity
from ompd.errors import StoreError
from ompd.files import FolderLock, refusing, write_private
from ompd.stores.backup.manifest import (
    MANIFEST,
    SIGNATURE,
    File,
    Folder,
    Manifest,
    is_left_out,
    is_plain,
    signed,
)
from ompd.stores.database import application_of

#: Bytes that are copied at a time.
_COPIED = 1 << 20


def back_up(
    out: str | os.PathLike[str],
    parts: Mapping[str, str | os.PathLike[str]],
    identity: Identity,
    role: str,
    clock: Callable[[], float] = time.time,
) -> Manifest:
    """Write a backup of files and folders, of mode 0600, as a whole or not at all.

    All folders that have a lock are locked meanwhile, so that nobody changes them. Databases are
    copied by SQLite and may be in use by other processes.

    Parameters
    ----------
    out : path
        Must not exist.
    parts : mapping of str to path
        Files and folders, none in another. "identity" is the folder of the party's identity.
    identity : Identity
        Signs.
    role : str
    clock : callable
        Seconds since the epoch.

    Returns
    -------
    Manifest

    Raises
    ------
    StoreError
        If a part is missing, in use, inside another, has something else than files and folders, or
        a damaged database; or the file exists or cannot be written.
    """
    target = Path(out).absolute()
    places = {name: Path(path).resolve() for name, path in parts.items()}
    with refusing(StoreError, "backup"), contextlib.ExitStack() as stack:
        for name, path in places.items():
            if not path.exists():
                raise StoreError(f"{name}: is missing")
            if any(path.is_relative_to(each) for part, each in places.items() if part != name):
                raise StoreError(f"{name}: lies in another part; expected one apart from it")
            if target.resolve().is_relative_to(path):
                raise StoreError(f"backup: expected a place outside of {name}")
        writer = _Writer(target.parent, places, stack)
        head = Manifest(
            "ompd-backup", 1, identity.id, role, int(clock() * 1000), tuple(places),
            tuple(writer.folders), (),
        )  # fmt: skip
        write_private(target, writer.members(head, identity), exclusive=True)
    return writer.done


class _Writer:
    """The members of a backup, as bytes of a tar file."""

    def __init__(
        self, spare: Path, places: Mapping[str, Path], stack: contextlib.ExitStack
    ) -> None:
        self.folders: list[Folder] = []
        self._spare = spare
        self._found: list[tuple[str, Path]] = []
        for name, path in sorted(places.items()):
            self._walk(name, path, stack)

    def _walk(self, name: str, path: Path, stack: contextlib.ExitStack) -> None:
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            self._found.append((name, path))
            return
        if not stat.S_ISDIR(mode):
            raise StoreError(f"{name}: expected files and folders only")
        if (path / "lock").exists():
            with refusing(StoreError, name):
                stack.callback(FolderLock(path).release)
        self.folders.append(Folder(name, stat.S_IMODE(mode)))
        for each in sorted(path.iterdir()):
            if not is_plain(each.name):
                raise StoreError(f"{name}: expected names that can be printed")
            if not is_left_out(each.name):
                self._walk(f"{name}/{each.name}", each, stack)

    def members(self, head: Manifest, identity: Identity) -> Iterator[bytes]:
        """Return the whole tar file, piece by piece."""
        files = []
        for name, path in self._found:
            with self._readable(path) as (descriptor, mode, size):
                yield _header(name, mode, size)
                digest = hashlib.sha256()
                left = size
                while left:
                    piece = os.read(descriptor, min(left, _COPIED))
                    if not piece:
                        raise StoreError(f"{name}: changed meanwhile")
                    digest.update(piece)
                    left -= len(piece)
                    yield piece
            yield _padding(size)
            files.append(File(name, mode, size, digest.hexdigest()))
        self.done = msgspec.structs.replace(head, files=tuple(files))
        manifest = msgspec.json.encode(self.done)
        for name, content in (
            (MANIFEST, manifest),
            (SIGNATURE, identity.signing_key.sign(signed(manifest))),
        ):
            yield _header(name, 0o600, len(content))
            yield content
            yield _padding(len(content))
        yield bytes(2 * tarfile.BLOCKSIZE)

    @contextlib.contextmanager
    def _readable(self, path: Path) -> Iterator[tuple[int, int, int]]:
        """Open a file, or a copy of a database: descriptor, mode and size."""
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            found = os.fstat(descriptor)
            if application_of(path) is None:
                yield descriptor, stat.S_IMODE(found.st_mode), found.st_size
                return
        finally:
            os.close(descriptor)
        copy = self._spare / f".database.{secrets.token_hex(8)}.new"
        try:
            _copy_database(path, copy)
            descriptor = os.open(copy, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                yield descriptor, stat.S_IMODE(found.st_mode), os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        finally:
            with contextlib.suppress(OSError):
                copy.unlink()


def _copy_database(path: Path, copy: Path) -> None:
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    problem = ""
    try:
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            # No file beside it is left to be forgotten.
            target.execute("PRAGMA journal_mode = DELETE")
            if target.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                problem = "is damaged"
    except sqlite3.Error as error:
        problem = str(error) if isinstance(error, sqlite3.OperationalError) else "is damaged"
    if problem:
        raise StoreError(f"{path.name}: {problem}")


def _header(name: str, mode: int, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, size
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
