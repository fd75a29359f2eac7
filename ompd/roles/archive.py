"""What a hospital keeps on disk, to go on after a restart.

A folder of mode 0700 holds, for every disease, one file and what it names.

``disease-<32 hex digits>``
    The disease's name, the last version that was ever given, and the table that is asked, with what
    encodes, calibrates and advises; packed as `ompd.arrays` has it. The digits are a digest of the
    name.
``<32 hex digits>-<version>``
    A sealed table; see `ompd.sealed.folder`.
``<32 hex digits>.frozen``
    What the versions of a ``hardened`` table have in common. The table itself is not kept.
``lock``
    Locked by the process that has the folder.

Files are replaced as a whole, so a crash leaves the old one or the new one. Damage concerns one
disease: the others open.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ompd.arrays import Form, pack, unpack
from ompd.errors import HintStateError, OmpdError, StoreError
from ompd.files import own_folder, refusing, sweep, write_private
from ompd.roles.encoders import (
    StoredEncoder,
    StoredFilling,
    restored_encoder,
    restored_filling,
    stored_encoder,
    stored_filling,
)
from ompd.roles.frozen import Frozen
from ompd.roles.publication import Published
from ompd.roles.retrieval import SealedRetrieval, TableRef
from ompd.sealed import SealedTable
from ompd.search.calibration import Calibration
from ompd.search.decision import Rule

_FORM = Form("disease", 5)
#: Names of the files of diseases, and of the tables and files that they name.
_DISEASE = re.compile(r"disease-[0-9a-f]{32}")
_FROZEN = re.compile(r"[0-9a-f]{32}\.frozen")
_TABLE = re.compile(r"[0-9a-f]{32}-\d+")
#: What version 1 had in their place.
_OLD_FILE = "tables"


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
    filling: StoredFilling
    encoder: StoredEncoder

    def __repr__(self) -> str:
        return "<_Asked>"


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One disease: the content of its file."""

    disease: str
    table_id: bytes
    last: int
    asked: _Asked | None = None
    # Whether there is a file of what versions have in common.
    frozen: bool = False

    def __repr__(self) -> str:
        return "<_Entry>"


@dataclass(frozen=True, slots=True, repr=False)
class Kept:
    """A disease as it was found on disk.

    Attributes
    ----------
    ref : TableRef
        With the last version that was ever given.
    published : Published, optional
        The table that is asked, if there is one.
    frozen : Frozen, optional
        What the last version of a `hardened` table had.
    """

    ref: TableRef
    published: Published | None
    frozen: Frozen | None


class Archive:
    """The folder of one hospital, used by one process at a time.

    Parameters
    ----------
    folder : path
        Made if it is missing; its parent exists. If it holds something, nobody else may enter it.

    Attributes
    ----------
    damaged : dict of str to str
        Why a disease's state cannot be used, by disease, or by file where the name was lost with
        it. Saving a new table mends it.

    Raises
    ------
    StoreError
        From every method but `close`, if the folder or a file in it cannot be used, or this process
        was forked from the one that opened it. After an error, another try may follow.
    HintStateError
        If a new table cannot be saved.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self.damaged: dict[str, str] = {}
        self._folder_lock = own_folder(self._folder, StoreError, "state")
        try:
            with refusing(StoreError, "state"):
                self._read_entries()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have the folder."""
        self._folder_lock.release()

    @property
    def held(self) -> bool:
        """Whether this process has the folder."""
        return self._folder_lock.held

    def check(self) -> None:
        """Refuse a process that was forked from the one with the folder, or closed it."""
        self._folder_lock.check(StoreError, "state")

    def check_profile(self, profile: str) -> None:
        """Refuse what another profile left; takes no hints off the disk."""
        for entry in self._entries.values():
            for other, found in (("sealed", entry.asked is not None), ("hardened", entry.frozen)):
                if found and other != profile:
                    raise StoreError(f"state: has tables of the profile {other!r}")

    def load(self) -> dict[str, Kept]:
        """Open all tables and take their hints off the disk, by disease.

        Hints alone that are damaged or an old copy count as lost: that table needs a new window.
        What is wrong with a table that cannot be opened goes to `damaged`.
        """
        self.check()
        kept = {}
        for disease, entry in self._entries.items():
            table = frozen = None
            try:
                frozen = self._frozen(entry)
                table = self._published(entry)
            except OmpdError as error:
                self.damaged[disease] = str(error)
            kept[disease] = Kept(TableRef(entry.table_id, entry.last), table, frozen)
        return kept

    def reserve(self, disease: str, ref: TableRef) -> None:
        """Remember that a version was given, before its upload leaves."""
        self.check()
        with self._lock:
            entry = self._entries.get(disease)
            if entry is None:
                entry = _Entry(disease, ref.table_id, ref.version)
            self._replace(msgspec.structs.replace(entry, last=ref.version))

    def freeze(self, disease: str, frozen: Frozen) -> None:
        """Remember what the next version will have in common with this one, before it leaves."""
        self.check()
        with self._lock:
            entry = self._entries[disease]
            with refusing(StoreError, "state"):
                write_private(self._folder / _frozen_name(entry), [frozen.to_bytes()])
            self._replace(msgspec.structs.replace(entry, frozen=True))
            self._mended(disease)

    def keep(self, disease: str, published: Published) -> None:
        """Save a table that is asked from now on, and remove the one before."""
        self.check()
        retrieval, encoder = published.retrieval, published.encoder
        assert isinstance(retrieval, SealedRetrieval)  # noqa: S101  (sealed hospitals only)
        assert published.rule is not None  # noqa: S101  (confirmed)
        ref, calibration = published.ref, published.rule.calibration
        asked = _Asked(
            folder=f"{ref.table_id.hex()}-{ref.version}",
            version=ref.version,
            cloud=published.cloud,
            rows=published.rows,
            k=published.k,
            findings=published.findings,
            calibration=(calibration.slope, calibration.offsets) if calibration else None,
            filling=stored_filling(published.filling),
            encoder=stored_encoder(encoder),
        )
        with self._lock:
            # It may have been saved by an earlier try that went no further, or that left something
            # behind which is no table.
            if not retrieval.table.saved:
                self._remove(asked.folder)
                retrieval.table.save(self._folder / asked.folder)
            before = self._entries[disease].asked
            self._replace(msgspec.structs.replace(self._entries[disease], asked=asked))
            self._mended(disease)
        if before:
            # Still asked by jobs on their way, from memory; on disk it is of no more use.
            self._remove(before.folder)

    def changed(self, disease: str, published: Published) -> None:
        """Save what a change made of the table that is asked."""
        self.check()
        with self._lock:
            asked = self._entries[disease].asked
            if asked is not None:
                now = msgspec.structs.replace(
                    asked, version=published.ref.version, rows=published.rows
                )
                self._replace(msgspec.structs.replace(self._entries[disease], asked=now))

    def withdrawn(self, disease: str) -> None:
        """Remove the table that is asked; the last version that was given is remembered."""
        self.check()
        with self._lock:
            before = self._entries[disease].asked
            self._replace(msgspec.structs.replace(self._entries[disease], asked=None))
        if before:
            self._remove(before.folder)

    def _read_entries(self) -> None:
        if (self._folder / _OLD_FILE).exists():
            raise StoreError("state: is of an older version; publish into a new folder")
        sweep(self._folder)
        names = sorted(path.name for path in self._folder.iterdir())
        for name in filter(_DISEASE.fullmatch, names):
            try:
                with refusing(StoreError, "file"):
                    data = (self._folder / name).read_bytes()
                entry = unpack(data, _FORM, _Entry, name="file", error=StoreError).content
            except OmpdError as error:
                self.damaged[name] = str(error)
            else:
                self._entries[entry.disease] = entry
        if not self.damaged:
            # What a crash left behind without a name. A damaged file may name it.
            named = {entry.asked.folder for entry in self._entries.values() if entry.asked}
            named |= {_frozen_name(entry) for entry in self._entries.values() if entry.frozen}
            for name in names:
                if _TABLE.fullmatch(name) and name not in named:
                    self._remove(name)
                elif _FROZEN.fullmatch(name) and name not in named:
                    (self._folder / name).unlink()

    def _mended(self, disease: str) -> None:
        self.damaged.pop(disease, None)
        self.damaged.pop(file_name(disease), None)

    def _remove(self, name: str) -> None:
        """Remove a table as far as possible; the next opening tries again."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def _frozen(self, entry: _Entry) -> Frozen | None:
        if not entry.frozen:
            return None
        with refusing(StoreError, "state"):
            return Frozen.from_bytes((self._folder / _frozen_name(entry)).read_bytes())

    def _published(self, entry: _Entry) -> Published | None:
        asked = entry.asked
        if asked is None:
            return None
        ref = TableRef(entry.table_id, asked.version)
        encoder = restored_encoder(asked.encoder)
        filling = restored_filling(asked.filling, encoder)
        table = _open(self._folder / asked.folder)
        return Published(
            filling=filling,
            encoder=encoder,
            retrieval=SealedRetrieval(ref, table, len(asked.findings)),
            ref=ref,
            cloud=asked.cloud,
            rows=asked.rows,
            k=asked.k,
            findings=asked.findings,
            rule=Rule(Calibration(*asked.calibration) if asked.calibration else None),
        )

    def _replace(self, entry: _Entry) -> None:
        file = self._folder / file_name(entry.disease)
        with refusing(StoreError, "state"):
            write_private(file, pack(_FORM, entry).parts)
        self._entries[entry.disease] = entry


def file_name(disease: str) -> str:
    """Name of the file of a disease, which may hold characters that no file name can."""
    digest = hashlib.blake2b(disease.encode(errors="surrogatepass"), digest_size=16)
    return f"disease-{digest.hexdigest()}"


def _frozen_name(entry: _Entry) -> str:
    return f"{entry.table_id.hex()}.frozen"


def _open(folder: Path) -> SealedTable:
    """Open a table; hints that cannot be trusted are given up."""
    try:
        return SealedTable.open(folder)
    except HintStateError:
        return SealedTable.open(folder, fresh=True)
