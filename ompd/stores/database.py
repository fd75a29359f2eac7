"""A SQLite file as the stores of this package keep it: private, durable, safe between processes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ompd.errors import OmpdError, StoreError, StoreFullError, VersionError
from ompd.files import FORKED, write_private

Step = Callable[[sqlite3.Connection], None]

#: Seconds that a change waits for another process to finish its own.
BUSY_SECONDS = 10.0
#: A database has at least one page, of at least so many bytes.
_SMALLEST_FILE = 512
#: What SQLite needs beside a database before anything is written.
_LOG_INDEX_BYTES = 32 << 10
_MAGIC = b"SQLite format 3\x00"
_HEADER = 100


def application_of(path: Path) -> int | None:
    """Return the number in a file's header that tells what kind it is; None if it is no database.

    To be asked of files that no connection of this process has: closing it drops their locks.

    Raises
    ------
    OSError
    """
    with path.open("rb") as file:
        header = file.read(_HEADER)
    return int.from_bytes(header[68:72]) if header.startswith(_MAGIC) else None


class Database:
    """A SQLite file with one connection, for use by the stores of this package.

    Durable, atomic, and safe between threads (by a lock) and processes (by SQLite's own). A child
    must open it itself: what was open at a fork is refused there.

    Parameters
    ----------
    path : path
        Created if missing, with mode 0600. An empty file is taken for damage.
    application : int
        Number in the file's header that tells this kind of file from others.
    version : int
        Version of the schema.
    schema : sequence of str
        Statements that set up a new file.
    steps : mapping of int to callable
        What makes a file of that version one of the next, within one transaction: all of them
        happen when an older file is opened, or none.
    power_safe : bool, default True
        Whether changes wait for the disk.

    Raises
    ------
    StoreError
        From every method, if the file is damaged, foreign, writable by others, locked or closed.
    VersionError
        If the file's schema is newer, or older and no steps lead from it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        application: int,
        version: int,
        schema: Sequence[str],
        steps: Mapping[int, Step] = MappingProxyType({}),
        power_safe: bool = True,
    ) -> None:
        # Absolute, since the program may change its folder, and never a name special to SQLite.
        self._path = Path(path).absolute()
        self._application = application
        self._version = version
        self._schema = tuple(schema)
        self._steps = steps
        self._power_safe = power_safe
        self._lock = threading.Lock()
        self._forked = False
        self._connection: sqlite3.Connection | None = self._connect()
        _open_databases.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one statement that changes nothing."""
        with self._lock, self._translated():
            yield self._live()

    @contextlib.contextmanager
    def writing(self, *, power_safe: bool = True) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one transaction: all of the block happens, or nothing.

        Parameters
        ----------
        power_safe : bool, default True
            Whether the change waits for the disk, if all of this database's do.
        """
        with self._lock, self._translated():
            connection = self._live()
            self._synchronise(connection, power_safe and self._power_safe)
            # At once with the right to write: a right acquired later could be refused.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection; may be repeated."""
        with self._lock, self._translated():
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _live(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path.name}: {FORKED if self._forked else 'was closed'}")
        return self._connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        problem = ""
        kind = StoreError
        try:
            yield
        except (sqlite3.DatabaseError, sqlite3.InterfaceError, UnicodeDecodeError) as error:
            # The last where SQLite's own message quotes damage, as it also does for a statement
            # that does not suit the file or a text that is none.
            problem = "is damaged or no file of this library"
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                # Such as: locked, read-only, disk full, no such file.
                problem = str(error)
                # Of a disk that has no room for its index of the log, SQLite says that it fails.
                if code == sqlite3.SQLITE_FULL or (
                    code == sqlite3.SQLITE_IOERR and _is_full(self._path.parent)
                ):
                    problem, kind = "database or disk is full", StoreFullError
        if problem:
            raise kind(f"{self._path.name}: {problem}")

    def _connect(self) -> sqlite3.Connection:
        with self._translated():
            self._create_private()
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection
        raise AssertionError  # pragma: no cover  (`_translated` swallows nothing)

    def _create_private(self) -> None:
        # SQLite itself would create it with whatever the umask leaves; the files that it puts
        # beside take the mode of this one. A file that exists is never opened here: closing it
        # again would drop the locks that other connections of this process hold on it.
        problem = ""
        kind = StoreError
        try:
            if not os.path.lexists(self._path):
                with contextlib.suppress(FileExistsError):  # somebody else was faster
                    write_private(self._path, [self._blank()], exclusive=True)
            found = self._path.stat()
        except OSError as error:
            problem = error.strerror or "cannot be opened"
            kind = StoreFullError if error.errno == errno.ENOSPC else StoreError
        if problem:
            raise kind(f"{self._path.name}: {problem}")
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{self._path.name}: expected a regular file")
        if not found.st_size:
            # It appears as a whole, so this one has lost what was in it. Taken for a new one, it
            # would make nothing of revocations or of what was spent.
            raise StoreError(f"{self._path.name}: is empty; remove it if nothing was ever in it")
        if found.st_size < _SMALLEST_FILE:
            # SQLite would take it for an empty database and write over it.
            raise StoreError(f"{self._path.name}: is no database")
        if os.name == "posix" and found.st_mode & 0o022:
            raise StoreError(
                f"{self._path.name}: expected mode 0600, got {stat.S_IMODE(found.st_mode):04o}; "
                "others could change it"
            )
        if (found.st_dev, found.st_ino) in _lost_to_fork:
            raise StoreError(f"{self._path.name}: {FORKED}")

    def _blank(self) -> bytes:
        """Content of a new file."""
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            for statement in self._schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {self._application}")
            connection.execute(f"PRAGMA user_version = {self._version}")
            return connection.serialize()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._identify(connection)
        self._version_of(connection)
        # Turning a fresh file into a write-ahead log can fail at once when another process does
        # the same, without regard to the time-out.
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise StoreError(f"{self._path.name}: expected a file system that allows a WAL file")
        self._synchronise(connection, self._power_safe)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise StoreError(f"{self._path.name}: is damaged")
        if self._version_of(connection) != self._version:
            self._bring_up(connection)

    @staticmethod
    def _synchronise(connection: sqlite3.Connection, power_safe: bool) -> None:
        connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")

    def _identify(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != self._application:
            raise StoreError(f"{self._path.name}: is a database of another kind")

    def _version_of(self, connection: sqlite3.Connection) -> int:
        """Version of the schema, which this one is or can be brought to."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if any(each not in self._steps for each in range(version, self._version)) or (
            version > self._version
        ):
            raise VersionError(
                f"{self._path.name}: expected schema version {self._version}, got {version}"
            )
        return int(version)

    def _bring_up(self, connection: sqlite3.Connection) -> None:
        problem = False
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Again, since another process may have been faster.
            for version in range(self._version_of(connection), self._version):
                self._steps[version](connection)
            connection.execute(f"PRAGMA user_version = {self._version}")
            connection.execute("COMMIT")
        except (TypeError, ValueError, AttributeError) as error:
            if isinstance(error, OmpdError):
                raise
            # Of a value that is of no form that the old version wrote; the error may quote it.
            problem = True
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if problem:
            raise StoreError(f"{self._path.name}: is damaged")

    def after_fork(self) -> None:
        """Give up the connection, in a child that inherited it."""
        self._lock = threading.Lock()
        if self._connection is not None:
            self._forked = True
            _inherited.append(self._connection)
            self._connection = None
            with contextlib.suppress(OSError):
                found = self._path.stat()
                _lost_to_fork.add((found.st_dev, found.st_ino))


class MemoryDatabase:
    """What `Database` does, without a file: it ends with the process, which alone has it.

    Parameters
    ----------
    name : str
        For messages.
    schema : sequence of str

    Raises
    ------
    StoreError
        From every method, once it was closed or the process forked.
    """

    def __init__(self, name: str, schema: Sequence[str]) -> None:
        self._name = name
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._finalizer = weakref.finalize(self, self._connection.close)
        for statement in schema:
            self._connection.execute(statement)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """As `Database.reading`."""
        if os.getpid() != self._process:
            # Each process would count for itself, and together they would pass a limit.
            raise StoreError(f"{self._name}: {FORKED}")
        with self._lock:
            if not self._finalizer.alive:
                raise StoreError(f"{self._name}: was closed")
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """As `Database.writing`."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """As `Database.close`."""
        with self._lock:
            self._finalizer()


def _is_full(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < _LOG_INDEX_BYTES
    return False


# A child inherits what SQLite believes about its locks, but not the locks. It may therefore neither
# use nor close what was open before the fork, nor open the same file anew.
_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []
_lost_to_fork: set[tuple[int, int]] = set()


def _after_fork() -> None:
    for database in list(_open_databases):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
