"""Limb tables on disk: mapped limbs, stored index, atomic changes.

A table is a folder with two files.

``limbs-<16 hex digits>``
    The blinded values and nothing else: little-endian uint64 in C order (row, coordinate, limb).
    Mapped, never read as a whole by a search. Rows beyond the number that the index names do not
    count; a writer that died may have left some.
``index``
    Everything that stays in memory. Its layout, all integers little-endian:

    ======  =====  =================================================================
    offset  bytes  content
    ======  =====  =================================================================
    0       8      magic ``OMPDTBL`` and a zero byte
    8       4      format version, 1
    12      4      length h of the header
    16      h      header, MessagePack (`_Header`)
    16 + h  32     SHA-256 of all bytes before
    ...            the arrays, each at the offset that the header gives, a multiple of 64
    ======  =====  =================================================================

    The header names the limb file, has its shape and the SHA-256 of each of its blocks of 65536
    rows, and of each array the type, shape, offset and SHA-256.

Whoever changes a table first writes limbs where no index points yet, syncs them, and then replaces
``index`` by renaming. A crash or an error at any moment leaves the old table or the new one; what
else it leaves is removed when the table is next opened or changed. The digests find damage and
mix-ups; they are no protection against an attacker who can write to the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ompd.arrays import I64, U64
from ompd.errors import OmpdError, TableError, VersionError
from ompd.files import FolderLock, is_spare, make_folder, sweep, write_behind, write_private
from ompd.search import Index, LimbTable, build_index

_MAGIC = b"OMPDTBL\x00"
_FORMAT = 1
_PREFIX = struct.Struct("<8sII")
_DIGEST = 32
_BLOCK_ROWS = 1 << 16
_ALIGN = 64
#: A header names a few arrays and one digest per block; this is enough for 10**10 rows.
_HEADER_CAP = 16 << 20

_DTYPES = {"|u1", "<u2", "<u4", "<u8", "<i8"}

Progress = Callable[[float], None]


class _Array(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    digest: bytes


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    limb_file: str
    rows: int
    coordinates: int
    limbs: int
    classes: int
    generation: int
    scalars: dict[str, int]
    arrays: tuple[_Array, ...]
    blocks: tuple[bytes, ...]


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
    """

    def __init__(self, path: Path, header: _Header, table: LimbTable) -> None:
        self.path = path
        self.table = table
        self._header = header

    @property
    def generation(self) -> int:
        """Number of changes since the folder was created."""
        return self._header.generation

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
        folder = Path(path)
        if min(shape) < 1:
            raise TableError("shape: expected at least one row, coordinate and limb")
        _make_folder(folder)
        with _exclusive(folder):
            generation = _next_generation(folder)
            name = f"limbs-{secrets.token_hex(8)}"
            try:
                digests = _write_limbs(folder / name, shape, fill, progress)
                values = _map(folder / name, shape)
                half = (lambda share: progress(0.5 + share / 2)) if progress else None
                table = LimbTable(values, labels, classes, build_index(values, progress=half))
                header = _commit(folder, table, name, generation, digests)
            finally:
                _sweep(folder)
        return cls(folder, header, table)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> TableFolder:
        """Open a table.

        Parameters
        ----------
        path : path
        verify : bool, default True
            Also compare the digests of all limbs, which reads the whole file once. Header and
            index are always verified.

        Raises
        ------
        TableError
            If the folder is missing, foreign, cut or damaged.
        VersionError
            If the format is newer than this library.
        """
        folder = Path(path)
        data = _read(folder / "index")
        header, start = _parse_header(data)
        with contextlib.suppress(OSError):
            # Not where somebody writes just now, or where only reading is allowed.
            lock = FolderLock(folder)
            _sweep(folder)
            lock.release()
        arrays = {entry.name: _load(data, entry, start) for entry in header.arrays}
        shape = (header.rows, header.coordinates, header.limbs)
        values = _map(folder / header.limb_file, shape)
        if verify and _digests(values) != header.blocks:
            raise TableError("limbs: a block differs from its digest")
        try:
            labels = arrays.pop("labels").astype(np.int64)
            fields_of_index: dict[str, Any] = {**arrays, **header.scalars}
            index = Index(**fields_of_index)
        except (KeyError, TypeError):
            raise TableError("index: expected the arrays of an index") from None
        return cls(folder, header, LimbTable(values, labels, header.classes, index))

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
        header = self._header
        first = header.rows
        shape = (first + len(limbs), header.coordinates, header.limbs)
        with self._changing():
            path = self.path / header.limb_file
            with _typed("limbs"):
                # Whatever a writer that died left behind the last row is overwritten.
                added = np.ascontiguousarray(limbs, dtype="<u8")
                write_behind(path, first * shape[1] * shape[2] * 8, added.data)
            values = _map(path, shape)
            table = self.table.extended(limbs, labels, whole=values)
            kept = first // _BLOCK_ROWS
            blocks = header.blocks[:kept] + _digests(values, kept)
            self._header = _commit(
                self.path, table, header.limb_file, header.generation + 1, blocks
            )
            self.table = table

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
        header = self._header
        with self._changing():
            table = self.table.without(rows)
            self._header = _commit(
                self.path, table, header.limb_file, header.generation + 1, header.blocks
            )
            self.table = table

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with _exclusive(self.path):
            current, _ = _parse_header(_read(self.path / "index"))
            if (current.limb_file, current.generation) != (
                self._header.limb_file,
                self._header.generation,
            ):
                raise VersionError("table: was changed since it was opened")
            yield

    def rebuild(self, *, progress: Progress | None = None) -> None:
        """Index appended rows like all others, which speeds up the search after large appends.

        Raises
        ------
        VersionError
            If somebody else changed the folder since it was opened.
        """
        header = self._header
        with self._changing():
            table = self.table.reindexed(progress=progress)
            self._header = _commit(
                self.path, table, header.limb_file, header.generation + 1, header.blocks
            )
            self.table = table


# --- writing -----------------------------------------------------------------------------------


def _make_folder(folder: Path) -> None:
    """Create the folder, or make sure that an existing one is a table or empty."""
    with _typed("path"):
        make_folder(folder)
        foreign = any(
            entry.name not in {"index", "lock"}
            and not entry.name.startswith("limbs-")
            and not is_spare(entry.name)
            for entry in folder.iterdir()
        )
    if foreign:
        raise TableError("path: expected an empty folder or a table")


def _next_generation(folder: Path) -> int:
    """Generation that follows the folder's, so that whoever has it open notices the change."""
    with contextlib.suppress(TableError, VersionError):
        return _parse_header(_read(folder / "index"))[0].generation + 1
    return 0


def _write_limbs(
    file: Path,
    shape: tuple[int, int, int],
    fill: Callable[[U64, int], None],
    progress: Progress | None,
) -> tuple[bytes, ...]:
    """Let `fill` write all blocks of a new file; returns their digests."""
    size = math.prod(shape) * 8
    with _typed("limbs"):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with _typed("limbs"):
            # A map of a file with holes would end the process when the disk is full.
            _reserve(descriptor, size)
            area = mmap.mmap(descriptor, size)
        digests = _fill(area, shape, fill, progress)
        with _typed("limbs"):
            os.fsync(descriptor)
        return digests
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def _fill(
    area: mmap.mmap,
    shape: tuple[int, int, int],
    fill: Callable[[U64, int], None],
    progress: Progress | None,
) -> tuple[bytes, ...]:
    rows, coordinates, limbs = shape
    digests = []
    with area:
        # The view lives in a function of its own: a map with views left cannot be closed.
        def block(first: int) -> bytes:
            count = min(_BLOCK_ROWS, rows - first)
            part = np.ndarray(
                (count, coordinates, limbs), "<u8", area, first * coordinates * limbs * 8
            )
            fill(part, first)
            return hashlib.sha256(part.data).digest()

        for first in range(0, rows, _BLOCK_ROWS):
            digests.append(block(first))
            if progress is not None:
                progress(min(rows, first + _BLOCK_ROWS) / rows / 2)
        with _typed("limbs"):
            area.flush()
    return tuple(digests)


def _commit(
    folder: Path, table: LimbTable, limb_file: str, generation: int, blocks: tuple[bytes, ...]
) -> _Header:
    """Replace the index file; the new table exists from the rename on."""
    stored: dict[str, np.ndarray[Any, Any]] = {"labels": table.labels.astype("<u2")}
    scalars = {}
    for field in fields(Index):
        value = getattr(table.index, field.name)
        if isinstance(value, np.ndarray):
            stored[field.name] = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        else:
            scalars[field.name] = int(value)
    entries = []
    offset = 0
    for name, array in stored.items():
        digest = hashlib.sha256(array.data).digest()
        entries.append(_Array(name, array.dtype.str, array.shape, offset, digest))
        offset += -(-array.nbytes // _ALIGN) * _ALIGN
    rows, coordinates, limbs = table.limbs.shape
    header = _Header(
        limb_file, rows, coordinates, limbs, table.classes, generation, scalars, tuple(entries),
        blocks,
    )  # fmt: skip
    encoded = msgspec.msgpack.encode(header)
    prefix = _PREFIX.pack(_MAGIC, _FORMAT, len(encoded)) + encoded
    head = prefix + hashlib.sha256(prefix).digest()
    parts: list[bytes | memoryview] = [head.ljust(_aligned(len(head)), b"\x00")]
    for array in stored.values():
        parts += [array.data, bytes(-array.nbytes % _ALIGN)]
    with _typed("index"):
        write_private(folder / "index", parts)
    return header


def _sweep(folder: Path) -> None:
    """Remove what no index names; whoever still maps limbs keeps them until they close.

    The folder is locked. If it has an index that cannot be read, all stays as it is.
    """
    with contextlib.suppress(OmpdError, OSError):
        named = ""
        if (folder / "index").exists():
            named = _parse_header(_read(folder / "index"))[0].limb_file
        sweep(folder)
        for path in folder.glob("limbs-*"):
            if path.name != named:
                path.unlink()


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's write lock; it falls with the process that holds it."""
    with _typed("lock"):
        lock = FolderLock(folder, wait=True)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _typed(name: str) -> Iterator[None]:
    """Raise what the system refuses as an error of the table."""
    try:
        yield
    except OSError as error:
        raise TableError(f"{name}: {error.strerror}") from None


# --- reading -----------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    with _typed(path.name):
        return path.read_bytes()


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


def _parse_header(data: bytes) -> tuple[_Header, int]:
    """Return the header and where the arrays start."""
    if len(data) < _PREFIX.size or data[:8] != _MAGIC:
        raise TableError("index: is not the index of a table")
    _, version, length = _PREFIX.unpack_from(data)
    if version != _FORMAT:
        raise VersionError(f"index: expected format {_FORMAT}, got {version}")
    end = _PREFIX.size + length
    if length > _HEADER_CAP or len(data) < end + _DIGEST:
        raise TableError("index: is cut short")
    if hashlib.sha256(data[:end]).digest() != data[end : end + _DIGEST]:
        raise TableError("index: header differs from its digest")
    header = None
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        header = msgspec.msgpack.decode(data[_PREFIX.size : end], type=_Header)
    if header is None or not _plausible(header):
        raise TableError("index: expected the header of a table")
    return header, _aligned(end + _DIGEST)


def _plausible(header: _Header) -> bool:
    """Whether the header names a file of this folder and possible sizes."""
    return (
        header.limb_file.startswith("limbs-")
        and header.limb_file[6:].isalnum()
        and min(header.rows, header.coordinates, header.limbs, header.classes) >= 1
        and len(header.blocks) == -(-header.rows // _BLOCK_ROWS)
    )


def _load(data: bytes, entry: _Array, start: int) -> np.ndarray[Any, Any]:
    """Copy one array out of the file, 64-byte aligned, after comparing its digest."""
    if entry.dtype not in _DTYPES or min(entry.shape, default=0) < 0:
        raise TableError("index: expected arrays of integers")
    dtype = np.dtype(entry.dtype)
    size = int(np.prod(entry.shape, dtype=object)) * dtype.itemsize
    first = start + entry.offset
    if entry.offset < 0 or first + size > len(data):
        raise TableError("index: is cut short")
    part = memoryview(data)[first : first + size]
    if hashlib.sha256(part).digest() != entry.digest:
        raise TableError(f"index: array {entry.name} differs from its digest")
    room = np.empty(size + _ALIGN, dtype=np.uint8)
    place = -room.ctypes.data % _ALIGN
    room[place : place + size] = np.frombuffer(part, dtype=np.uint8)
    array = room[place : place + size].view(dtype).reshape(entry.shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _map(path: Path, shape: tuple[int, int, int]) -> U64:
    """Map the limbs of `shape` read-only."""
    try:
        mapped: U64 = np.memmap(path, dtype=np.uint64, mode="r", shape=shape)
    except OSError as error:
        raise TableError(f"limbs: {error.strerror}") from None
    except ValueError:
        raise TableError("limbs: file is shorter than the table") from None
    # A plain array over the map: a memmap's own slicing costs microseconds.
    return np.asarray(mapped)


def _digests(values: U64, first_block: int = 0) -> tuple[bytes, ...]:
    """Digests of all blocks from one on; hashing releases the interpreter lock."""

    def digest(block: int) -> bytes:
        part = values[block * _BLOCK_ROWS : (block + 1) * _BLOCK_ROWS]
        return hashlib.sha256(part.data).digest()

    with ThreadPoolExecutor() as pool:
        blocks = range(first_block, -(-len(values) // _BLOCK_ROWS))
        return tuple(pool.map(digest, blocks))
