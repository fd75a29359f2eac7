"""The cloud's side of a ``hardened`` table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ompd.arrays import U8, U16
from ompd.errors import FramingError, TableError
from ompd.search import WordTable, choose_k
from ompd.search.verdicts import Ballots
from ompd.stores.tables.blinded import blinded_piece, check_verdict, verdict, words
from ompd.stores.tables.contract import Job, Piece, Upload
from ompd.stores.tables.limb_index import Facts
from ompd.stores.tables.limbs import TableFolder
from ompd.wire import HardenedJob, HardenedUpload, Verdict


@dataclass(frozen=True, slots=True, repr=False)
class HardenedStored:
    """Instances on the ring of integers modulo 2**64, and the K that votes."""

    table: WordTable
    k: int
    ballots: Ballots

    upload: ClassVar[type[Upload]] = HardenedUpload
    job: ClassVar[type[Job]] = HardenedJob

    @classmethod
    def piece(cls, body: HardenedUpload) -> Piece:
        """Check values and labels of a body.

        Raises
        ------
        NeighborsError, LabelError, FramingError
        """
        return blinded_piece(body, 8 * body.coordinates)

    @classmethod
    def of(cls, body: HardenedUpload, values: U8, labels: U16, ballots: Ballots) -> HardenedStored:
        """Index instances, and choose K if that was left open.

        Raises
        ------
        TableError
        """
        rows = words(values, -1, body.coordinates)
        table = WordTable.of(rows, labels.astype(np.int64), body.classes)
        return cls(table, body.k or choose_k(table.table), ballots)

    @property
    def rows(self) -> int:
        """Instances, removed ones included."""
        return len(self.table)

    def prepare(self, body: HardenedJob) -> Callable[[], Verdict]:
        """Check queries on the ring, and return what finds their neighbours."""
        check_verdict(body.rows, self.table.table.classes)
        coordinates = len(self.table.origin)
        if len(body.points) != 8 * body.rows * coordinates:
            raise FramingError(f"points: expected {8 * body.rows * coordinates} bytes")
        values = np.frombuffer(body.points, dtype="<u8").astype(np.uint64, copy=False)
        points = self.table.queries(values.reshape(-1, coordinates))

        def search() -> Verdict:
            return verdict(
                body, self.k, *self.ballots(self.table.table, points, None, None, self.k)
            )

        return search

    def save(self, folder: Path, values: Path) -> HardenedStored:
        """Write the table to a new folder; the values came otherwise than they are searched."""
        origin = self.table.origin
        facts: Facts = {"k": self.k, "origin": origin.astype("<u8").tobytes()}
        mapped = TableFolder.save(folder, self.table.table, facts).table
        return replace(self, table=WordTable(mapped, origin))

    @classmethod
    def open(cls, folder: Path, ballots: Ballots, *, verify: bool) -> HardenedStored:
        """Map what `save` wrote."""
        opened = TableFolder.open(folder, verify=verify)
        match opened.facts:
            case {"k": int(k), "origin": bytes(origin)}:
                values = np.frombuffer(origin, "<u8").astype(np.uint64)
                return cls(WordTable(opened.table, values), k, ballots)
        raise TableError("index: is not that of a hardened table")
