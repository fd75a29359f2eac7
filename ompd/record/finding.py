"""Finding resources by words, codes and kinds: an index that is made when a record is opened.

It lies in memory alone. What a resource is found by is sealed beside it, so that a file tells of
searches nothing, of a resource no more than its size, and of a removed one nothing at all.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable


class Index:
    """Places of resources, by what they are found by.

    Eight bytes per place and key, beside the keys. Not for several threads at a time.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[str, array[int]] = {}

    def put(self, place: int, keys: Iterable[str]) -> None:
        """Add a place under keys that it is not under yet."""
        places = self._places
        for key in keys:
            known = places.get(key)
            if known is None:
                places[key] = array("q", (place,))
            elif known[-1] < place:
                known.append(place)
            else:
                known.insert(bisect_left(known, place), place)

    def drop(self, place: int, keys: Iterable[str]) -> None:
        """Remove a place from the keys that it was put under."""
        for key in keys:
            known = self._places[key]
            del known[bisect_left(known, place)]
            if not known:
                del self._places[key]

    def all_of(self, keys: Iterable[str]) -> list[int]:
        """Return the places that are under all of at least one key, ascending."""
        found = []
        for key in keys:
            known = self._places.get(key)
            if known is None:
                return []
            found.append(known)
        first, *others = sorted(found, key=len)
        for other in others:
            kept = set(other)
            first = array("q", (place for place in first if place in kept))
        return first.tolist()
