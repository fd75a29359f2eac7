"""Tables that last as long as the process."""

from __future__ import annotations

from collections.abc import Mapping

from ompd.search import ballots
from ompd.search.verdicts import Ballots
from ompd.stores.tables.contract import Upload, Version
from ompd.stores.tables.profiles import PROFILES
from ompd.wire import Header


class MemoryTables:
    """Keeps a cloud's tables in memory; see `Tables`.

    Parameters
    ----------
    ballots : callable
        The engine of the blinded profiles; same contract as `ompd.search.ballots`.
    """

    def __init__(self, *, ballots: Ballots = ballots) -> None:
        self._ballots = ballots
        self._tables: dict[bytes, tuple[Version, ...]] = {}

    def build(self, upload: Header, body: Upload) -> Version:
        """Check an upload and index it."""
        stored = PROFILES[upload.kind].of(body, self._ballots)
        return Version(upload.sender, body.version, upload, stored)

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table."""
        self._tables[table_id] = versions

    def discard(self, version: Version) -> None:
        """Give up what was built and is not kept: nothing else refers to it."""

    def versions(self, table_id: bytes) -> tuple[Version, ...]:
        """Return all versions of a table, newest first."""
        return self._tables.get(table_id, ())

    def kept(self) -> Mapping[bytes, tuple[Version, ...]]:
        """Return all versions of all tables, by table id."""
        return dict(self._tables)

    def close(self) -> None:
        """Do nothing."""
