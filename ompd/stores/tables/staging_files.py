"""Uploads of which not all pieces are here yet, in a folder: they outlive the process.

A folder ``staged-<16 hex digits>`` of mode 0700 holds

``values``, ``labels``
    The rows that came so far, one behind the other and as they came. What stands behind the number
    of rows that ``head`` names does not count; a writer that died may have left some.
``head``
    The upload, how many rows are here, and a digest of each piece; packed as `ompd.arrays` has it.

Rows are synced before ``head`` is replaced, and ``head`` is before a piece is acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from pathlib import Path

import msgspec
import numpy as np

from ompd.arrays import U8, U16, Form, map_values, pack, unpack
from ompd.errors import OmpdError, StoreError
from ompd.files import (
    digest_at,
    is_exhausted,
    make_folder,
    refusing,
    sweep,
    write_behind,
    write_private,
)
from ompd.stores.tables.contract import Upload
from ompd.stores.tables.profiles import PROFILES
from ompd.stores.tables.staging import Rows, Staged, Staging
from ompd.wire import Header, SealedUpload, decode_body, encode_body

_FORM = Form("unfinished upload", 1)
_DIGEST = hashlib.sha256


class _Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The file of this name."""

    header: Header
    # The body without its rows.
    body: bytes
    rows: int
    width: int
    have: int
    # Of each piece: rows at its end, digests of its values and labels.
    pieces: tuple[tuple[int, bytes, bytes], ...]


class FileRows(Rows):
    """Rows in a folder; see `Rows`.

    Attributes
    ----------
    values : Path
        The file of the values.
    """

    def __init__(
        self, folder: Path, staged: Staged, pieces: tuple[tuple[int, bytes, bytes], ...] = ()
    ) -> None:
        self._folder = folder
        self.staged = staged
        self._pieces = pieces
        self.values = folder / "values"

    @classmethod
    def begin(cls, folder: Path, staged: Staged) -> FileRows:
        """Make the folder of an upload.

        Raises
        ------
        StoreError
        """
        rows = cls(folder, staged)
        try:
            with refusing(StoreError, "upload"):
                make_folder(folder)
                for name in ("values", "labels"):
                    (folder / name).touch(mode=0o600)
        except OmpdError:
            rows.drop()
            raise
        return rows

    @classmethod
    def open(cls, folder: Path) -> FileRows:
        """Read how far an upload is.

        Raises
        ------
        StoreError, VersionError, FrameError
            If it is damaged, or of another version.
        """
        with refusing(StoreError, "upload"):
            sweep(folder)
            data = (folder / "head").read_bytes()
        found = unpack(data, _FORM, _Head, name="upload", error=StoreError).content
        profile = PROFILES.get(found.header.kind)
        if profile is None:
            raise StoreError("upload: is of no profile")
        head: Upload = decode_body(profile.upload, found.body)
        staged = Staged(
            found.header, head, found.rows, found.width, found.have, len(found.pieces)
        )  # fmt: skip
        rows = cls(folder, staged, found.pieces)
        with refusing(StoreError, "upload"):
            labels = 0 if isinstance(head, SealedUpload) else 2 * staged.have
            for path, size in (
                (rows.values, staged.have * staged.width),
                (folder / "labels", labels),
            ):
                if path.stat().st_size < size:
                    raise StoreError(f"upload: {path.name} are cut short")
        return rows

    def append(self, header: Header, values: memoryview, labels: memoryview) -> None:
        """Put whole rows behind those that are here, durably."""
        have, width = self.staged.have, self.staged.width
        moved = self.staged.moved(header, len(values) // width)
        pieces = (
            *self._pieces, (moved.have, _DIGEST(values).digest(), _DIGEST(labels).digest())
        )  # fmt: skip
        head = _Head(
            header, encode_body(moved.head), moved.rows, width, moved.have, pieces
        )  # fmt: skip
        with refusing(StoreError, "upload"):
            write_behind(self.values, have * width, values)
            if labels:
                write_behind(self._folder / "labels", 2 * have, labels)
            write_private(self._folder / "head", pack(_FORM, head).parts)
        self.staged, self._pieces = moved, pieces

    def read(self) -> tuple[U8, U16]:
        """Map all values and read all labels, and compare them with their digests."""
        staged = self.staged
        values: U8 = map_values(
            self.values, (staged.size,), np.uint8, name="upload", error=StoreError
        )
        with refusing(StoreError, "upload"):
            labels = (self._folder / "labels").read_bytes()
            descriptor = os.open(self.values, os.O_RDONLY)
        first, end, width = 0, 2 * staged.have if labels else 0, staged.width
        try:
            for last, of_values, of_labels in self._pieces:
                with refusing(StoreError, "upload"):
                    found = digest_at(descriptor, first * width, (last - first) * width)
                codes = labels[2 * first : 2 * last]
                if found != of_values or _DIGEST(codes).digest() != of_labels:
                    raise StoreError("upload: a piece was damaged on disk; send all of it again")
                first = last
        finally:
            os.close(descriptor)
        return values, np.frombuffer(labels[:end], "<u2").astype(np.uint16)

    def drop(self) -> bool:
        """Remove the rows; the next opening of the place tries again, too."""
        # First, so that nothing that is half gone looks whole.
        with contextlib.suppress(OSError):
            (self._folder / "head").unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        return not self._folder.exists()


class FileStaging(Staging):
    """Unfinished uploads in a folder that belongs to this process.

    Parameters
    ----------
    folder : Path
    most : int
        As for `Staging`.
    """

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__(most)
        self._folder = folder

    def open(self, name: str) -> None:
        """Take up an upload; one that cannot be is removed, and the hospital begins anew."""
        folder = self._folder / name
        try:
            rows = FileRows.open(folder)
        except OmpdError as error:
            if is_exhausted(error):
                # That says nothing about the upload.
                raise
            shutil.rmtree(folder, ignore_errors=True)
            return
        key = rows.staged.header.sender, rows.staged.head.table_id
        other = self._rows.get(key)
        if other is not None:
            # One of them was to be removed.
            if other.staged.header.timestamp > rows.staged.header.timestamp:
                rows.drop()
                return
            other.drop()
        self._rows[key] = rows

    def _begin(self, staged: Staged) -> FileRows:
        return FileRows.begin(self._folder / f"staged-{secrets.token_hex(8)}", staged)
