"""Tables in a folder, which outlive the process.

A folder of mode 0700 holds

``table-<32 hex digits>``
    The versions of the table with this id, newest first: owner, upload, receipt, whether it was
    asked, when it ends, and the folder of its data; packed as `ompd.arrays` has it.
``<32 hex digits>-<16 hex digits>``
    The data of one version, written before a file names it and never changed: `limbs` describes it
    for blinded tables, `sealed` for encrypted buckets. Mapped, so that more tables than memory
    holds can be asked.
``staged-<16 hex digits>``
    An upload of which not all pieces are here yet; see `staging_files`.
``lock``
    Locked by the process that has the folder.

Files are replaced as a whole, so a crash or an error leaves the old versions or the new ones, and
perhaps data that no file names; these are removed when the table is next changed or the folder next
opened. Damage concerns one version, or one table if it is the table's file: all others open.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from ompd.arrays import Form, pack, unpack
from ompd.errors import OmpdError, StoreError, StoreWarning
from ompd.files import is_exhausted, own_folder, refusing, sweep, sync_folder, write_private
from ompd.search import ballots
from ompd.search.verdicts import Ballots
from ompd.stores.tables.contract import Stored, Upload, Version
from ompd.stores.tables.profiles import PROFILES
from ompd.stores.tables.staging_files import FileRows, FileStaging
from ompd.wire import Header

_FORM = Form("tables of a cloud", 1)
_FILE = re.compile(r"table-([0-9a-f]{32})")
_HOME = re.compile(r"([0-9a-f]{32})-[0-9a-f]{16}")
_STAGED = re.compile(r"staged-[0-9a-f]{16}")


class _Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One version in the file of its table."""

    owner: str
    version: int
    upload: Header
    receipt: bytes
    asked: bool
    expires: float | None
    home: str


class _Table(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The file of a table."""

    versions: tuple[_Entry, ...]


class FolderTables:
    """Keeps a cloud's tables in a folder; see `Tables`.

    A cloud that is started on the folder again answers as before. The folder belongs to one process
    at a time, and not to what is forked from it.

    Parameters
    ----------
    path : path
        Made if it is missing; its parent exists.
    ballots : callable
        The engine of the blinded profiles; same contract as `ompd.search.ballots`.
    verify : bool, default True
        Whether to compare the digests of all mapped data now, which reads all of it once.
    unfinished : int, default 64 GiB
        Bytes that one hospital's unfinished uploads may announce.

    Attributes
    ----------
    damaged : dict of str to str
        Why a version, or all of a table, does not answer, by table id in hex. Uploading it again
        mends it, and so does a newer version. Each is also told as a `StoreWarning`.

    Raises
    ------
    StoreError
        From every method but `close`, if the folder cannot be used, or this process was forked from
        the one that opened it. Also if there are more versions than files or maps that the system
        lets the process have. After an error, another try may follow.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ballots: Ballots = ballots,
        verify: bool = True,
        unfinished: int = 64 << 30,
    ) -> None:
        # Absolute, since the program may change its folder.
        self._folder = Path(path).absolute()
        self._ballots = ballots
        self._staging = FileStaging(self._folder, unfinished)
        self._tables: dict[bytes, tuple[Version, ...]] = {}
        self._built: set[str] = set()
        self._guard = threading.Lock()
        # Held as long as a change needs the folder's lock. A handler of a signal may close within.
        self._changing = threading.RLock()
        self.damaged: dict[str, str] = {}
        self._lock = own_folder(self._folder, StoreError, "tables")
        try:
            with refusing(StoreError, "tables"):
                sweep(self._folder)
                names = sorted(path.name for path in self._folder.iterdir())
            for found in filter(None, map(_FILE.fullmatch, names)):
                self._open(found[1], verify=verify)
            # Sorted, so that each table's data are together; to look for them would list all again.
            homes = filter(None, map(_HOME.fullmatch, names))
            for name in filter(_STAGED.fullmatch, names):
                self._staging.open(name)
            for table_id, versions in self._tables.items():
                self._staging.passed(table_id, versions)
            for table, same in itertools.groupby(homes, lambda home: home[1]):
                self._clean(table, [home[0] for home in same])
        except BaseException:
            self.close()
            raise
        for table, reason in self.damaged.items():
            warnings.warn(f"table {table}: {reason}; upload it again", StoreWarning, stacklevel=2)

    def stage(self, upload: Header, body: Upload) -> int:
        """Put a piece of an upload behind those that are here, durably."""
        self._lock.check(StoreError, "tables")
        return self._staging.add(upload, body)

    def build(self, upload: Header, body: Upload) -> Version:
        """Index an upload whose pieces are all here, and give it a folder of its own."""
        self._lock.check(StoreError, "tables")
        rows = self._staging.whole(upload, body)
        assert isinstance(rows, FileRows)  # noqa: S101  (the staging makes no others)
        try:
            stored = PROFILES[upload.kind].of(body, *rows.read(), self._ballots)
        except OmpdError as error:
            if not is_exhausted(error):
                self._staging.end(rows)
            raise
        home = f"{body.table_id.hex()}-{secrets.token_hex(8)}"
        with self._guard:
            self._built.add(home)
        version = Version(upload.sender, body.version, upload, None, home=home)
        problem = ""
        try:
            return replace(version, stored=stored.save(self._folder / home, rows.values))
        except OmpdError as error:
            self.discard(version)
            problem = str(error)
        except BaseException:
            self.discard(version)
            raise
        # That it cannot be written is no fault of the upload.
        raise StoreError(problem)

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table, at once and durably."""
        with self._changing:
            self._lock.check(StoreError, "tables")
            self._write(table_id, versions)
        self._staging.passed(table_id, versions)

    def discard(self, version: Version) -> None:
        """Remove what was built, unless the table's file names it after all."""
        with self._guard:
            self._built.discard(version.home)
        if self._lock.held:
            with self._changing:
                if self._lock.held:
                    self._clean(version.home.partition("-")[0])

    def versions(self, table_id: bytes) -> tuple[Version, ...]:
        """Return all versions of a table, newest first."""
        self._lock.check(StoreError, "tables")
        return self._tables.get(table_id, ())

    def kept(self) -> Mapping[bytes, tuple[Version, ...]]:
        """Return all versions of all tables, by table id."""
        return dict(self._tables)

    def close(self) -> None:
        """Let another process have the folder, once a change is done; may be repeated."""
        # Not in a forked process, where nobody would end a change of the parent's.
        if self._lock.held:
            with self._changing:
                self._lock.release()

    def __repr__(self) -> str:
        return f"<FolderTables, {len(self._tables)} tables>"

    def _entries(self, table: str) -> tuple[_Entry, ...]:
        file = self._folder / f"table-{table}"
        with refusing(StoreError, "table"):
            data = file.read_bytes() if file.exists() else None
        if data is None:
            return ()
        found = unpack(data, _FORM, _Table, name="table", error=StoreError).content.versions
        if not _plausible(table, found):
            raise StoreError("table: expected the versions of a table")
        return found

    def _open(self, table: str, *, verify: bool) -> None:
        versions = []
        try:
            entries = self._entries(table)
        except OmpdError as error:
            if is_exhausted(error):
                raise
            self.damaged[table] = str(error)
            return
        for entry in entries:
            stored: Stored | None = None
            try:
                profile = PROFILES[entry.upload.kind]
                stored = profile.open(self._folder / entry.home, self._ballots, verify=verify)
            except OmpdError as error:
                if is_exhausted(error):
                    # To send all tables again would not help.
                    raise StoreError(f"tables: {error}") from None
                self.damaged[table] = f"version {entry.version}: {error}"
            versions.append(Version(stored=stored, **msgspec.structs.asdict(entry)))
        self._tables[bytes.fromhex(table)] = tuple(versions)

    def _write(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        table = table_id.hex()
        entries = tuple(
            _Entry(
                each.owner, each.version, each.upload, each.receipt, each.asked, each.expires,
                each.home,
            )
            for each in versions
        )  # fmt: skip
        with refusing(StoreError, "tables"):
            # The data must not be lost when the file that names them is not.
            sync_folder(self._folder)
            write_private(self._folder / f"table-{table}", pack(_FORM, _Table(entries)).parts)
        self._tables[table_id] = versions
        with self._guard:
            self._built.difference_update(each.home for each in versions)
        if all(each.stored is not None for each in versions):
            self.damaged.pop(table, None)
        # Jobs on their way still read what they have mapped.
        self._clean(table)

    def _clean(self, table: str, homes: Iterable[str] | None = None) -> None:
        """Remove data of a table that its file does not name, as far as possible.

        If the file cannot be read, all stays as it is.
        """
        try:
            named = {entry.home for entry in self._entries(table)}
        except OmpdError:
            return
        if homes is None:
            homes = [path.name for path in self._folder.glob(f"{table}-*")]
        for home in homes:
            with self._guard:
                spared = home in named or home in self._built
            if not spared:
                shutil.rmtree(self._folder / home, ignore_errors=True)


def _plausible(table: str, versions: tuple[_Entry, ...]) -> bool:
    """Whether a file names versions of one hospital, newest first, and data of its own table."""
    homes = [_HOME.fullmatch(entry.home) for entry in versions]
    numbers = [entry.version for entry in versions]
    return (
        len({entry.owner for entry in versions}) == 1
        and all(entry.upload.kind in PROFILES for entry in versions)
        and all(home is not None and home[1] == table for home in homes)
        and all(new > old for new, old in itertools.pairwise(numbers))
    )
