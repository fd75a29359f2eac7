"""Versions of a table that share their rows, since changes made one of the other."""

from __future__ import annotations

from collections.abc import Iterable

from ompd.stores.tables.contract import Version
from ompd.stores.tables.profiles import Changing


def sharing(versions: Iterable[Version], home: str) -> list[tuple[Version, Changing]]:
    """Return the versions whose rows lie in one place, in their order."""
    return [
        (each, each.stored)
        for each in versions
        if each.home == home and isinstance(each.stored, Changing)
    ]


def cut(version: Version, others: Iterable[Version]) -> None:
    """Make room again for what comes instead of a change that is not kept."""
    left = [len(stored.limbs) for _, stored in sharing(others, version.home)]
    if left and isinstance(version.stored, Changing) and version.stored.limbs.room is not None:
        version.stored.limbs.room.cut(max(left))
