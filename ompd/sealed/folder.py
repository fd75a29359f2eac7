"""A sealed table on disk.

A folder of mode 0700 holds

``table``
    Key, layout, row code, places, boxes and cells: everything that lasts as long as the table.
    Written once.
``ranks``
    Where each row is in the tree: needed to remove one, and not in memory otherwise. Written once.
``edits``
    All changes since the table was sealed. Replaced as a whole by the next change.
``hints``
    The hints of the present window, while no process has them.
``closed``
    Names `hints` by table, digest, inode number and time of last change, and says how many queries
    are left. Only together with it are the hints worth anything.
``lock``
    Locked by the process that has the table open.

**A hint is in memory or on disk, never both.** Opening removes `closed` and syncs the folder before
anything else may be asked; closing writes `hints` first and `closed` last. So a hint's use need not
be recorded query by query: from the moment the table is open, the disk knows of no hint. After a
crash or power failure the rest of the window is lost, and a new one needs the table's ciphertexts
from the cloud.

**A file appears as a whole or not at all**, since each is written beside its place and renamed. A
folder without ``table`` is no table, and one may be made there. If closing fails, as on a full
disk, the hints stay in memory and the folder locked, and closing may be tried again.

**Old copies.** `hints` without `closed`, as left by a crash or put back alone, is ignored and
removed. `closed` without `hints`, or with others, is an error. If both are put back together, the
file that comes back has another inode number or, since that cannot be set, another time of last
change, and opening it is an error too. What cannot be noticed from here is a roll-back of the whole
file system or machine (a restored disk image or snapshot), or of the disk's bytes below the file
system; after one, open with ``fresh=True``. Who can write here can also read the key: the digests
find damage and mix-ups, not attackers.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from ompd.arrays import I32, Array, Form, pack, unpack
from ompd.confidential import Confidential
from ompd.crypto.buckets import BucketCipher
from ompd.errors import HintStateError, OmpdError, VersionError
from ompd.files import (
    FolderLock,
    is_spare,
    make_folder,
    refusing,
    sweep,
    sync_folder,
    write_private,
)
from ompd.sealed.build import Secret
from ompd.sealed.checks import Checks
from ompd.sealed.edits import ARRAYS as EDIT_ARRAYS
from ompd.sealed.edits import Edits
from ompd.sealed.hints import FIELDS, Hints
from ompd.sealed.layout import Layout
from ompd.sealed.partition import Partition
from ompd.sealed.rows import RowCode

#: Of each of the files.
_VERSION = 3

#: What may be in a folder that has no table yet.
_BEFORE = {"lock", "ranks", "edits"}

Arrays = dict[str, Array]


class Folder(Confidential):
    """An open folder. It holds the lock until `close`, or until nothing refers to it."""

    __slots__ = ("_id", "_lock", "_path")

    def __init__(self, path: Path, table_id: str, lock: FolderLock) -> None:
        self._path = path
        self._id = table_id
        self._lock = lock

    @classmethod
    def create(cls, path: Path, secret: Secret, ranks: I32 | None, edits: Edits) -> Self:
        """Write what lasts of a table to a new folder.

        Raises
        ------
        HintStateError
            If the folder is in use, holds something or cannot be made. Another try may follow.
        """
        with refusing(HintStateError, "folder"):
            # First the folder itself, or a table could be lost with it.
            make_folder(path)
            _check_empty(path)
            path.chmod(0o700)
        with refusing(HintStateError, "folder"):
            lock = FolderLock(path)
        try:
            with refusing(HintStateError, "folder"):
                # Again, now that nobody else can be about to write.
                _check_empty(path)
                sweep(path)
            table_id = secrets.token_hex(16)
            if ranks is not None:
                _write(path / "ranks", {"table": table_id}, {"ranks": ranks})
            if edits.edition:
                _write(path / "edits", *_edit_parts(edits, table_id))
            # The last: a folder without it is no table.
            _write(path / "table", *_secret_parts(secret, table_id), exclusive=True)
        except BaseException:
            lock.release()
            raise
        return cls(path, table_id, lock)

    @classmethod
    def open(cls, path: Path, *, fresh: bool) -> tuple[Self, Secret, Edits, Hints | None, int]:
        """Read a table and take its hints off the disk.

        Returns
        -------
        folder : Folder
        secret : Secret
        edits : Edits
        hints : Hints or None
        left : int
            Queries left in the window.

        Raises
        ------
        HintStateError
            If the folder is in use, or a file is missing, damaged or an old copy.
        """
        with refusing(HintStateError, "folder"):
            if not path.is_dir():
                raise HintStateError("folder: it is missing")
        with refusing(HintStateError, "folder"):
            lock = FolderLock(path)
        try:
            with refusing(HintStateError, "folder"):
                sweep(path)
            table_id, secret = _read_secret(path / "table")
            edits = _read_edits(path / "edits", table_id)
            if fresh:
                hints, left = None, 0
                _discard(path)
            else:
                hints, left = _take_hints(path, table_id, secret.layout)
        except BaseException:
            lock.release()
            raise
        return cls(path, table_id, lock), secret, edits, hints, left

    def edit(self, edits: Edits, before: Edits) -> None:
        """Write edits in place of those before, durably; they may be used from then on.

        Raises
        ------
        HintStateError
            If the file system refuses; the ones before are there still.
        """
        file = self._path / "edits"
        try:
            _write(file, *_edit_parts(edits, self._id))
        except HintStateError:
            # They may be there and not be durable.
            with contextlib.suppress(HintStateError):
                _write(file, *_edit_parts(before, self._id))
            raise

    def ranks(self) -> I32:
        """Read where each row is in the tree, int32 of shape (rows,).

        Raises
        ------
        HintStateError
            If that is not possible.
        """
        meta, arrays, _ = _read(self._path / "ranks")
        if meta != {"table": self._id} or set(arrays) != {"ranks"}:
            raise HintStateError("ranks: they are of another table")
        return arrays["ranks"]

    def close(self, layout: Layout, hints: Hints | None, left: int) -> None:
        """Put hints back, if there are some, and release the lock.

        After an error the lock is still held, and closing may be tried again, but the hints must
        not be used any more: they may be on disk.

        Raises
        ------
        HintStateError
            If the file system refuses.
        """
        if hints is not None and left:
            arrays = {name: getattr(hints, name) for name in FIELDS}
            file = self._path / "hints"
            digest = _write(file, {"table": self._id, "layout": asdict(layout)}, arrays)
            marker = {
                "table": self._id, "digest": digest, "left": left, **_identity(file),
            }  # fmt: skip
            _write(self._path / "closed", marker, {})
        self.release()

    def release(self) -> None:
        """Release the lock and nothing else."""
        self._lock.release()

    def __repr__(self) -> str:
        return "<Folder of a sealed table>"


def _check_empty(path: Path) -> None:
    """Refuse a folder that holds more than an earlier try to write a table left there."""
    if any(entry.name not in _BEFORE and not is_spare(entry.name) for entry in path.iterdir()):
        raise HintStateError("folder: expected an empty one")


def _identity(file: Path) -> dict[str, int]:
    """What a copy of the file would not share with it."""
    with refusing(HintStateError, file.name):
        status = file.stat()
    return {"inode": status.st_ino, "changed": status.st_ctime_ns}


def _discard(path: Path) -> None:
    with refusing(HintStateError, "hints"):
        for name in ("closed", "hints"):
            (path / name).unlink(missing_ok=True)
        sync_folder(path)


def _take_hints(path: Path, table_id: str, layout: Layout) -> tuple[Hints | None, int]:
    with refusing(HintStateError, "closed"):
        closed = (path / "closed").exists()
    if not closed:
        _discard(path)
        return None, 0
    marker, _, _ = _read(path / "closed")
    meta, arrays, digest = _read(path / "hints")
    expected = {"table": table_id, "digest": digest, "left": marker.get("left")}
    if marker != {**expected, **_identity(path / "hints")}:
        raise HintStateError("hints: they are not the ones that were put here last")
    if meta != {"table": table_id, "layout": asdict(layout)} or set(arrays) != set(FIELDS):
        raise HintStateError("hints: they are of another table")
    with refusing(HintStateError, "closed"):
        try:
            # Whoever removes this file has the hints; a second process fails here.
            (path / "closed").unlink()
        except FileNotFoundError:
            raise HintStateError("folder: another process has the table open") from None
    _discard(path)
    return Hints(layout, **arrays), int(marker["left"])


def _edit_parts(edits: Edits, table_id: str) -> tuple[dict[str, Any], Arrays]:
    arrays: Arrays = {name: getattr(edits, name) for name in EDIT_ARRAYS}
    return {"table": table_id, "edition": edits.edition, "since": edits.since}, arrays


def _read_edits(file: Path, table_id: str) -> Edits:
    with refusing(HintStateError, file.name):
        if not file.exists():
            return Edits()
    meta, arrays, _ = _read(file)
    if meta.get("table") != table_id:
        raise HintStateError("edits: they are of another table")
    try:
        edits = Edits(
            meta["edition"], meta["since"], **{name: arrays[name] for name in EDIT_ARRAYS}
        )
    except (KeyError, TypeError):
        raise HintStateError("edits: they are of another form") from None
    return edits


def _secret_parts(secret: Secret, table_id: str) -> tuple[dict[str, Any], Arrays]:
    meta: dict[str, Any] = {
        "table": table_id,
        "layout": asdict(secret.layout),
        "key": secret.cipher.key.hex(),
        "context": secret.cipher.context.hex(),
        "rows": secret.rows,
        "classes": secret.classes,
        "k": secret.k,
    }
    code = secret.code
    arrays: Arrays = {
        "bases": code.bases,
        "steps": code.steps,
        "widths": code.widths,
        "relative": code.relative,
        "place_of": secret.place_of,
    }
    if secret.checks:
        arrays |= {"sum_keys": secret.checks.keys, "sums": secret.checks.known}
    if secret.partition:
        cut = secret.partition
        meta |= {"shift": cut.shift, "reach": cut.reach}
        arrays |= {
            "lows": cut.lows,
            "spans": cut.spans,
            "boxes": cut.boxes,
            "above": cut.above,
            "cells": cut.cells,
        }
    return meta, arrays


def _read_secret(file: Path) -> tuple[str, Secret]:
    meta, arrays, _ = _read(file)
    try:
        code = RowCode(*(arrays[name] for name in ("bases", "steps", "widths", "relative")))
        cipher = BucketCipher(bytes.fromhex(meta["key"]), bytes.fromhex(meta["context"]))
        cut = checks = None
        if "sums" in arrays:
            checks = Checks(arrays["sum_keys"], arrays["sums"])
        if "shift" in meta:
            cut = Partition(
                lows=arrays["lows"], spans=arrays["spans"], shift=meta["shift"], rows=meta["rows"],
                buckets=meta["layout"]["buckets"], reach=meta["reach"], boxes=arrays["boxes"],
                above=arrays["above"], cells=arrays["cells"],
            )  # fmt: skip
        secret = Secret(
            Layout(**meta["layout"]), cipher, code, meta["rows"], meta["classes"], meta["k"], cut,
            arrays["place_of"], checks,
        )  # fmt: skip
        return str(meta["table"]), secret
    except (KeyError, TypeError, ValueError, OmpdError):
        raise HintStateError("table: it is of another form") from None


def _write(file: Path, meta: dict[str, Any], arrays: Arrays, *, exclusive: bool = False) -> str:
    """Write a file of mode 0600 as a whole, durably; returns its digest."""
    packed = pack(_form(file), meta, arrays)
    with refusing(HintStateError, file.name):
        write_private(file, packed.parts, exclusive=exclusive)
    return packed.digest.hex()


def _read(file: Path) -> tuple[dict[str, Any], Arrays, str]:
    """Read what `_write` wrote: meta, arrays, digest."""
    with refusing(HintStateError, file.name):
        data = file.read_bytes()
    problem = ""
    try:
        meta, arrays, digest = unpack(
            data, _form(file), dict[str, Any], name=file.name, error=HintStateError
        )
        return meta, arrays, digest.hex()
    except VersionError as error:
        problem = str(error)
    raise HintStateError(problem)


def _form(file: Path) -> Form:
    return Form(f"{file.name} of a sealed table", _VERSION)
