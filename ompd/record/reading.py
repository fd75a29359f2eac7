"""Reading a record, one's own or what another person shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING

from ompd.record.contents import Code, Contents, newest_first
from ompd.record.entries import Entry
from ompd.record.fhir.resource import Resource

if TYPE_CHECKING:
    from ompd.record.vector import Vector
    from ompd.schema import Schema


class Reader:
    """What can be read of resources without opening them, and what opens one."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    @abstractmethod
    def _ready(self) -> AbstractContextManager[None]:
        """Keep others out while the contents are read."""

    @abstractmethod
    def get(self, reference: str) -> Resource:
        """Return a resource, opened.

        Parameters
        ----------
        reference : str
            As ``"Observation/abc"``.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """

    def list(
        self,
        kind: str | None = None,
        code: Code | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[Entry]:
        """Return entries, newest first; those without a time come last.

        Parameters
        ----------
        kind : str, optional
            As ``"Observation"``.
        code : str or (str, str), optional
            A code of any system, or system and code.
        since, until : datetime, optional
            From when, and before when; entries without a time are left out then.
        limit : int, optional
            Most entries.
        offset : int
            How many to leave out at the beginning.

        Raises
        ------
        RecordError
            If a time has no zone.
        """
        with self._ready():
            found = self._contents.select(kind, code, since, until)
        return newest_first(found, limit, offset)

    def count(
        self,
        kind: str | None = None,
        code: Code | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """Return how many entries `list` has."""
        with self._ready():
            return len(self._contents.select(kind, code, since, until))

    def kinds(self) -> dict[str, int]:
        """Return how many resources there are of each kind, by name."""
        with self._ready():
            return self._contents.kinds()

    def search(self, query: str, *, limit: int | None = None, offset: int = 0) -> Sequence[Entry]:
        """Return entries in which all parts of a query occur, newest first.

        Parameters
        ----------
        query : str
            Words, as they are written but for their case, and codes, with blanks between.
        limit, offset
            As for `list`.
        """
        with self._ready():
            found = self._contents.search(query)
        return newest_first(found, limit, offset)

    def entry(self, reference: str) -> Entry:
        """Return an entry.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        with self._ready():
            return self._contents.entry(self._contents.place(reference))

    def __contains__(self, reference: object) -> bool:
        with self._ready():
            return isinstance(reference, str) and self._contents.at(reference) is not None

    def __len__(self) -> int:
        with self._ready():
            return len(self._contents)

    def vector(self, schema: Schema, at: datetime | None = None) -> Vector:
        """Return what the record says about the features of a schema; see `ompd.record.vector`."""
        from ompd.record.vector import vector

        return vector(self, schema, at)
