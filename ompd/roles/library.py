"""The books of all tables of a hospital."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping

from ompd.errors import OmpdError, StoreError, StoreWarning
from ompd.roles.book_files import BookFiles
from ompd.roles.books import Book, Step
from ompd.roles.retrieval import TableRef


class Books:
    """The books of all tables that are asked or wait for a receipt, by disease.

    Parameters
    ----------
    files : BookFiles, optional
        Without them, books last as long as the process.
    """

    def __init__(self, files: BookFiles | None) -> None:
        self._files = files
        self._asked: dict[str, Book] = {}
        self._coming: dict[tuple[bytes, int], Book] = {}
        self._left: dict[str, list[Step]] = {}

    def take_up(self, asked: Mapping[str, tuple[TableRef, int]], tables: set[bytes] | None) -> None:
        """Read the books of tables that are asked, and the changes that wait.

        What is damaged is told as a `StoreWarning`: such a table is asked, and does not change.

        Parameters
        ----------
        asked : mapping of disease to (TableRef, int)
            With the version that the last change made.
        tables : set of bytes, optional
            Ids of all tables that there are. Of others, everything is removed; nothing is where
            that is not known.

        Raises
        ------
        StoreError
            If the folder cannot be read.
        """
        if self._files is None:
            return
        if tables is not None:
            self._files.keep_only(tables)
        for disease, (ref, version) in asked.items():
            try:
                self._asked[disease], self._left[disease] = self._files.load(ref.table_id, version)
            except OmpdError as error:
                warnings.warn(
                    f"rows of {disease!r}: {error}; to change it, publish it anew",
                    StoreWarning,
                    stacklevel=6,
                )

    def left(self, disease: str) -> list[Step]:
        """Return the changes that waited when the process before ended."""
        return self._left.pop(disease, [])

    def of(self, disease: str) -> Book:
        """Return the book of the table that is asked.

        Raises
        ------
        StoreError
            If it is lost.
        """
        book = self._asked.get(disease)
        if book is None:
            raise StoreError("disease: what is known of its rows is lost; publish it anew")
        return book

    def begin(self, ref: TableRef, book: Book) -> None:
        """Remember the book of a table that is published, before its upload leaves.

        Raises
        ------
        StoreError
        """
        if self._files is not None:
            self._files.save(ref.table_id, ref.version, book)
        self._coming[ref.table_id, ref.version] = book

    def published(self, disease: str, ref: TableRef) -> None:
        """Use the book of a published table, since the cloud has all of it."""
        table_id, version = ref.table_id, ref.version
        book = self._coming.pop((table_id, version), None)
        if book is None and self._files is not None:
            with contextlib.suppress(StoreError):
                book, _ = self._files.load(table_id, version)
        self._coming = {
            key: each
            for key, each in self._coming.items()
            if key[0] != table_id or key[1] > version
        }
        self._asked.pop(disease, None)
        if book is not None:
            self._asked[disease] = book
            if self._files is not None:
                with contextlib.suppress(StoreError):
                    self._files.drop(table_id, below=version)

    def add(self, table_id: bytes, step: Step) -> None:
        """Remember a change, before anybody is told of it.

        Raises
        ------
        StoreError
            Nothing is remembered then.
        """
        if self._files is not None:
            try:
                self._files.add(table_id, step)
            except StoreError:
                self._files.give_up(table_id, step)
                raise

    def give_up(self, table_id: bytes, step: Step) -> None:
        """Forget a change that came to nothing."""
        if self._files is not None:
            self._files.give_up(table_id, step)

    def changed(self, disease: str, table_id: bytes, version: int, book: Book) -> None:
        """Use the book that a change made, since it is in effect."""
        self._asked[disease] = book
        if self._files is not None:
            with contextlib.suppress(StoreError):
                self._files.settle(table_id, version, book)

    def drop(self, disease: str, table_id: bytes) -> None:
        """Forget a table."""
        self._asked.pop(disease, None)
        self._coming = {key: each for key, each in self._coming.items() if key[0] != table_id}
        if self._files is not None:
            with contextlib.suppress(StoreError):
                self._files.drop(table_id)
