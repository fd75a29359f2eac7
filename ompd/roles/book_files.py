"""What a hospital keeps of the records of a table, besides what it asks the table with.

In the folder ``records`` of the state folder there are, for every table,

``rows-<32 hex digits>-<version>``
    Ids, classes and counts of a version: a `Book`.
``change-<32 hex digits>-<version>``
    A change that made this version of one before, and what tells the cloud: a `Step`. Those that
    the cloud has acknowledged go into a new file of rows after a while.

Both are packed as `ompd.arrays` has it, written as a whole or not at all, and never changed.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import fields
from pathlib import Path

import msgspec

from ompd.arrays import Array, Form, pack, unpack
from ompd.errors import StoreError
from ompd.files import make_folder, refusing, sweep, write_private
from ompd.roles.books import Book, Delta, Step
from ompd.roles.drift import Summary
from ompd.roles.rows import Rows
from ompd.wire import Kind

_BOOK = Form("rows of a hospital", 1)
_STEP = Form("change of a hospital", 1)
_FILE = re.compile(r"(rows|change)-([0-9a-f]{32})-([0-9]{1,19})")
#: Changes that are read one by one when a table is opened, before they go into one file.
_MOST_STEPS = 16


class _StepHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    base: int
    version: int
    kind: int
    body: bytes
    nonce: bytes


class _BookHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    key: bytes


_ROWS = tuple(field.name for field in fields(Rows) if field.name != "key")
_SUMMARY = tuple(field.name for field in fields(Summary))
_DELTA = tuple(field.name for field in fields(Delta))


class BookFiles:
    """Books and changes on disk, in a folder that the caller has locked.

    Parameters
    ----------
    folder : Path
        Made if it is missing.

    Raises
    ------
    StoreError
        From every method, if a file cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with refusing(StoreError, "records"):
            make_folder(folder)
            sweep(folder)

    def save(self, table_id: bytes, version: int, book: Book) -> None:
        """Write the book of a version."""
        arrays: dict[str, Array] = {name: getattr(book.rows, name) for name in _ROWS}
        arrays |= {name: getattr(book.summary, name) for name in _SUMMARY}
        packed = pack(_BOOK, _BookHead(book.rows.key), arrays)
        with refusing(StoreError, "records"):
            write_private(self._path("rows", table_id, version), packed.parts)

    def add(self, table_id: bytes, step: Step) -> None:
        """Write a change."""
        arrays: dict[str, Array] = {name: getattr(step.delta, name) for name in _DELTA}
        head = _StepHead(step.base, step.version, step.kind, step.body, step.nonce)
        with refusing(StoreError, "records"):
            path = self._path("change", table_id, step.version)
            write_private(path, pack(_STEP, head, arrays).parts)

    def load(self, table_id: bytes, version: int) -> tuple[Book, list[Step]]:
        """Return the book of a version, and the changes that were made of it, in order.

        Raises
        ------
        StoreError
            If a file is missing or damaged.
        VersionError
            If one is of another version of this library.
        """
        books = self._versions("rows", table_id)
        steps = {each: self._step(table_id, each) for each in self._versions("change", table_id)}
        done: list[Step] = []
        now = version
        while now not in books:
            if now not in steps or steps[now].base >= now:
                raise StoreError("records: those of the table are missing")
            done.append(steps[now])
            now = steps[now].base
        book = self._book(table_id, now)
        for step in reversed(done):
            book = book.after(step.delta)
        # A withdrawal goes on whatever it was said after.
        ends = [steps[each] for each in sorted(steps) if steps[each].kind == Kind.WITHDRAWAL]
        if ends and ends[-1].version > version:
            return book, ends[-1:]
        # Of two that were made of one version, the first came to nothing.
        following = {steps[each].base: steps[each] for each in sorted(steps)}
        waiting: list[Step] = []
        while (after := following.get(version)) is not None and after.version > version:
            waiting.append(after)
            version = after.version
        return book, waiting

    def settle(self, table_id: bytes, version: int, book: Book) -> None:
        """Note that the cloud has a version: what led to it may go into one file.

        As far as possible: what is left over is removed by another time.
        """
        done = [each for each in self._versions("change", table_id) if each <= version]
        if len(done) > _MOST_STEPS and version not in self._versions("rows", table_id):
            with contextlib.suppress(StoreError):
                self.save(table_id, version, book)
        books = [each for each in self._versions("rows", table_id) if each <= version]
        if books:
            self._remove("rows", table_id, [each for each in books if each < max(books)])
            self._remove("change", table_id, [each for each in done if each <= max(books)])

    def drop(self, table_id: bytes, below: int | None = None) -> None:
        """Remove all of a table, or of its versions below one, as far as possible."""
        for kind in ("change", "rows"):
            versions = self._versions(kind, table_id)
            self._remove(
                kind, table_id, [each for each in versions if below is None or each < below]
            )

    def give_up(self, table_id: bytes, step: Step) -> None:
        """Remove a change, as far as possible."""
        self._remove("change", table_id, [step.version])

    def keep_only(self, tables: set[bytes]) -> None:
        """Remove what is there of all other tables, as far as possible."""
        with refusing(StoreError, "records"):
            names = [path.name for path in self._folder.iterdir()]
        for found in filter(None, map(_FILE.fullmatch, names)):
            if bytes.fromhex(found[2]) not in tables:
                self._remove(found[1], bytes.fromhex(found[2]), [int(found[3])])

    def _path(self, kind: str, table_id: bytes, version: int) -> Path:
        return self._folder / f"{kind}-{table_id.hex()}-{version}"

    def _versions(self, kind: str, table_id: bytes) -> list[int]:
        with refusing(StoreError, "records"):
            found = (_FILE.fullmatch(path.name) for path in self._folder.iterdir())
            return [
                int(each[3])
                for each in found
                if each and each[1] == kind and each[2] == table_id.hex()
            ]
        raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)

    def _remove(self, kind: str, table_id: bytes, versions: list[int]) -> None:
        for version in versions:
            with contextlib.suppress(OSError):
                self._path(kind, table_id, version).unlink()

    def _book(self, table_id: bytes, version: int) -> Book:
        data = self._read("rows", table_id, version)
        head, arrays, _ = unpack(data, _BOOK, _BookHead, name="records", error=StoreError)
        try:
            return Book(
                Rows(head.key, *(arrays[name] for name in _ROWS)),
                Summary(*(arrays[name] for name in _SUMMARY)),
            )
        except KeyError:
            raise StoreError("records: expected the rows of a table") from None

    def _step(self, table_id: bytes, version: int) -> Step:
        data = self._read("change", table_id, version)
        head, arrays, _ = unpack(data, _STEP, _StepHead, name="records", error=StoreError)
        try:
            delta = Delta(*(arrays[name] for name in _DELTA))
        except KeyError:
            raise StoreError("records: expected a change of a table") from None
        return Step(head.base, head.version, delta, head.kind, head.body, head.nonce)

    def _read(self, kind: str, table_id: bytes, version: int) -> bytes:
        with refusing(StoreError, "records"):
            return self._path(kind, table_id, version).read_bytes()
        raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)
