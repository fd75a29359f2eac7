"""Tables in a folder, which outlive the process.

A folder of mode 0700 holds

``table-<32 hex digits>``
    The versions of the table with this id, newest first: owner, upload, receipt, whether it was
    asked, when it ends, and the folder of its data; packed as `ompd.arrays` has it.
``<32 hex digits>-<16 hex digits>``
    The data of one version, written before a file names it: `limbs` describes it for blinded
    tables, `sealed` for encrypted buckets. Mapped, so that more tables than memory holds can be
    asked. Versions that changes made share the limbs of the first, and have an index each.
``staged-<16 hex digits>``
    An upload of which not all pieces are here yet; see `staging_files`.
``lock``
    Locked by the process that has the folder.

Files are replaced as a whole, so a crash or an error leaves the old versions or the new ones, and
perhaps data that no file names; these are removed when the table is next changed or the folder next
opened. Damage concerns one version, or one table if it is the table's file: all others open.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import shutil
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from ompd.arrays import pack, unpack
from ompd.errors import OmpdError, StoreError, StoreWarning, TableError
from ompd.files import is_exhausted, own_folder, refusing, sweep, sync_folder, write_private
from ompd.search import Room, ballots
from ompd.search.verdicts import Ballots
from ompd.stores.tables.changes import tended
from ompd.stores.tables.contract import Change, Stored, Upload, Version
from ompd.stores.tables.profiles import MADE_BY, PROFILES, Changing
from ompd.stores.tables.sharing import cut, sharing
from ompd.stores.tables.staging_files import FileRows, FileStaging
from ompd.stores.tables.table_file import FORM, HOME, INDEX_FILE, Entry, TableFile, plausible
from ompd.wire import Header

_FILE = re.compile(r"table-([0-9a-f]{32})")
_STAGED = re.compile(r"staged-[0-9a-f]{16}")


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
        # Tables of which something is left that could not be removed.
        self._litter: set[str] = set()
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
            homes = filter(None, map(HOME.fullmatch, names))
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

    def change(self, header: Header, body: Change, base: Version) -> Version:
        """Make the version that a change makes of the newest one, without copying that."""
        self._lock.check(StoreError, "tables")
        assert isinstance(base.stored, Changing)  # noqa: S101  (no others are changed)
        parts = base.stored.read(body)
        version = Version(header.sender, body.version, header, None, home=base.home)
        try:
            with _refusing():
                return self._noted(version, base.stored.changed(body, parts))
        except BaseException:
            cut(base, self._tables.get(body.table_id, ()))
            raise

    def tended(self, table_id: bytes) -> tuple[Version, ...]:
        """Return versions as they shall be kept, since versions before them ended, or none."""
        self._lock.check(StoreError, "tables")
        done: list[Version] = []
        versions = self._tables.get(table_id, ())
        for home in {each.home for each in versions}:
            group = sharing(versions, home)
            with _refusing():
                tables = tended([stored.limbs for _, stored in group]) if group else []
                for (version, stored), table in zip(group, tables, strict=bool(tables)):
                    if table is not stored.limbs:
                        done.append(self._noted(version, stored.with_limbs(table)))
        return tuple(done)

    def erase(self, table_id: bytes) -> None:
        """Overwrite the rows that no version has any more."""
        self._lock.check(StoreError, "tables")
        for home in {each.home for each in self._tables.get(table_id, ())}:
            for _, stored in sharing(self._tables.get(table_id, ()), home)[:1]:
                if stored.limbs.room is not None:
                    with _refusing():
                        stored.limbs.room.erase()

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table, at once and durably; without any, forget it."""
        with self._changing:
            self._lock.check(StoreError, "tables")
            self._write(table_id, versions)
        self._staging.passed(table_id, versions)

    def discard(self, version: Version) -> None:
        """Remove what was built, unless the table's file names it after all."""
        with self._guard:
            self._built -= {version.home, _place(version)}
        cut(version, itertools.chain(*self._tables.values()))
        if self._lock.held:
            with self._changing:
                if self._lock.held:
                    self._clean(version.home.partition("-")[0])

    def place(self, version: Version) -> Path:
        """Return the folder of a version's data, of which nothing may be changed."""
        return self._folder / version.home

    @property
    def littered(self) -> bool:
        """Whether something is still there that was to be removed and could not be."""
        return bool(self._litter) or self._staging.littered

    def sweep(self) -> None:
        """Remove what could not be removed when it was to be."""
        self._lock.check(StoreError, "tables")
        self._staging.sweep()
        with self._changing:
            for table in sorted(self._litter):
                self._clean(table)
        if self.littered:
            raise StoreError("tables: what ended cannot be removed")

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

    def _noted(self, version: Version, stored: Changing) -> Version:
        """Write an index for a version whose rows are where those of another one are."""
        made = replace(version, stored=stored, index=f"index-{secrets.token_hex(8)}")
        with self._guard:
            self._built.add(_place(made))
        try:
            stored.note(self._folder / made.home, made.index)
        except BaseException:
            with self._guard:
                self._built.discard(_place(made))
            raise
        return made

    def _entries(self, table: str) -> tuple[Entry, ...]:
        file = self._folder / f"table-{table}"
        with refusing(StoreError, "table"):
            data = file.read_bytes() if file.exists() else None
        if data is None:
            return ()
        found = unpack(data, FORM, TableFile, name="table", error=StoreError).content.versions
        if not plausible(table, found):
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
                if not entry.withdrawn:
                    stored = MADE_BY[entry.upload.kind].open(
                        self._folder / entry.home, self._ballots, index=entry.index, verify=verify
                    )
            except OmpdError as error:
                if is_exhausted(error):
                    # To send all tables again would not help.
                    raise StoreError(f"tables: {error}") from None
                self.damaged[table] = f"version {entry.version}: {error}"
            versions.append(Version(stored=stored, **msgspec.structs.asdict(entry)))
        self._tables[bytes.fromhex(table)] = _together(versions)

    def _write(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        table = table_id.hex()
        entries = tuple(
            Entry(
                each.owner, each.version, each.upload, each.receipt, each.asked, each.expires,
                each.home, each.index, each.past, each.withdrawn,
            )
            for each in versions
        )  # fmt: skip
        with refusing(StoreError, "tables"):
            # The data must not be lost when the file that names them is not.
            sync_folder(self._folder)
            file = self._folder / f"table-{table}"
            if entries:
                write_private(file, pack(FORM, TableFile(entries)).parts)
            else:
                file.unlink(missing_ok=True)
                sync_folder(self._folder)
        if versions:
            self._tables[table_id] = versions
        else:
            self._tables.pop(table_id, None)
        with self._guard:
            self._built.difference_update(each.home for each in versions)
            self._built.difference_update(_place(each) for each in versions)
        if all(each.stored is not None or each.withdrawn for each in versions):
            self.damaged.pop(table, None)
        # Jobs on their way still read what they have mapped.
        self._clean(table)

    def _clean(self, table: str, homes: Iterable[str] | None = None) -> None:
        """Remove data of a table that its file does not name; what cannot be removed is noted.

        If the file cannot be read, all stays as it is.
        """
        try:
            entries = self._entries(table)
        except OmpdError:
            return
        named = {entry.home for entry in entries} | {_place(entry) for entry in entries}
        if homes is None:
            homes = [path.name for path in self._folder.glob(f"{table}-*")]
        left = False
        for home in homes:
            if not self._is_spared(home, named):
                shutil.rmtree(self._folder / home, ignore_errors=True)
                left = left or (self._folder / home).exists()
                continue
            try:
                for path in (self._folder / home).iterdir():
                    if INDEX_FILE.fullmatch(path.name) and not self._is_spared(
                        f"{home}/{path.name}", named
                    ):
                        path.unlink(missing_ok=True)
            except OSError as error:
                left = left or not isinstance(error, FileNotFoundError)
        (self._litter.add if left else self._litter.discard)(table)

    def _is_spared(self, place: str, named: set[str]) -> bool:
        with self._guard:
            return place in named or place in self._built


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Raise what the file system refuses as an error of the place."""
    problem = ""
    cause = None
    try:
        yield
    except TableError as error:
        problem, cause = str(error), error.__cause__
    if problem:
        raise StoreError(f"tables: {problem}") from cause


def _place(version: Version | Entry) -> str:
    """Where the index of a version is."""
    return f"{version.home}/{version.index}"


def _together(versions: list[Version]) -> tuple[Version, ...]:
    """Let versions that lie in one place grow in one room: that of the newest."""
    rooms: dict[str, Room] = {}
    moved = []
    for each in versions:
        stored = each.stored
        if isinstance(stored, Changing) and (own := stored.limbs.room) is not None:
            room = rooms.setdefault(each.home, own)
            values = room.seen(len(stored.limbs))
            moved.append(replace(each, stored=stored.with_limbs(stored.limbs.moved(room, values))))
        else:
            moved.append(each)
    return tuple(moved)
