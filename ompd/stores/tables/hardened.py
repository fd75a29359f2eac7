"""The cloud's side of a ``hardened`` table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ompd.arrays import I64, U8, U16, U64
from ompd.errors import FramingError, TableError
from ompd.search import LimbTable, WordTable, choose_k
from ompd.search.verdicts import Ballots
from ompd.stores.tables.blinded import Blinded, blinded_piece, check_verdict, verdict, words
from ompd.stores.tables.contract import Change, Job, Piece, Upload
from ompd.stores.tables.limb_index import Facts
from ompd.stores.tables.limbs import TableFolder
from ompd.wire import HardenedChange, HardenedJob, HardenedUpload, Verdict


@dataclass(frozen=True, slots=True, repr=False)
class HardenedStored(Blinded):
    """Instances on the ring of integers modulo 2**64, and the K that votes."""

    table: WordTable
    k: int
    ballots: Ballots

    change: ClassVar[type[Change]] = HardenedChange
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
    def limbs(self) -> LimbTable:
        """The rows."""
        return self.table.table

    def with_limbs(self, limbs: LimbTable) -> HardenedStored:
        """Return the same table with other rows, or its rows in another place."""
        return replace(self, table=WordTable(limbs, self.table.origin))

    def extended(self, body: HardenedChange, labels: I64) -> HardenedStored:
        """Return the table with the values of a change behind its rows."""
        values = words(body.values, -1, len(self.table.origin))
        return replace(self, table=self.table.extended(values, labels))

    @property
    def facts(self) -> Facts:
        """K, and where the columns begin."""
        return {"k": self.k, "origin": self.table.origin.astype("<u8").tobytes()}

    def prepare(self, body: HardenedJob) -> Callable[[], Verdict]:
        """Check queries on the ring, and return what finds their neighbours."""
        points = self.queries(body)

        def search() -> Verdict:
            return verdict(
                body, self.k, *self.ballots(self.table.table, points, None, None, self.k)
            )

        return search

    def queries(self, body: HardenedJob) -> U64:
        """Check queries on the ring, and bring them to the table's scale."""
        check_verdict(body.rows, self.table.table.classes)
        coordinates = len(self.table.origin)
        if len(body.points) != 8 * body.rows * coordinates:
            raise FramingError(f"points: expected {8 * body.rows * coordinates} bytes")
        values = np.frombuffer(body.points, dtype="<u8").astype(np.uint64, copy=False)
        return self.table.queries(values.reshape(-1, coordinates))

    def save(self, folder: Path, values: Path) -> HardenedStored:
        """Write the table to a new folder; the values came otherwise than they are searched."""
        return self.with_limbs(TableFolder.save(folder, self.limbs, self.facts).table)

    @classmethod
    def open(
        cls, folder: Path, ballots: Ballots, *, index: str, verify: bool, mend: bool = True
    ) -> HardenedStored:
        """Map what `save` or `note` wrote."""
        opened = TableFolder.open(folder, index=index, verify=verify, mend=mend)
        match opened.facts:
            case {"k": int(k), "origin": bytes(origin)}:
                values = np.frombuffer(origin, "<u8").astype(np.uint64)
                return cls(WordTable(opened.table, values), k, ballots)
        raise TableError("index: is not that of a hardened table")
