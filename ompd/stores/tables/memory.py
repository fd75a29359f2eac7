"""Tables that last as long as the process."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ompd.errors import OmpdError
from ompd.search import MemoryRoom, ballots
from ompd.search.verdicts import Ballots
from ompd.stores.tables.blinded import words
from ompd.stores.tables.changes import tended
from ompd.stores.tables.contract import Change, Upload, Version
from ompd.stores.tables.profiles import PROFILES, Changing
from ompd.stores.tables.sharing import cut, sharing
from ompd.stores.tables.staging import MemoryRows, MemoryStaging
from ompd.wire import Header


class MemoryTables:
    """Keeps a cloud's tables in memory; see `Tables`.

    Parameters
    ----------
    ballots : callable
        The engine of the blinded profiles; same contract as `ompd.search.ballots`.
    unfinished : int, default 2 GiB
        Bytes that one hospital's unfinished uploads may announce.
    """

    def __init__(self, *, ballots: Ballots = ballots, unfinished: int = 2 << 30) -> None:
        self._ballots = ballots
        self._staging = MemoryStaging(unfinished)
        self._tables: dict[bytes, tuple[Version, ...]] = {}

    def stage(self, upload: Header, body: Upload) -> int:
        """Put a piece of an upload behind those that are here."""
        return self._staging.add(upload, body)

    def build(self, upload: Header, body: Upload) -> Version:
        """Index an upload whose pieces are all here."""
        rows = self._staging.whole(upload, body)
        assert isinstance(rows, MemoryRows)  # noqa: S101  (the staging makes no others)
        try:
            stored = PROFILES[upload.kind].of(body, *rows.read(), self._ballots)
        except OmpdError:
            self._staging.end(rows)
            raise
        if isinstance(stored, Changing) and np.may_share_memory(stored.limbs.limbs, rows.room):
            # What is added goes behind the rows where they are.
            table = stored.limbs
            room = MemoryRoom(words(rows.room, -1, *table.limbs.shape[1:]), len(table))
            stored = stored.with_limbs(table.moved(room, room.seen(len(table))))
        return Version(upload.sender, body.version, upload, stored, home=secrets.token_hex(8))

    def change(self, header: Header, body: Change, base: Version) -> Version:
        """Make the version that a change makes of the newest one, without copying that."""
        assert isinstance(base.stored, Changing)  # noqa: S101  (no others are changed)
        stored = base.stored.changed(body, base.stored.read(body))
        return Version(header.sender, body.version, header, stored, home=base.home)

    def tended(self, table_id: bytes) -> tuple[Version, ...]:
        """Return versions as they shall be kept, since versions before them ended, or none."""
        done: list[Version] = []
        versions = self._tables.get(table_id, ())
        for home in {each.home for each in versions}:
            group = sharing(versions, home)
            tables = tended([stored.limbs for _, stored in group]) if group else []
            done += [
                replace(version, stored=stored.with_limbs(table))
                for (version, stored), table in zip(group, tables, strict=bool(tables))
                if table is not stored.limbs
            ]
        return tuple(done)

    def erase(self, table_id: bytes) -> None:
        """Overwrite the rows that no version has any more."""
        for each in self._tables.get(table_id, ()):
            if isinstance(each.stored, Changing) and (room := each.stored.limbs.room) is not None:
                room.erase()

    @property
    def littered(self) -> bool:
        """Never: memory refuses nothing."""
        return False

    def sweep(self) -> None:
        """Do nothing."""

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table; without any, it is forgotten."""
        if versions:
            self._tables[table_id] = versions
        else:
            self._tables.pop(table_id, None)
        self._staging.passed(table_id, versions)

    def discard(self, version: Version) -> None:
        """Give up what was built and is not kept."""
        cut(version, itertools.chain(*self._tables.values()))

    def versions(self, table_id: bytes) -> tuple[Version, ...]:
        """Return all versions of a table, newest first."""
        return self._tables.get(table_id, ())

    def kept(self) -> Mapping[bytes, tuple[Version, ...]]:
        """Return all versions of all tables, by table id."""
        return dict(self._tables)

    def close(self) -> None:
        """Do nothing."""
