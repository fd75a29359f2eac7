"""The cloud's side of a ``paper`` table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ompd.arrays import I64, U8, U16, U64
from ompd.errors import NonCanonicalError, ParameterError, TableError
from ompd.search import LimbTable, choose_k
from ompd.search.conversion import Modulus, convert
from ompd.search.verdicts import Ballots
from ompd.stores.tables.blinded import Blinded, blinded_piece, check_verdict, verdict, words
from ompd.stores.tables.contract import Change, Job, Piece, Upload
from ompd.stores.tables.limb_index import Facts
from ompd.stores.tables.limbs import TableFolder
from ompd.wire import PaperChange, PaperJob, PaperUpload, Verdict, check_below, unpack_limbs


@dataclass(frozen=True, slots=True, repr=False)
class PaperStored(Blinded):
    """Instances blinded by big primes, and the K that votes."""

    table: LimbTable
    modulus: Modulus
    k: int
    ballots: Ballots

    change: ClassVar[type[Change]] = PaperChange
    upload: ClassVar[type[Upload]] = PaperUpload
    job: ClassVar[type[Job]] = PaperJob

    @classmethod
    def piece(cls, body: PaperUpload) -> Piece:
        """Check modulus, values and labels of a body.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, FramingError
        """
        modulus = _modulus(body)
        piece = blinded_piece(body, 8 * body.coordinates * body.limbs)
        check_below(words(piece.values, -1, body.limbs), modulus)
        return piece

    @classmethod
    def of(cls, body: PaperUpload, values: U8, labels: U16, ballots: Ballots) -> PaperStored:
        """Index instances, and choose K if that was left open.

        Raises
        ------
        TableError
        """
        limbs = words(values, -1, body.coordinates, body.limbs)
        table = LimbTable(limbs, labels.astype(np.int64), body.classes)
        modulus = Modulus.of(_modulus(body), body.limbs)
        return cls(table, modulus, body.k or choose_k(table), ballots)

    @property
    def limbs(self) -> LimbTable:
        """The rows."""
        return self.table

    def with_limbs(self, limbs: LimbTable) -> PaperStored:
        """Return the same table with other rows, or its rows in another place."""
        return replace(self, table=limbs)

    def extended(self, body: PaperChange, labels: I64) -> PaperStored:
        """Return the table with the values of a change behind its rows."""
        _, coordinates, limbs = self.table.limbs.shape
        values = words(body.values, -1, coordinates, limbs)
        check_below(values.reshape(-1, limbs), self.modulus.value)
        return replace(self, table=self.table.extended(values, labels))

    @property
    def facts(self) -> Facts:
        """K and the modulus."""
        modulus = self.modulus.value.to_bytes(8 * len(self.modulus.limbs), "little")
        return {"k": self.k, "modulus": modulus}

    def prepare(self, body: PaperJob) -> Callable[[], Verdict]:
        """Check blinded queries, and return what finds their neighbours."""
        points, tokens = self._sent(body)

        def search() -> Verdict:
            found = self.ballots(self.table, points, tokens, self.modulus, self.k)
            return verdict(body, self.k, *found)

        return search

    def queries(self, body: PaperJob) -> U64:
        """Check blinded queries, and bring them to the table's scale."""
        return convert(*self._sent(body), self.modulus)

    def _sent(self, body: PaperJob) -> tuple[U64, U64]:
        check_verdict(body.rows, self.table.classes)
        _, coordinates, limbs = self.table.limbs.shape
        modulus = self.modulus.value
        points = unpack_limbs(body.points, modulus, body.rows * coordinates)
        tokens = unpack_limbs(body.tokens, modulus, body.rows, least=1)
        return points.reshape(-1, coordinates, limbs), tokens

    def save(self, folder: Path, values: Path) -> PaperStored:
        """Write the table to a new folder, of which the values become a part."""
        return self.with_limbs(TableFolder.adopt(folder, values, self.table, self.facts).table)

    @classmethod
    def open(
        cls, folder: Path, ballots: Ballots, *, index: str, verify: bool, mend: bool = True
    ) -> PaperStored:
        """Map what `save` or `note` wrote."""
        opened = TableFolder.open(folder, index=index, verify=verify, mend=mend)
        match opened.facts:
            case {"k": int(k), "modulus": bytes(modulus)}:
                number = int.from_bytes(modulus, "little")
                return cls(opened.table, Modulus.of(number, len(modulus) // 8), k, ballots)
        raise TableError("index: is not that of a paper table")


def _modulus(body: PaperUpload) -> int:
    modulus = int.from_bytes(body.modulus, "little")
    if not body.modulus or body.modulus[-1] == 0:
        raise NonCanonicalError("modulus: expected no leading zero bytes")
    if modulus % 2 == 0 or -(-modulus.bit_length() // 64) != body.limbs:
        raise ParameterError(f"modulus: expected an odd number of {body.limbs} limbs")
    return modulus
