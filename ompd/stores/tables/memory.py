"""Tables that last as long as the process."""

from __future__ import annotations

from collections.abc import Mapping

from ompd.errors import OmpdError
from ompd.search import ballots
from ompd.search.verdicts import Ballots
from ompd.stores.tables.contract import Upload, Version
from ompd.stores.tables.profiles import PROFILES
from ompd.stores.tables.staging import MemoryStaging
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
        try:
            stored = PROFILES[upload.kind].of(body, *rows.read(), self._ballots)
        except OmpdError:
            self._staging.end(rows)
            raise
        return Version(upload.sender, body.version, upload, stored)

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table."""
        self._tables[table_id] = versions
        self._staging.passed(table_id, versions)

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
