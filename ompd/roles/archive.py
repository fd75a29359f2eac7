"""What a hospital keeps on disk, to go on after a restart.

A folder of mode 0700 holds the file ``tables`` and one folder per sealed table. ``tables`` names,
for every disease, the last version that was ever given and the table that is asked, with what
encodes, calibrates and advises. Of a ``hardened`` table, a file ``*.frozen`` has what its versions
have in common, and the table itself is not kept. Files are replaced as a whole, so a crash leaves
the old one or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ompd.calibration import Calibration
from ompd.decision import Rule
from ompd.errors import HintStateError, StoreError
from ompd.files import lock_folder, sync_folder
from ompd.roles.encoders import StoredEncoder, restored_encoder, stored_encoder
from ompd.roles.frozen import Frozen
from ompd.roles.publication import Published
from ompd.roles.retrieval import BucketRetrieval, Place
from ompd.sealed import SealedTable

_FILE = "tables"
_VERSION = 2
#: Names of the folders of tables.
_TABLE = re.compile(r"[0-9a-f]{32}-\d+")


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table that is asked."""

    folder: str
    version: int
    cloud: str
    rows: int
    k: int
    findings: tuple[tuple[str, str], ...]
    # Slope and offsets of the calibration; none where the majority decides.
    calibration: tuple[float, tuple[float, ...]] | None
    encoder: StoredEncoder

    def __repr__(self) -> str:
        return "<_Asked>"


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One disease."""

    table_id: bytes
    last: int
    asked: _Asked | None = None
    # Whether there is a file of what versions have in common.
    frozen: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the file."""

    version: int
    diseases: dict[str, _Entry]


@dataclass(frozen=True, slots=True, repr=False)
class Kept:
    """A disease as it was found on disk.

    Attributes
    ----------
    place : Place
        With the last version that was ever given.
    published : Published, optional
        The table that is asked, if there is one.
    frozen : Frozen, optional
        What the last version of a `hardened` table had.
    """

    place: Place
    published: Published | None
    frozen: Frozen | None


class Archive:
    """The folder of one hospital, used by one process at a time.

    Parameters
    ----------
    folder : path
        Made if it is missing; its parent exists.

    Raises
    ------
    StoreError
        From every method, if the folder or a file in it cannot be used.
    HintStateError
        If a table is in use elsewhere, missing or damaged. Hints alone that are damaged or an old
        copy count as lost: that table needs a new window.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        with _translated():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._folder.chmod(0o700)
            self._unlock = self._locked()
            file = self._folder / _FILE
            if file.exists():
                self._entries = _entries(file.read_bytes())

    def close(self) -> None:
        """Let another process have the folder."""
        self._unlock()

    def load(self) -> dict[str, Kept]:
        """Open all tables and take their hints off the disk, by disease.

        Removes tables that a crash left behind without a name.
        """
        named = {entry.asked.folder for entry in self._entries.values() if entry.asked}
        for path in self._folder.iterdir():
            if _TABLE.fullmatch(path.name) and path.name not in named:
                shutil.rmtree(path, ignore_errors=True)
        return {disease: self._kept(entry) for disease, entry in self._entries.items()}

    def reserve(self, disease: str, place: Place) -> None:
        """Remember that a version was given, before its upload leaves."""
        with self._lock:
            entry = self._entries.get(disease) or _Entry(place.table_id, 0)
            self._replace(disease, msgspec.structs.replace(entry, last=place.version))

    def freeze(self, disease: str, frozen: Frozen) -> None:
        """Remember what the next version will have in common with this one, before it leaves."""
        with self._lock:
            entry = self._entries[disease]
            self._write(_frozen_name(entry), frozen.to_bytes())
            self._replace(disease, msgspec.structs.replace(entry, frozen=True))

    def keep(self, disease: str, published: Published) -> None:
        """Save a table that is asked from now on, and remove the one before."""
        retrieval, encoder = published.retrieval, published.encoder
        assert isinstance(retrieval, BucketRetrieval)  # noqa: S101  (sealed hospitals only)
        assert published.rule is not None  # noqa: S101  (confirmed)
        place, calibration = published.place, published.rule.calibration
        asked = _Asked(
            folder=f"{place.table_id.hex()}-{place.version}",
            version=place.version,
            cloud=published.cloud,
            rows=published.rows,
            k=published.k,
            findings=published.findings,
            calibration=(calibration.slope, calibration.offsets) if calibration else None,
            encoder=stored_encoder(encoder),
        )
        with self._lock:
            # It may have been saved by an earlier try that went no further.
            if not (self._folder / asked.folder).exists():
                retrieval.table.save(self._folder / asked.folder)
            entry = self._entries[disease]
            self._replace(disease, msgspec.structs.replace(entry, asked=asked))
        if entry.asked:
            # Still asked by jobs on their way, from memory; on disk it is of no more use.
            shutil.rmtree(self._folder / entry.asked.folder, ignore_errors=True)

    def _locked(self) -> Callable[[], object]:
        try:
            descriptor = lock_folder(self._folder)
        except BlockingIOError:
            descriptor = None
        if descriptor is None:
            raise StoreError("state: another process has the folder")
        return weakref.finalize(self, os.close, descriptor)

    def _kept(self, entry: _Entry) -> Kept:
        last = Place(entry.table_id, entry.last)
        asked = entry.asked
        frozen = None
        if entry.frozen:
            with _translated():
                frozen = Frozen.from_bytes((self._folder / _frozen_name(entry)).read_bytes())
        if asked is None:
            return Kept(last, None, frozen)
        place = Place(entry.table_id, asked.version)
        table = _open(self._folder / asked.folder)
        published = Published(
            encoder=restored_encoder(asked.encoder),
            retrieval=BucketRetrieval(place, table, len(asked.findings)),
            place=place,
            cloud=asked.cloud,
            rows=asked.rows,
            k=asked.k,
            findings=asked.findings,
            rule=Rule(Calibration(*asked.calibration) if asked.calibration else None),
        )
        return Kept(last, published, frozen)

    def _replace(self, disease: str, entry: _Entry) -> None:
        entries = self._entries | {disease: entry}
        self._write(_FILE, msgspec.json.encode(_File(_VERSION, entries)))
        self._entries = entries

    def _write(self, name: str, data: bytes) -> None:
        """Put a file into the folder as a whole."""
        spare = self._folder / f"{name}.{secrets.token_hex(4)}"
        with _translated():
            descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                spare.replace(self._folder / name)
            finally:
                spare.unlink(missing_ok=True)
            sync_folder(self._folder)


def _frozen_name(entry: _Entry) -> str:
    return f"{entry.table_id.hex()}.frozen"


def _open(folder: Path) -> SealedTable:
    """Open a table; hints that cannot be trusted are given up."""
    try:
        return SealedTable.open(folder)
    except HintStateError:
        return SealedTable.open(folder, fresh=True)


def _entries(data: bytes) -> dict[str, _Entry]:
    try:
        found = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError:
        found = None
    if found is None:
        raise StoreError(f"{_FILE}: is damaged")
    if found.version != _VERSION:
        raise StoreError(f"{_FILE}: expected version {_VERSION}")
    return found.diseases


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of the file system into ours, which name no path."""
    problem = ""
    try:
        yield
    except OSError as error:
        problem = error.strerror or "cannot be used"
    if problem:
        raise StoreError(f"state: {problem}")
