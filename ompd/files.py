"""What every durable change to a folder needs.

A file is written beside its place under a spare name, synced and renamed, and then its folder is
synced. Whoever reads a name therefore finds the old file or the new one, and a crash leaves at most
a spare file, which `sweep` removes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

#: Where an open database, table or folder is of no more use.
FORKED = "was open when this process was forked; open it in the child only, or spawn"

_SPARE = re.compile(r"\..+\.[0-9a-f]{16}\.new")
#: Another try helps once others have closed files or ended.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
#: Not every file system syncs a folder, and not everybody may read one that they may write to.
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM}
#: Bytes that are copied or read at a time.
_COPIED = 1 << 20
#: Not every file system gives a file two names, and none a file of another.
_CANNOT_LINK = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def make_folder(path: Path) -> None:
    """Make a folder of mode 0700, so that a power failure does not take it with all that is in it.

    One that is there already keeps its mode.

    Raises
    ------
    OSError
        If the file system refuses, or something else is there. Another try may follow.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def write_private(
    path: Path, parts: Iterable[bytes | memoryview], *, exclusive: bool = False
) -> None:
    """Write a file of mode 0600 so that it appears as a whole or not at all, even after a crash.

    Parameters
    ----------
    path : Path
    parts : iterable of bytes-like
        The content.
    exclusive : bool, default False
        Whether a file that is there already is an error, instead of being replaced.

    Raises
    ------
    OSError
        If the file system refuses. The old file is in place then. The one exception is a folder
        that cannot be synced after the new file has replaced the old one: then the new one is in
        place, and may be gone after a power failure.
    """
    spare = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            for part in parts:
                write_all(descriptor, memoryview(part).cast("B"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if exclusive and os.name == "posix":
            _name(spare, path)
        else:
            os.replace(spare, path)
    except BaseException:
        with contextlib.suppress(OSError):
            spare.unlink()
        raise
    try:
        sync_folder(path.parent)
    except OSError:
        if exclusive and os.name == "posix":
            # Nothing was there before, so that another try finds nothing either.
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _name(spare: Path, path: Path) -> None:
    """Give a file its name, unless that is taken."""
    try:
        # Unlike a rename, this fails if somebody else was faster.
        os.link(spare, path)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        # All that is left on such a file system; whoever writes here has the folder's lock.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.replace(spare, path)
    else:
        with contextlib.suppress(OSError):
            spare.unlink()


def write_behind(path: Path, offset: int, content: memoryview) -> None:
    """Put bytes at an offset of a file, durably, and end the file behind them.

    Raises
    ------
    OSError
        If the file system refuses. Whatever was before the offset is as it was.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        write_all(descriptor, content.cast("B"))
        os.ftruncate(descriptor, offset + content.nbytes)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def overwrite(path: Path, parts: Iterable[tuple[int, bytes]]) -> None:
    """Replace bytes of a file where they are, durably; its length stays.

    Parameters
    ----------
    path : Path
    parts : iterable of (offset, bytes)
        All within the file.

    Raises
    ------
    OSError
        If the file system refuses. Some parts may be replaced then.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for offset, part in parts:
            os.lseek(descriptor, offset, os.SEEK_SET)
            write_all(descriptor, memoryview(part))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take_over(source: Path, target: Path) -> None:
    """Give a file that nobody writes any more a second name, durably; a copy where that cannot be.

    Raises
    ------
    OSError
        If the file system refuses, or the target is there.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with source.open("rb") as data:
                while part := data.read(_COPIED):
                    write_all(descriptor, memoryview(part))
            os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink()
            raise
        finally:
            os.close(descriptor)
    sync_folder(target.parent)


def write_all(descriptor: int, part: memoryview) -> None:
    """Write all bytes to an open file.

    Raises
    ------
    OSError
    """
    while part:
        part = part[os.write(descriptor, part) :]


def digest_at(descriptor: int, place: int, size: int) -> bytes:
    """Return the SHA-256 of bytes of a file, which are read and not mapped: they take no memory.

    Raises
    ------
    OSError
        If they cannot be read, or the file is shorter.
    """
    digest = hashlib.sha256()
    while size:
        part = os.pread(descriptor, min(size, _COPIED), place)
        if not part:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        digest.update(part)
        place, size = place + len(part), size - len(part)
    return digest.digest()


def sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be synced.

    Raises
    ------
    OSError
        If it failed: the rename may be undone by a power failure.
    """
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sweep(folder: Path, older_than: float = 0.0) -> None:
    """Remove spare files that writers left behind when they ended.

    Parameters
    ----------
    folder : Path
        Locked, or else with an age that no living writer's file has.
    older_than : float
        Seconds.

    Raises
    ------
    OSError
        If the folder cannot be read. A file that cannot be removed stays.
    """
    for path in folder.iterdir():
        if _SPARE.fullmatch(path.name):
            with contextlib.suppress(OSError):
                if not older_than or path.stat().st_mtime < time.time() - older_than:
                    path.unlink()


def is_exhausted(error: BaseException) -> bool:
    """Whether the process or machine has no more of something, which says nothing about a file.

    Parameters
    ----------
    error : exception
        What `refusing` raised.
    """
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _EXHAUSTED


@contextlib.contextmanager
def refusing(error: type[Exception], name: str) -> Iterator[None]:
    """Raise what the system refuses as an error of this library, which tells no path.

    Parameters
    ----------
    error : type
    name : str
        What was tried to be used, for the message.
    """
    problem = ""
    cause = None
    try:
        yield
    except BlockingIOError:
        problem = "another process has it open"
    except OSError as refusal:
        problem = refusal.strerror or "cannot be used"
        if refusal.errno in _EXHAUSTED:
            # Another one: that has the path.
            cause = OSError(refusal.errno, problem)
    if problem:
        raise error(f"{name}: {problem}") from cause


def is_spare(name: str) -> bool:
    """Whether a file of this name is one that `sweep` removes."""
    return _SPARE.fullmatch(name) is not None


def own_folder(path: Path, error: type[Exception], name: str) -> FolderLock:
    """Make a folder of mode 0700 if it is missing, and lock it; its parent exists.

    An empty one that others may enter is closed to them; what somebody has put things into is not
    changed. An `error` with this name tells what the system refuses, that others may enter, or that
    somebody else has the folder.
    """
    with refusing(error, name):
        make_folder(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & 0o077:
            if any(path.iterdir()):
                raise error(f"{name}: expected mode 0700, got {mode:04o}; others could enter it")
            path.chmod(0o700)
        return FolderLock(path)
    raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)


class FolderLock:
    """Lock of a folder, held until `release` or until nothing refers to it.

    A forked child does not hold it, and does not keep it from being given back.

    Parameters
    ----------
    folder : Path
    wait : bool, default False
        Whether to wait for another one to give it back.

    Raises
    ------
    BlockingIOError
        If somebody else holds it.
    OSError
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        descriptor = os.open(
            folder / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600
        )
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BaseException:
            os.close(descriptor)
            raise
        self.forked = False
        self._close = weakref.finalize(self, os.close, descriptor)
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._close.alive

    def check(self, error: type[Exception], name: str) -> None:
        """Raise an error unless this process has the lock."""
        if not self.held:
            raise error(f"{name}: {FORKED if self.forked else 'was closed'}")

    def release(self) -> None:
        """Let others have the folder; may be repeated."""
        self._close()


_locks: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _after_fork() -> None:
    # The lock is the parent's, but lasts until every copy of the descriptor is closed.
    for lock in list(_locks):
        lock.forked = True
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
