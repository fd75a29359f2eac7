"""What is in a record, or was shared of one: listed, counted and searched without opening it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from heapq import nlargest

from ompd.errors import RecordError, UnknownResourceError
from ompd.record.entries import Entry, Head, key_of_any, key_of_kind, keys_of_code
from ompd.record.fhir.resource import words_of
from ompd.record.finding import Index

_OLDEST = datetime.min.replace(tzinfo=UTC)
Code = str | tuple[str, str]


class Contents:
    """Entries by place, and their index. Not for several threads at a time."""

    __slots__ = ("_entries", "_index", "_places")

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._places: dict[str, int] = {}
        self._index = Index()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, place: int, head: Head) -> None:
        """Add an entry at a place that has none."""
        entry = head.entry
        self._entries[place] = entry
        self._places[entry.reference] = place
        self._index.put(place, head.keys)

    def drop(self, place: int, head: Head) -> None:
        """Remove an entry, given its head."""
        del self._entries[place]
        del self._places[head.entry.reference]
        self._index.drop(place, head.keys)

    def at(self, reference: str) -> int | None:
        """Return the place of a reference; None if there is none."""
        return self._places.get(reference)

    def place(self, reference: str) -> int:
        """Return the place of a reference.

        Raises
        ------
        UnknownResourceError
        """
        found = self._places.get(reference)
        if found is None:
            raise UnknownResourceError("reference: the record has no such resource")
        return found

    def entry(self, place: int) -> Entry:
        """Return the entry at a place."""
        return self._entries[place]

    def items(self) -> Iterable[tuple[int, Entry]]:
        """Return places and entries."""
        return self._entries.items()

    def kinds(self) -> dict[str, int]:
        """Return how many there are of each kind, by name."""
        return dict(sorted(Counter(entry.kind for entry in self._entries.values()).items()))

    def select(
        self,
        kind: str | None,
        code: Code | None,
        since: datetime | None,
        until: datetime | None,
    ) -> list[Entry]:
        """Return entries in no particular order.

        Raises
        ------
        RecordError
            If a time has no zone.
        """
        for moment in (since, until):
            if moment is not None and moment.tzinfo is None:
                raise RecordError("since, until: expected times with a zone")
        keys = []
        if kind is not None:
            keys.append(key_of_kind(kind))
        if code is not None:
            keys.append(key_of_any(code) if isinstance(code, str) else keys_of_code(*code)[0])
        entries = self._entries
        found: Iterable[Entry] = (
            (entries[place] for place in self._index.all_of(keys)) if keys else entries.values()
        )
        if since is None and until is None:
            return list(found)
        return [
            entry
            for entry in found
            if entry.when is not None
            and (since is None or since <= entry.when)
            and (until is None or entry.when < until)
        ]

    def search(self, query: str) -> list[Entry]:
        """Return entries in which every part of a query occurs, as a code or by all its words."""
        found: set[int] | None = None
        for part in query.split():
            words = words_of(part)
            places = set(self._index.all_of([key_of_any(part)]))
            places.update(self._index.all_of(words) if words else ())
            found = places if found is None else found & places
        return [self._entries[place] for place in found or ()]


def newest_first(entries: list[Entry], limit: int | None, offset: int) -> list[Entry]:
    """Return a page of entries: those of the latest time first, those without one last."""
    if limit is None:
        return sorted(entries, key=_age, reverse=True)[offset:]
    return nlargest(offset + limit, entries, key=_age)[offset:]


def _age(entry: Entry) -> tuple[datetime, int, str, str]:
    # The last parts so that pages of what was imported together do not overlap.
    return entry.when or _OLDEST, entry.changed, entry.kind, entry.id
