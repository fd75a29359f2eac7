"""Limb tables on disk: mapped limbs, stored index, atomic changes.

A table is a folder with two files.

``limbs-<16 hex digits>``
    The blinded values and nothing else: little-endian uint64 in C order (row, coordinate, limb).
    Mapped, never read as a whole by a search. Rows beyond the number that the index names do not
    count; a writer that died may have left some.
``index``, or ``index-<16 hex digits>`` for each version in a cloud's folder
    Everything that stays in memory, packed as `ompd.arrays` has it; `limb_index.Head` names the
    limb file and has its shape and the digests of its blocks.

Whoever changes a table first writes limbs where no index points yet, syncs them, and then replaces
``index`` by renaming. A crash or an error at any moment leaves the old table or the new one; what
else it leaves is removed when the table is next opened or changed. The digests find damage and
mix-ups; they are no protection against an attacker who can write to the folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ompd.arrays import (
    I64,
    U64,
    Array,
    Progress,
    block_digests,
    file_digests,
    write_values,
)
from ompd.errors import TableError, VersionError
from ompd.files import (
    FolderLock,
    refusing,
    take_over,
)
from ompd.search import Index, LimbTable, build_index
from ompd.stores.tables.growth import NOBODY, FileRoom
from ompd.stores.tables.limb_folder import (
    exclusive,
    make_table_folder,
    next_generation,
    sweep_limbs,
)
from ompd.stores.tables.limb_index import INDEX, Facts, Head, read_index, write_index


class TableFolder:
    """A table on disk, opened for searching and for changes.

    Get one from `create` or `open`. `table` is an ordinary `LimbTable` whose limbs are mapped;
    tables handed out earlier stay valid and unchanged when rows are appended or removed.

    A change that fails because of the disk raises `TableError`. The table is as before then, and
    the change may be tried again; if the folder could not be synced at the very end, the change is
    in place, trying again raises `VersionError`, and `open` shows it.

    Attributes
    ----------
    path : Path
    table : LimbTable
    generation : int
        Number of changes since the folder was created.
    facts : mapping of str to int or bytes
        What was given with the table.
    """

    def __init__(self, path: Path, head: Head, table: LimbTable) -> None:
        self.path = path
        self.table = table
        self._head = head

    @property
    def generation(self) -> int:
        """Number of changes since the folder was created."""
        return self._head.generation

    @property
    def facts(self) -> Facts:
        """What was given with the table."""
        return self._head.facts

    def __repr__(self) -> str:
        return f"<TableFolder {self.table!r}, generation {self.generation}>"

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, int, int],
        labels: I64,
        classes: int,
        fill: Callable[[U64, int], None],
        *,
        progress: Progress | None = None,
    ) -> TableFolder:
        """Write a table block by block and index it; replaces a table that is already there.

        Parameters
        ----------
        path : path
            Folder; its parent must exist.
        shape : tuple of int
            Rows, coordinates, limbs.
        labels : int64 array of shape (rows,)
        classes : int
        fill : callable
            ``fill(part, first)`` overwrites `part`, a writable map of the rows from `first` on.
            Called for consecutive parts of at most 65536 rows, so memory stays bounded.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        TableError
            If the shape is impossible or the folder is something else.
        LabelError
            If labels and shape do not fit.
        """
        if min(shape) < 1:
            raise TableError("shape: expected at least one row, coordinate and limb")
        half = (lambda share: progress(share / 2)) if progress else None
        rest = (lambda share: progress(0.5 + share / 2)) if progress else None

        def indexed(values: U64) -> LimbTable:
            return LimbTable(values, labels, classes, build_index(values, progress=rest))

        return cls._written(Path(path), shape, fill, indexed, {}, half)

    @classmethod
    def save(
        cls, path: str | os.PathLike[str], table: LimbTable, facts: Facts | None = None
    ) -> TableFolder:
        """Write a table that is in memory, with its index.

        Raises
        ------
        TableError
            If the folder is something else, or the file system refuses.
        """

        def fill(part: Array, first: int) -> None:
            part[...] = table.limbs[first : first + len(part)]

        def mapped(values: U64) -> LimbTable:
            return LimbTable(values, table.labels, table.classes, table.index)

        return cls._written(Path(path), table.limbs.shape, fill, mapped, facts or {}, None)

    @classmethod
    def adopt(
        cls, path: str | os.PathLike[str], values: Path, table: LimbTable, facts: Facts
    ) -> TableFolder:
        """Make a table's folder around a file that holds just its limbs.

        Parameters
        ----------
        path : path
        values : Path
            On the same file system, and not changed any more.
        table : LimbTable
        facts : Facts

        Raises
        ------
        TableError
            As `save`.
        """

        def mapped(limbs: U64) -> LimbTable:
            return LimbTable(limbs, table.labels, table.classes, table.index)

        def link(file: Path) -> tuple[bytes, ...]:
            with refusing(TableError, "limbs"):
                take_over(values, file)
                return file_digests(file, table.limbs[0].nbytes, len(table))
            raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)

        return cls._made(Path(path), table.limbs.shape, link, mapped, facts)

    @classmethod
    def _written(
        cls,
        folder: Path,
        shape: tuple[int, int, int],
        fill: Callable[[Array, int], None],
        tabled: Callable[[U64], LimbTable],
        facts: Facts,
        progress: Progress | None,
    ) -> TableFolder:
        def write(file: Path) -> tuple[bytes, ...]:
            return write_values(file, shape, "<u8", fill, progress, name="limbs", error=TableError)

        return cls._made(folder, shape, write, tabled, facts)

    @classmethod
    def _made(
        cls,
        folder: Path,
        shape: tuple[int, int, int],
        write: Callable[[Path], tuple[bytes, ...]],
        tabled: Callable[[U64], LimbTable],
        facts: Facts,
    ) -> TableFolder:
        """Make a folder whose file of limbs `write` makes, and of which it returns the digests."""
        make_table_folder(folder)
        with exclusive(folder):
            generation = next_generation(folder)
            name = f"limbs-{secrets.token_hex(8)}"
            try:
                file = folder / name
                digests = write(file)
                room = FileRoom(file, shape, digests, NOBODY)
                table = tabled(room.seen(shape[0]))
                table = table.moved(room, table.limbs)
                head = write_index(folder, table, name, generation, facts, digests, NOBODY)
            finally:
                sweep_limbs(folder)
        return cls(folder, head, table)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        index: str = INDEX,
        verify: bool = True,
        mend: bool = True,
    ) -> TableFolder:
        """Open a table.

        Parameters
        ----------
        path : path
        index : str
            Which file of the folder is its index; see `note`.
        verify : bool, default True
            Also compare the digests of all limbs, which reads the whole file once. Header and
            index are always verified.
        mend : bool, default True
            Also clear up after a writer that died. Without, nothing is written.

        Raises
        ------
        TableError
            If the folder is missing, foreign, cut or damaged.
        VersionError
            If the format is newer than this library.
        """
        folder = Path(path)
        head, arrays = read_index(folder, index)
        if mend:
            with contextlib.suppress(OSError):
                # Not where somebody writes just now, or where only reading is allowed.
                lock = FolderLock(folder)
                sweep_limbs(folder)
                lock.release()
        try:
            labels, blank = arrays.pop("labels").astype(np.int64), arrays.pop("blank")
            fields_of_index: dict[str, Any] = {**arrays, **head.scalars}
            indexed = Index(**fields_of_index)
        except (KeyError, TypeError):
            raise TableError("index: expected the arrays of an index") from None
        room = FileRoom(folder / head.limb_file, head.shape, head.blocks, blank)
        values = room.seen(head.rows)
        if mend:
            # What erased them may have ended before it was done.
            room.erase()
        if verify and block_digests(values) != head.blocks:
            raise TableError("limbs: a block differs from its digest")
        return cls(folder, head, LimbTable(values, labels, head.classes, indexed, room))

    @staticmethod
    def note(folder: Path, table: LimbTable, facts: Facts, name: str) -> None:
        """Write an index of its own for a table whose limbs are in the folder's file.

        A folder with several is changed by nothing else than `LimbTable` and this.

        Raises
        ------
        TableError
            If the file system refuses.
        """
        room = table.room
        assert isinstance(room, FileRoom)  # noqa: S101  (it came from such a folder)
        blocks = room.blocks(table.limbs)
        write_index(folder, table, room.name, 0, facts, blocks, room.blank, name)

    def append(self, limbs: U64, labels: I64) -> None:
        """Add rows behind the last one; they are scanned, not indexed, until `rebuild`.

        Parameters
        ----------
        limbs : uint64 array of shape (count, coordinates, limbs)
        labels : int64 array of shape (count,)

        Raises
        ------
        TableError, LabelError
            If the rows do not fit the table.
        VersionError
            If somebody else changed the folder since it was opened.
        """
        self.table.check_rows(limbs, labels)
        with self._changing():
            room = self._room
            try:
                self._change(self.table.extended(limbs, labels))
            except BaseException:
                room.cut(len(self.table))
                raise

    def remove(self, rows: I64) -> None:
        """Hide rows from every later search; the others keep their numbers.

        Parameters
        ----------
        rows : int64 array
            Distinct rows that are still there.

        Raises
        ------
        TableError
            If a row does not exist or was removed before.
        VersionError
            If somebody else changed the folder since it was opened.
        """
        with self._changing():
            self._change(self.table.without(rows))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with exclusive(self.path):
            current, _ = read_index(self.path)
            if (current.limb_file, current.generation) != (
                self._head.limb_file,
                self._head.generation,
            ):
                raise VersionError("table: was changed since it was opened")
            yield

    @property
    def _room(self) -> FileRoom:
        room = self.table.room
        assert isinstance(room, FileRoom)  # noqa: S101  (as it was made or opened)
        return room

    def _change(self, table: LimbTable) -> None:
        head, room = self._head, self._room
        blocks = room.blocks(table.limbs)
        self._head = write_index(
            self.path, table, head.limb_file, head.generation + 1, head.facts, blocks, room.blank
        )
        self.table = table

    def rebuild(self, *, progress: Progress | None = None) -> None:
        """Index appended rows like all others, which speeds up the search after large appends.

        Raises
        ------
        VersionError
            If somebody else changed the folder since it was opened.
        """
        with self._changing():
            self._change(self.table.reindexed(progress=progress))
