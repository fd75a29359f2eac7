"""What a hospital keeps on disk, to go on after a restart.

A folder of mode 0700 holds, for every disease, one file and what it names.

``disease-<32 hex digits>``
    The disease's name, the last version that was ever given, the table that is asked, with its key
    and what encodes, calibrates and advises, and the same of the one that waits for its receipt;
    packed as `ompd.arrays` has it. The digits are a digest of the name.
``<32 hex digits>-<version>``
    A sealed table; see `ompd.sealed.folder`.
``<32 hex digits>-<version>.spool``
    The rows of the table that waits for its receipt, hidden and as they are sent; see `spool`.
``<32 hex digits>.frozen``
    What the versions of a ``hardened`` table have in common.
``lock``
    Locked by the process that has the folder.

Files are replaced as a whole, so a crash leaves the old one or the new one. Damage concerns one
disease: the others open.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ompd.arrays import pack
from ompd.errors import OmpdError, StoreError
from ompd.files import own_folder, refusing, sweep, write_private
from ompd.roles.archive_entries import (
    DISEASE,
    FORM,
    Entry,
    file_name,
    frozen_name,
    names_of,
    read_entry,
    table_name,
    version_name,
    waiting_table,
)
from ompd.roles.frozen import Frozen
from ompd.roles.publication import Published, Waiting
from ompd.roles.retrieval import TableRef
from ompd.roles.spool import Place
from ompd.roles.storage import (
    restored_table,
    restored_upload,
    stored_table,
    stored_upload,
)

#: Names of the files of diseases, and of the tables and files that they name.
_FROZEN = re.compile(r"[0-9a-f]{32}\.frozen")
_TABLE = re.compile(r"[0-9a-f]{32}-\d+")
_SPOOL = re.compile(r"[0-9a-f]{32}-\d+\.spool")
#: What version 1 had in their place.
_OLD_FILE = "tables"


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
    waiting : Waiting, optional
        The table that waits for its receipt.
    """

    ref: TableRef
    published: Published | None
    frozen: Frozen | None
    waiting: Waiting | None


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
    lost : dict of str to str
        Why an upload that waited cannot be sent any more, by disease.

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
        self._entries: dict[str, Entry] = {}
        self.damaged: dict[str, str] = {}
        self.lost: dict[str, str] = {}
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

    def check_profile(self, profile: str, *, noisy: bool) -> None:
        """Refuse what another profile left, or noise without a ledger; leaves hints alone.

        Raises
        ------
        StoreError
        """
        for entry in self._entries.values():
            tables = [each for each in (entry.asked, waiting_table(entry)) if each is not None]
            found = {each.profile for each in tables} | ({"hardened"} if entry.frozen else set())
            for other in sorted(found - {profile}):
                raise StoreError(f"state: has tables of the profile {other!r}")
            if not noisy and any(each.noise is not None for each in tables):
                # Queries would go out without it.
                raise StoreError("state: has noisy tables; expected epsilon and ledger")

    def load(self) -> dict[str, Kept]:
        """Open all tables and take their hints off the disk, by disease.

        Hints alone that are damaged or an old copy count as lost: that table needs a new window.
        What is wrong with a table that cannot be opened goes to `damaged`, with an upload to
        `lost`.
        """
        self.check()
        kept = {}
        for disease, entry in self._entries.items():
            table = frozen = waiting = None
            try:
                frozen = self._frozen(entry)
                if entry.asked is not None:
                    folder = self._folder / table_name(entry, entry.asked)
                    table = restored_table(entry.asked, entry.table_id, folder)
            except (OmpdError, ValueError) as error:
                self.damaged[disease] = _reason(error)
            try:
                if entry.waiting is not None:
                    name = table_name(entry, entry.waiting.table)
                    waiting = restored_upload(
                        entry.waiting, entry.table_id, self._folder / name,
                        self._folder / f"{name}.spool",
                    )  # fmt: skip
            except (OmpdError, ValueError) as error:
                self.lost[disease] = _reason(error)
            ref = TableRef(entry.table_id, entry.last)
            kept[disease] = Kept(ref, table, frozen, waiting)
        return kept

    def reserve(self, disease: str, ref: TableRef) -> None:
        """Remember that a version was given, before its upload leaves."""
        self.check()
        with self._lock:
            entry = self._entries.get(disease)
            if entry is None:
                entry = Entry(disease, ref.table_id, ref.version)
            self._replace(msgspec.structs.replace(entry, last=ref.version))

    def freeze(self, disease: str, frozen: Frozen) -> None:
        """Remember what the next version will have in common with this one, before it leaves."""
        self.check()
        with self._lock:
            entry = self._entries[disease]
            with refusing(StoreError, "state"):
                write_private(self._folder / frozen_name(entry), [frozen.to_bytes()])
            self._replace(msgspec.structs.replace(entry, frozen=True))
            self._mended(disease)

    @contextlib.contextmanager
    def making(self, disease: str, ref: TableRef) -> Iterator[Place]:
        """Give a place for the rows of a version; nothing is left of one that comes to nothing."""
        try:
            yield self._place(ref)
        except BaseException:
            self.drop(disease, ref)
            raise

    def _place(self, ref: TableRef) -> Place:
        """Return what opens the file for the rows of a version."""
        file = self._folder / f"{version_name(ref.table_id, ref.version)}.spool"
        return lambda: os.open(
            file, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600
        )

    def drop(self, disease: str, ref: TableRef) -> None:
        """Remove what was written of a version that came to nothing, as far as possible."""
        with self._lock, contextlib.suppress(OmpdError, OSError):
            if not self._folder_lock.held:
                return
            name = version_name(ref.table_id, ref.version)
            file = self._folder / file_name(disease)
            # After an error at the very end, the disk may say otherwise than the memory.
            if not file.exists() or name not in names_of(read_entry(file)):
                self._remove(name)

    def wait(self, disease: str, waiting: Waiting) -> None:
        """Save a table that waits for its receipt, and remove one that waited before."""
        self.check()
        ref = waiting.published.ref
        with self._lock:
            waiting.pieces.spool.sync()
            folder = self._folder / version_name(ref.table_id, ref.version)
            entry = self._entries[disease]
            now = msgspec.structs.replace(entry, waiting=stored_upload(waiting, folder))
            self._replace(now)
            self.lost.pop(disease, None)
            self._clean(entry, now)

    def note(self, disease: str, waiting: Waiting) -> None:
        """Remember how far the upload that waits is, if possible: the cloud knows it as well."""
        self.check()
        with self._lock, contextlib.suppress(StoreError):
            entry = self._entries[disease]
            kept = entry.waiting
            if kept is not None and kept.nonce == waiting.nonce:
                now = msgspec.structs.replace(kept, have=waiting.pieces.have)
                self._replace(msgspec.structs.replace(entry, waiting=now))

    def keep(self, disease: str, published: Published) -> None:
        """Save a table that is asked from now on, and remove the one before."""
        self.check()
        ref = published.ref
        with self._lock:
            folder = self._folder / version_name(ref.table_id, ref.version)
            entry = self._entries[disease]
            asked = stored_table(published, folder)
            now = msgspec.structs.replace(entry, asked=asked, waiting=None)
            self._replace(now)
            self._mended(disease)
            # Still asked by jobs on their way, from memory; on disk it is of no more use.
            self._clean(entry, now)

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
        """Remove what is asked and what waits; the last version that was given is remembered."""
        self.check()
        with self._lock:
            entry = self._entries[disease]
            now = msgspec.structs.replace(entry, asked=None, waiting=None)
            self._replace(now)
            self._clean(entry, now)

    def _read_entries(self) -> None:
        if (self._folder / _OLD_FILE).exists():
            raise StoreError("state: is of an older version; publish into a new folder")
        sweep(self._folder)
        names = sorted(path.name for path in self._folder.iterdir())
        for name in filter(DISEASE.fullmatch, names):
            try:
                entry = read_entry(self._folder / name)
            except OmpdError as error:
                self.damaged[name] = str(error)
            else:
                self._entries[entry.disease] = entry
        if not self.damaged:
            # What a crash left behind without a name. A damaged file may name it.
            named = {name for entry in self._entries.values() for name in names_of(entry)}
            for name in names:
                if name in named:
                    continue
                if _TABLE.fullmatch(name):
                    self._remove(name)
                elif _FROZEN.fullmatch(name) or _SPOOL.fullmatch(name):
                    # One goes with its table's folder.
                    (self._folder / name).unlink(missing_ok=True)

    def _mended(self, disease: str) -> None:
        self.damaged.pop(disease, None)
        self.damaged.pop(file_name(disease), None)

    def _clean(self, before: Entry, now: Entry) -> None:
        for name in names_of(before) - names_of(now):
            if _TABLE.fullmatch(name):
                self._remove(name)
            elif _SPOOL.fullmatch(name):
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()

    def _remove(self, name: str) -> None:
        """Remove a version's files as far as possible; the next opening tries again."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._folder / f"{name}.spool").unlink(missing_ok=True)

    def _frozen(self, entry: Entry) -> Frozen | None:
        if not entry.frozen:
            return None
        with refusing(StoreError, "state"):
            return Frozen.from_bytes((self._folder / frozen_name(entry)).read_bytes())

    def _replace(self, entry: Entry) -> None:
        file = self._folder / file_name(entry.disease)
        with refusing(StoreError, "state"):
            write_private(file, pack(FORM, entry).parts)
        self._entries[entry.disease] = entry


def _reason(error: Exception) -> str:
    # Of others the text could hold what is in the file.
    return str(error) if isinstance(error, OmpdError) else "state: is damaged"
