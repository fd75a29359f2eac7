"""Tables of a cloud that are kept in its folder and answered by the nodes of a cluster."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from ompd.arrays import I64
from ompd.cluster.copies import ChunksCopy, Copy, PartCopy, TableCopy, part_bytes
from ompd.cluster.crew import Crew
from ompd.cluster.rounds import Hands
from ompd.cluster.spread import Copied, Parted, Spread, Summed
from ompd.errors import ParameterError, StoreError
from ompd.search.parts import Boxes
from ompd.stores.tables import Change, Changing, FolderTables, Stored, Upload, Version
from ompd.stores.tables.sealed import SealedStored
from ompd.wire import Header

#: Seconds in which workers let go of rows that are to be erased.
_ERASING = 30.0


class Tables:
    """Keeps a cloud's tables in a folder, and lets workers answer.

    Tables are kept, changed and erased as by `FolderTables`. Workers have copies, which share the
    queries of a job; one that sees the folder maps its files, another one is sent them. A table
    that is larger than the memory of a worker is cut into parts. Until workers have what they need,
    and for a few queries, the cloud answers by itself; the answers are the same.

    Parameters
    ----------
    path : path
        As for `FolderTables`.
    hands : Hands, optional
        How workers are started; by default on the Ray cluster at `address`.
    address : str, optional
        Of a Ray cluster; by default the one that this process is connected to, else one of its own
        on this machine.
    workers, threads : int, optional
        How many, and what one may use. By default one on each node with all its processors, or two
        where there is one node.
    memory : int, optional
        Bytes of tables that a worker may have; by default its part of the node's.
    **options
        As for `FolderTables`.

    Raises
    ------
    BackendUnavailableError
        If Ray is not installed.
    ClusterError
        If the cluster cannot be used: its nodes have other versions of this package or NumPy, or it
        lets anybody in.
    StoreError
        As `FolderTables`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        hands: Hands | None = None,
        address: str | None = None,
        workers: int | None = None,
        threads: int | None = None,
        memory: int | None = None,
        **options: Any,
    ) -> None:
        for name, given in (("workers", workers), ("threads", threads), ("memory", memory)):
            if given is not None and given < 1:
                raise ParameterError(f"{name}: expected a positive integer")
        if hands is None:
            from ompd.cluster.rays import RayHands

            hands = RayHands.connect(address, workers, threads)
            workers, memory = hands.workers, memory or hands.memory
        self._workers = workers or 1
        self._memory = memory
        self._folder = FolderTables(path, **options)
        self._crew = Crew(hands, self._workers)
        self._lock = threading.Lock()
        # What stands for each version that is kept, by the place of its data, with its keys.
        self._spread: dict[str, tuple[Stored, Spread, tuple[str, ...]]] = {}
        # Cuts of tables, by where in memory the order of their rows is, which changes share.
        self._cuts: dict[tuple[int, int], tuple[Boxes, list[I64], tuple[str, ...]]] = {}
        for table_id in self._folder.kept():
            self._place(table_id)

    # --- as the folder does

    def stage(self, upload: Header, body: Upload) -> int:
        """Put a piece of an upload behind those that are here, durably."""
        return self._folder.stage(upload, body)

    def build(self, upload: Header, body: Upload) -> Version:
        """Index an upload whose pieces are all here, and give it a folder of its own."""
        return self._folder.build(upload, body)

    def change(self, header: Header, body: Change, base: Version) -> Version:
        """Make the version that a change makes of the newest one, without copying that."""
        return self._folder.change(header, body, _own(base))

    def tended(self, table_id: bytes) -> tuple[Version, ...]:
        """Return versions as they shall be kept, since versions before them ended, or none."""
        return self._folder.tended(table_id)

    def erase(self, table_id: bytes) -> None:
        """Overwrite the rows that no version has any more, once no worker has them.

        Raises
        ------
        StoreError
            If the place refuses, or a worker does not let go yet; another try may follow.
        """
        if not self._crew.let_go(_ERASING):
            raise StoreError("tables: a worker still has rows that are to be erased")
        self._folder.erase(table_id)

    @property
    def littered(self) -> bool:
        """Whether something is still there that was to be removed and could not be."""
        return self._folder.littered

    def sweep(self) -> None:
        """Remove what could not be removed when it was to be."""
        self._folder.sweep()

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table, at once and durably, and workers have them soon."""
        self._folder.keep(table_id, tuple(_own(each) for each in versions))
        self._place(table_id)

    def discard(self, version: Version) -> None:
        """Remove what was built, unless the table's file names it after all."""
        self._folder.discard(_own(version))

    def versions(self, table_id: bytes) -> tuple[Version, ...]:
        """Return all versions of a table, newest first."""
        return tuple(self._spread_out(each) for each in self._folder.versions(table_id))

    def kept(self) -> Mapping[bytes, tuple[Version, ...]]:
        """Return all versions of all tables, by table id."""
        return {
            table_id: tuple(self._spread_out(each) for each in versions)
            for table_id, versions in self._folder.kept().items()
        }

    @property
    def damaged(self) -> dict[str, str]:
        """As of `FolderTables`."""
        return self._folder.damaged

    def close(self) -> None:
        """End the workers, and let another process have the folder; may be repeated."""
        self._crew.close()
        self._folder.close()

    def __repr__(self) -> str:
        return f"<Tables on {self._crew!r}>"

    # --- workers

    def settle(self, seconds: float) -> bool:
        """Wait until workers have all tables; returns whether they do."""
        return self._crew.settle(seconds)

    def status(self) -> list[dict[str, Any]]:
        """Return for each worker where it is, what it holds, and how much it was asked."""
        return self._crew.status()

    def _spread_out(self, version: Version) -> Version:
        with self._lock:
            found = self._spread.get(_place(version))
        if found is None or found[0] is not version.stored:
            return version
        return replace(version, stored=cast("Stored", found[1]))

    def _place(self, table_id: bytes) -> None:
        """Let workers have the versions of a table as they are now, and nothing else of it."""
        new: dict[str, Copy] = {}
        prefix = table_id.hex()
        with self._lock:
            before = {place: each for place, each in self._spread.items() if place[:32] == prefix}
            for version in self._folder.versions(table_id):
                place = _place(version)
                if version.stored is None:
                    continue
                known = before.get(place)
                if known is not None and known[0] is version.stored:
                    del before[place]
                    continue
                copies, spread = self._made(version, version.stored)
                new |= copies
                self._spread[place] = version.stored, spread, tuple(copies)
            for place, (stored, _, _) in before.items():
                if self._spread[place][0] is stored:
                    del self._spread[place]
            still = {key for _, _, keys in self._spread.values() for key in keys}
            gone = [key for _, _, keys in before.values() for key in keys if key not in still]
            self._cuts = {where: cut for where, cut in self._cuts.items() if still & {*cut[2]}}
        if new:
            self._crew.place(new)
        if gone:
            self._crew.forget(gone)

    def _made(self, version: Version, stored: Stored) -> tuple[dict[str, Copy], Spread]:
        """Return what workers are to hold for a version, and what asks them."""
        assert isinstance(stored, (Changing, SealedStored))  # noqa: S101  (there are no others)
        parts = self._parts(stored)
        copies = max(1, self._workers // parts)
        if parts == 1:
            key = _place(version)
            copy = TableCopy(
                version.upload.kind, self._folder.place(version), version.index,
                _bytes(stored), self._workers,
            )  # fmt: skip
            if isinstance(stored, SealedStored):
                return {key: copy}, Summed(stored, self._crew, (0, stored.layout.chunks), (key,))
            return {key: copy}, Copied(stored, self._crew, key)
        if isinstance(stored, SealedStored):
            layout = stored.layout
            edges = [layout.chunks * part // parts for part in range(parts + 1)]
            chunks: dict[str, Copy] = {
                f"{_place(version)}/{first}": ChunksCopy(
                    layout, stored.buckets, first, last, copies
                )
                for first, last in pairwise(edges)
            }
            return chunks, Summed(stored, self._crew, edges, tuple(chunks))
        return self._made_parts(stored, parts, copies)

    def _made_parts(
        self, stored: Changing, parts: int, copies: int
    ) -> tuple[dict[str, Copy], Spread]:
        table = stored.limbs
        order = np.asarray(table.index.rows)
        where = order.ctypes.data, len(order)
        if where not in self._cuts:
            name = secrets.token_hex(8)
            boxes = Boxes.cut(table.index, parts)
            keys = tuple(f"{name}/{part}" for part in range(parts))
            self._cuts[where] = boxes, [boxes.rows(part) for part in range(parts)], keys
        boxes, rows, keys = self._cuts[where]
        held: dict[str, Copy] = {
            key: PartCopy(table.limbs, some, copies)
            for key, some in zip(keys, rows, strict=True)
            if len(some)
        }
        gone = secrets.token_hex(8)
        return held, Parted(stored, self._crew, boxes, rows, keys, gone)

    def _parts(self, stored: Changing | SealedStored) -> int:
        """Return into how many parts a table is cut: one if a worker has room for all."""
        parts = 1
        if self._memory is not None:
            while parts < self._workers and _bytes(stored) > parts * self._memory:
                parts *= 2
        if isinstance(stored, SealedStored):
            parts = min(parts, stored.layout.chunks)
        return parts


def _own(version: Version) -> Version:
    """Return the version with the table itself."""
    stored = version.stored
    return replace(version, stored=stored.stored) if isinstance(stored, Spread) else version


def _place(version: Version) -> str:
    return f"{version.home}/{version.index}"


def _bytes(stored: Changing | SealedStored) -> int:
    if isinstance(stored, SealedStored):
        return stored.layout.table_bytes
    return part_bytes(*stored.limbs.limbs.shape)
