"""How much of a file of somebody else is read, and how."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import IO, BinaryIO

from ompd.errors import ImportFileError

#: Most bytes of a file that is read as a whole: a bundle or a table.
MOST_WHOLE = 64 << 20
#: Most resources of a bundle, and rows of a table.
MOST_PARTS = 100_000
#: Most bytes of XML, and how many may come of one byte of the archive once there are `EARLY`.
MOST_XML, MOST_RATIO, EARLY = 8 << 30, 60, 64 << 20
#: Bytes that are read at a time.
CHUNK = 1 << 16
# Of an archive's list of members; zipfile reads it at once.
_MOST_LIST = 8 << 20
# Files of XML in an archive that are looked into; members may lie over one another.
_MOST_LOOKS = 100

#: What zipfile and zlib raise about a damaged archive.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError,
    ValueError, IndexError, UnicodeError, OverflowError,
)  # fmt: skip


def whole(stream: BinaryIO) -> bytes:
    """Return all that is left of a stream.

    Raises
    ------
    ImportFileError
        Above 64 MiB.
    """
    found = stream.read(MOST_WHOLE + 1)
    if len(found) > MOST_WHOLE:
        raise ImportFileError(f"file: expected at most {MOST_WHOLE >> 20} MiB of this form")
    return found


class Tally:
    """Counts what was left out, by reason; of reasons that a file words, only so many."""

    _MOST = 300

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        """Count one."""
        known = reason in self.counts or len(self.counts) < self._MOST
        self.counts[reason if known else "other reasons"] += 1


class _Bounded(io.RawIOBase):
    """A stream of which nobody reads much at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        # A list that is cut is found to be damaged.
        return self._stream.read(_MOST_LIST if size < 0 else min(size, _MOST_LIST))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def xml_in(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the XML of an export of Apple Health: of its archive, or as it is.

    Parameters
    ----------
    stream : binary file
        One that can be sought in. The archive's member is the first file `*.xml` in it, or in a
        folder of it, that begins as Apple's do: its name depends on the language.

    Raises
    ------
    ImportFileError
        If the archive is damaged, has no such file, or unpacks to too much.
    """
    begin = stream.tell()
    if stream.read(4) != b"PK\x03\x04":
        stream.seek(begin)
        yield from _limited(stream, None)
        return
    size = stream.seek(0, io.SEEK_END)
    failed = False
    try:
        with zipfile.ZipFile(_Bounded(stream)) as archive:
            for member in islice(filter(_is_candidate, archive.infolist()), _MOST_LOOKS):
                with archive.open(member) as unpacked:
                    head = unpacked.read(CHUNK)
                    if b"<HealthData" in head or b"<!DOCTYPE HealthData" in head:
                        yield head
                        packed = min(member.compress_size, size)
                        yield from _limited(unpacked, packed, len(head))
                        return
    except ImportFileError:
        raise
    except DAMAGED:
        failed = True
    if failed:
        raise ImportFileError("file: expected an undamaged archive, without a password")
    raise ImportFileError("file: expected an archive with the XML of Apple Health")


def _is_candidate(member: zipfile.ZipInfo) -> bool:
    plain = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    shallow = member.filename.count("/") <= 1
    return plain and shallow and member.filename.lower().endswith(".xml")


def _limited(stream: IO[bytes], packed: int | None, done: int = 0) -> Iterator[bytes]:
    """Yield a stream's bytes; of an archive's, not many more than were packed."""
    while chunk := stream.read(CHUNK):
        done += len(chunk)
        inflated = packed is not None and done > EARLY and done > packed * MOST_RATIO
        if done > MOST_XML or inflated:
            raise ImportFileError("file: expected less XML, or less in so small an archive")
        yield chunk
