"""Arrays: their types, the form in which kernels read them, the form in which they rest on disk.

A packed file holds what a store says about itself, and arrays. All integers are little-endian:

======  =====  =================================================================
offset  bytes  content
======  =====  =================================================================
0       8      magic ``OMPDPACK``
8       4      version of this layout, 1
12      4      length h of the header
16      h      header, MessagePack (`_Header`)
16 + h  32     SHA-256 of all bytes before
...            the arrays in the header's order, each at the next multiple of 64
======  =====  =================================================================

The header names the form and its version, has the store's own content and, of each array, name,
type, shape and SHA-256; between the arrays and behind them are zeros. So every bit that differs is
found, and the digest in the middle stands for the whole file. None of them has a key: they find
accidents and mix-ups, not forgeries.

Arrays too big to be read lie in a file of their own, which holds values and nothing else, is mapped
and may grow. Whoever has one keeps the digests of its blocks of 65536 rows in a packed file.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import os
import re
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from ompd.errors import VersionError
from ompd.files import digest_at, refusing

Bools = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U64 = npt.NDArray[np.uint64]
Kind = TypeVar("Kind", bound=np.generic)
T = TypeVar("T")
Array = npt.NDArray[Any]
Progress = Callable[[float], None]

#: A common size of cache lines, in bytes.
LINE = 64
#: Rows of a mapped file that one digest covers.
BLOCK_ROWS = 1 << 16

_MAGIC = b"OMPDPACK"
_LAYOUT = 1
_PREFIX = struct.Struct("<8sII")
_DIGEST = 32
#: A header names a few arrays and one digest per block; this is enough for 10**10 rows.
_HEADER_CAP = 16 << 20
_DTYPE = re.compile(r"[|<]([iu][1248]|f[248]|b1)")
#: More elements than any file has; numpy cannot have every shape that has none.
_MOST_ELEMENTS = 1 << 56
#: How the files began that this layout replaced.
_OLD = (b"OMPDTBL\x00", b"OMPDSEALED\x00", b"ompd frozen ", b'{"version":')


def frozen(array: npt.NDArray[Kind], boundary: int = 1) -> npt.NDArray[Kind]:
    """Return a read-only, aligned, C-contiguous view, or such a copy where there is no view.

    To the compiler each other form is another type, and a kernel that meets a new type is compiled
    anew, for seconds. Memory maps and received bytes are read-only; so is everything then.

    Parameters
    ----------
    array : ndarray
    boundary : int, default 1
        Where the first element shall lie, in bytes: a power of two.
    """
    if boundary > 1 and array.ctypes.data % boundary:
        plain = zeros_at(array.shape, array.dtype, boundary)
        plain[...] = array
    elif array.flags.c_contiguous and array.flags.aligned:
        plain = array.view(np.ndarray)
    else:
        plain = np.array(array, order="C")
    plain.setflags(write=False)
    return plain


def zeros_at(
    shape: tuple[int, ...], dtype: npt.DTypeLike, boundary: int = LINE
) -> npt.NDArray[Any]:
    """Return zeros whose first element lies on a boundary."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    raw = np.zeros(size + boundary, np.uint8)
    start = -raw.ctypes.data % boundary
    return raw[start : start + size].view(kind).reshape(shape)


class Form(NamedTuple):
    """What a packed file is, and the version of that."""

    name: str
    version: int


class Packed(NamedTuple):
    """A file in parts, and the digest that stands for all of it."""

    parts: list[bytes | memoryview]
    digest: bytes


class Unpacked(NamedTuple, Generic[T]):
    """What a file said, copies of its arrays, and the digest that stands for all of it."""

    content: T
    arrays: dict[str, Array]
    digest: bytes


class _Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: bytes


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    form: str
    version: int
    content: msgspec.Raw
    entries: tuple[_Entry, ...]


def pack(form: Form, content: object, arrays: Mapping[str, Array] | None = None) -> Packed:
    """Lay out a file.

    Parameters
    ----------
    form : Form
    content : object
        Whatever msgspec encodes.
    arrays : mapping of str to ndarray, optional
        Of integers, floating-point numbers or truth values.
    """
    entries = []
    body: list[bytes | memoryview] = []
    for name, array in (arrays or {}).items():
        kind = array.dtype.newbyteorder("<")
        data = np.ascontiguousarray(array, kind).reshape(-1).view(np.uint8).data
        entries.append(_Entry(name, kind.str, array.shape, hashlib.sha256(data).digest()))
        body += [data, bytes(-len(data) % LINE)]
    raw = msgspec.Raw(msgspec.msgpack.encode(content))
    header = msgspec.msgpack.encode(_Header(*form, raw, tuple(entries)))
    head = _PREFIX.pack(_MAGIC, _LAYOUT, len(header)) + header
    digest = hashlib.sha256(head).digest()
    return Packed([head, digest, bytes(-(len(head) + _DIGEST) % LINE), *body], digest)


def unpack(
    data: bytes, form: Form, content: type[T], *, name: str, error: type[Exception]
) -> Unpacked[T]:
    """Check a file and read it.

    Parameters
    ----------
    data : bytes
    form : Form
        As it was packed.
    content : type
        Of what the file says.
    name : str
        Of the file, for messages.
    error : type
        Raised where the file is cut, damaged or of another form.

    Returns
    -------
    Unpacked
        With arrays that are aligned to cache lines and may be written.

    Raises
    ------
    VersionError
        If the file is of another version.
    """
    if data.startswith(_OLD):
        raise VersionError(f"{name}: is of an older version of this library; make it anew")
    if len(data) < _PREFIX.size or not data.startswith(_MAGIC):
        raise error(f"{name}: is damaged or no file of this library")
    _, layout, length = _PREFIX.unpack_from(data)
    if layout != _LAYOUT:
        raise VersionError(f"{name}: expected layout {_LAYOUT}, got {layout}")
    end = _PREFIX.size + length
    place = end + _DIGEST + -(end + _DIGEST) % LINE
    if length > _HEADER_CAP or len(data) < place:
        raise error(f"{name}: is cut short")
    digest = data[end : end + _DIGEST]
    if hashlib.sha256(data[:end]).digest() != digest or any(data[end + _DIGEST : place]):
        raise error(f"{name}: differs from its digest")
    header = _decoded(data[_PREFIX.size : end], _Header, name, error)
    if header.form != form.name:
        raise error(f"{name}: is of another form")
    if header.version != form.version:
        raise VersionError(f"{name}: expected version {form.version}, got {header.version}")
    arrays = {}
    for entry in header.entries:
        arrays[entry.name], place = _array(data, place, entry, name, error)
    if place != len(data):
        raise error(f"{name}: is longer than its arrays")
    return Unpacked(_decoded(header.content, content, name, error), arrays, digest)


def _decoded(data: bytes | msgspec.Raw, kind: type[T], name: str, error: type[Exception]) -> T:
    found = None
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        found = msgspec.msgpack.decode(data, type=kind)
    if found is None:
        raise error(f"{name}: is damaged")
    return found


def _array(
    data: bytes, place: int, entry: _Entry, name: str, error: type[Exception]
) -> tuple[Array, int]:
    """Copy one array out of a file; also returns where the next one starts."""
    # Of the shape without its zeros, since nothing else bounds what they are multiplied by.
    elements = math.prod(max(length, 1) for length in entry.shape)
    if (
        not _DTYPE.fullmatch(entry.dtype)
        or min(entry.shape, default=0) < 0
        or len(entry.shape) > 32
        or elements > _MOST_ELEMENTS
    ):
        raise error(f"{name}: expected arrays of numbers")
    kind = np.dtype(entry.dtype)
    last = place + math.prod(entry.shape) * kind.itemsize
    after = last + -(last - place) % LINE
    if after > len(data):
        raise error(f"{name}: is cut short")
    part = memoryview(data)[place:last]
    if hashlib.sha256(part).digest() != entry.digest or any(data[last:after]):
        raise error(f"{name}: array {entry.name} differs from its digest")
    array = zeros_at(entry.shape, kind.newbyteorder("="))
    array[...] = np.frombuffer(part, kind).reshape(entry.shape)
    return array, after


def write_values(
    file: Path,
    shape: tuple[int, ...],
    kind: npt.DTypeLike,
    fill: Callable[[Array, int], None],
    progress: Progress | None = None,
    *,
    name: str,
    error: type[Exception],
) -> tuple[bytes, ...]:
    """Write a new file of values, block by block and durably; returns the blocks' digests.

    Parameters
    ----------
    file : Path
    shape : tuple of int
        Rows first.
    kind : dtype
        Little-endian.
    fill : callable
        ``fill(part, first)`` overwrites `part`, a writable map of the rows from `first` on. Called
        for consecutive parts of at most 65536 rows, so memory stays bounded.
    progress : callable, optional
        Called with the finished share from 0 to 1.
    name : str
        For messages.
    error : type
        Raised where the file system refuses, or has the file already.
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    with refusing(error, name):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with refusing(error, name):
            # A map of a file with holes would end the process when the disk is full.
            os.ftruncate(descriptor, size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            area = mmap.mmap(descriptor, size)
        with area:
            digests = _filled(area, shape, kind, fill, progress)
            with refusing(error, name):
                area.flush()
        with refusing(error, name):
            os.fsync(descriptor)
        return digests
    finally:
        os.close(descriptor)


def _filled(
    area: mmap.mmap,
    shape: tuple[int, ...],
    kind: npt.DTypeLike,
    fill: Callable[[Array, int], None],
    progress: Progress | None,
) -> tuple[bytes, ...]:
    # The views live in a function of their own: a map with views left cannot be closed.
    whole: Array = np.ndarray(shape, kind, area)
    digests = []
    for first in range(0, len(whole), BLOCK_ROWS):
        part = whole[first : first + BLOCK_ROWS]
        fill(part, first)
        digests.append(hashlib.sha256(part.data).digest())
        if progress is not None:
            progress((first + len(part)) / len(whole))
    return tuple(digests)


def file_digests(file: Path, row_bytes: int, rows: int) -> tuple[bytes, ...]:
    """Return what `block_digests` returns of a file's first rows, without mapping them.

    Pages of a file that is mapped twice count twice for the process.

    Raises
    ------
    OSError
    """
    descriptor = os.open(file, os.O_RDONLY)

    def digest(block: int) -> bytes:
        first, last = block * BLOCK_ROWS, min(rows, (block + 1) * BLOCK_ROWS)
        return digest_at(descriptor, first * row_bytes, (last - first) * row_bytes)

    try:
        with ThreadPoolExecutor() as pool:
            return tuple(pool.map(digest, range(-(-rows // BLOCK_ROWS))))
    finally:
        os.close(descriptor)


def map_values(
    file: Path, shape: tuple[int, ...], kind: npt.DTypeLike, *, name: str, error: type[Exception]
) -> Array:
    """Map values read-only; the file may be longer, but not shorter, which is an `error`."""
    with refusing(error, name):
        if file.stat().st_size < math.prod(shape) * np.dtype(kind).itemsize:
            raise error(f"{name}: file is shorter than the table")
        # A plain array over the map: a memmap's own slicing costs microseconds.
        return np.asarray(np.memmap(file, kind, "r", shape=shape))
    raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)


def block_digests(values: Array, first_block: int = 0) -> tuple[bytes, ...]:
    """Return the digests of all blocks from one on; hashing releases the interpreter lock."""

    def digest(block: int) -> bytes:
        part = values[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS]
        return hashlib.sha256(part.data).digest()

    with ThreadPoolExecutor() as pool:
        blocks = range(first_block, -(-len(values) // BLOCK_ROWS))
        return tuple(pool.map(digest, blocks))
