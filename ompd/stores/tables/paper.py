"""The cloud's side of a ``paper`` table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from ompd.errors import NonCanonicalError, ParameterError, TableError
from ompd.search import LimbTable, choose_k
from ompd.search.conversion import Modulus
from ompd.search.verdicts import Ballots
from ompd.stores.tables.blinded import check_open_k, check_verdict, labels_of, verdict, words
from ompd.stores.tables.contract import Job, Upload
from ompd.stores.tables.limb_index import Facts
from ompd.stores.tables.limbs import TableFolder
from ompd.wire import PaperJob, PaperUpload, Verdict, check_below, unpack_limbs


@dataclass(frozen=True, slots=True, repr=False)
class PaperStored:
    """Instances blinded by big primes, and the K that votes."""

    table: LimbTable
    modulus: Modulus
    k: int
    ballots: Ballots

    upload: ClassVar[type[Upload]] = PaperUpload
    job: ClassVar[type[Job]] = PaperJob

    @classmethod
    def of(cls, body: PaperUpload, ballots: Ballots) -> PaperStored:
        """Check an upload and index its instances.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, TableError, FramingError
        """
        modulus = _modulus(body)
        width = 8 * body.coordinates * body.limbs
        limbs = words(body.values, width)
        limbs = limbs.reshape(-1, body.coordinates, body.limbs)
        labels = labels_of(body.labels, len(limbs))
        check_below(limbs, modulus)
        check_open_k(body.k, len(limbs))
        table = LimbTable(limbs, labels, body.classes)
        return cls(table, Modulus.of(modulus, body.limbs), body.k or choose_k(table), ballots)

    def prepare(self, body: PaperJob) -> Callable[[], Verdict]:
        """Check blinded queries, and return what finds their neighbours."""
        check_verdict(body.rows, self.table.classes)
        _, coordinates, limbs = self.table.limbs.shape
        modulus = self.modulus.value
        points = unpack_limbs(body.points, modulus, body.rows * coordinates)
        tokens = unpack_limbs(body.tokens, modulus, body.rows, least=1)
        points = points.reshape(-1, coordinates, limbs)

        def search() -> Verdict:
            found = self.ballots(self.table, points, tokens, self.modulus, self.k)
            return verdict(body, self.k, *found)

        return search

    def save(self, folder: Path) -> PaperStored:
        """Write the table to a new folder; returns the one that is mapped from there."""
        modulus = self.modulus.value
        facts: Facts = {
            "k": self.k,
            "modulus": modulus.to_bytes(8 * len(self.modulus.limbs), "little"),
        }
        return replace(self, table=TableFolder.save(folder, self.table, facts).table)

    @classmethod
    def open(cls, folder: Path, ballots: Ballots, *, verify: bool) -> PaperStored:
        """Map what `save` wrote."""
        opened = TableFolder.open(folder, verify=verify)
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
