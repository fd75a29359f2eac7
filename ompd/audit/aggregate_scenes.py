"""Records under the published aggregation: patients encrypt, and the cloud keeps what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd.aggregate import published
from ompd.arrays import F64, I64
from ompd.audit.scenes import Records
from ompd.audit.views import AggregateView
from ompd.schema import Schema

#: Length of N.
_BITS = 2048
#: Levels of a feature, from 1 on: none is 0, whose ciphertext is a multiple of p.
_LEVELS = 255


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AggregateScene:
    """Records of one session, as numbers of eight bits.

    Attributes
    ----------
    records : Records
    levels : int64 array of shape (N, n)
        What was encrypted, in the order of the view's ciphertexts.
    key : SessionKey
    view : AggregateView
    """

    records: Records
    levels: I64
    key: published.SessionKey
    view: AggregateView

    @classmethod
    def of(cls, records: Records) -> Self:
        """Encrypt all cells of the table."""
        table = records.table
        levels = np.rint((table.features - table.schema.low) / _unit(table.schema)).astype(np.int64)
        levels += 1
        key = published.keygen(_BITS, allow_broken=True)
        numbers = tuple(published.encrypt(key, int(cell)).value for cell in levels.flat)
        return cls(records, levels, key, AggregateView(key.modulus, numbers))

    def cells(self, values: I64) -> F64:
        """Return what an attack's levels say of the records; NaN where it says nothing."""
        schema = self.records.table.schema
        levels = values.reshape(self.levels.shape).astype(np.float64)
        cells: F64 = schema.low + (levels - 1) * _unit(schema)
        cells[levels < 1] = np.nan
        return cells

    def distinct_pair(self) -> tuple[int, int]:
        """Return the places of two cells of the first two records, the first and one unlike it."""
        first = self.levels.flat[0]
        others = np.flatnonzero(self.levels.flat != first)
        return 0, int(others[0]) if len(others) else 1


def _unit(schema: Schema) -> F64:
    """What one level is worth, per feature."""
    units = []
    for feature in schema.features:
        span = feature.high - feature.low
        few = feature.kind != "numeric" and span < _LEVELS
        units.append(1.0 if few or not span else span / (_LEVELS - 1))
    return np.array(units)
