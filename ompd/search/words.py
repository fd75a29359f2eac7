"""Search over values of the ring modulo 2**64, as the `hardened` profile sends them.

Why it is exact
---------------
In every column the cloud sees v = ±t + c mod 2**64 of a true coordinate t, where sign and c are
the column's secret. Let the true coordinates of a column, those of the table and of a query
together, span less than 2**63.

Take the first row's v_0. For any row, v - v_0 mod 2**64, read as a signed 64-bit number, is the
true difference ±(t - t_0), because that lies in (-2**63, 2**63) and signed numbers represent each
class modulo 2**64 by its only member there. So with d the least of them and s the span from the
least to the largest, b = v_0 + d is the smallest of the values ±t: v - b mod 2**64 are the true ±t
minus that smallest one, and lie in [0, s]. A query's true ±t minus the smallest one lies in
(s - 2**63, 2**63), being less than 2**63 away from both ends of the table.

So with any j from 0 to s and the origin b - 2**63 + j, the numbers v - origin mod 2**64 and
w - origin mod 2**64 are these true ones plus 2**63 - j, which lies in [2**63 - s, 2**63]: all are
in (0, 2**64), so nothing wraps around. They are true coordinates up to the column's sign and one
translation. Absolute differences do not depend on either, so the L1 distances that `compute` finds
are those of the true vectors, and so are the neighbours and, since the order of rows is kept, all
ties.

Of the s + 1 origins, the one with the most zeros at its end is taken: it tells how far the column
reaches, roughly, and outlasts the rows that it came from. What is said of queries holds as well for
rows that are added later, as long as all true coordinates, those of removed rows included, span
less than 2**63: the origin stays, and they need not lie between the first ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ompd.arrays import I64, U64
from ompd.errors import TableError
from ompd.search.table import LimbTable

_HALF = np.uint64(1 << 63)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WordTable:
    """Instances as ring values, brought into an order that the search understands.

    Parameters
    ----------
    table : LimbTable
        One limb per coordinate.
    origin : uint64 array of shape (m,)
        What was subtracted from each column.
    """

    table: LimbTable
    origin: U64

    @classmethod
    def of(cls, values: U64, labels: I64, classes: int) -> Self:
        """Orient the columns and index the rows.

        Parameters
        ----------
        values : uint64 array of shape (N, m)
            True coordinates up to one sign and one shift per column, modulo 2**64.
        labels : int64 array of shape (N,)
            Codes from 0 to classes - 1.
        classes : int

        Raises
        ------
        TableError
            If the array has another type or shape, there are no instances, or a column spans
            2**63 or more, which no table of true coordinates below that does.
        LabelError
            If a code is outside its range.
        """
        if not isinstance(values, np.ndarray) or values.dtype != np.uint64:
            raise TableError("values: expected a uint64 array")
        if values.ndim != 2 or 0 in values.shape:
            raise TableError(f"values: expected shape (rows, coordinates), got {values.shape}")
        differences = (values - values[0]).view(np.int64)
        least = differences.min(axis=0).view(np.uint64)
        span = differences.max(axis=0).view(np.uint64) - least
        if (span >= _HALF).any():
            raise TableError("values: a column spans half of the ring or more")
        origin = _rounded(values[0] + least - _HALF, span)
        return cls(LimbTable(_limbs(values, origin), labels, classes), origin)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)

    def __repr__(self) -> str:
        return f"<WordTable {len(self)} x {len(self.origin)}, {self.table.classes} classes>"

    def extended(self, values: U64, labels: I64) -> Self:
        """Return a table with rows appended; see `LimbTable.extended`.

        Parameters
        ----------
        values : uint64 array of shape (count, m)
            Blinded like the table.
        labels : int64 array of shape (count,)

        Raises
        ------
        TableError, LabelError
            If the rows do not fit the table.
        """
        return replace(self, table=self.table.extended(self.queries(values), labels))

    def queries(self, values: U64) -> U64:
        """Bring queries to the table's scale, for `compute`.

        Parameters
        ----------
        values : uint64 array of shape (q, m)
            Blinded like the table. No ring value is invalid.

        Returns
        -------
        uint64 array of shape (q, m, 1)

        Raises
        ------
        TableError
            If the array has another type or shape.
        """
        if not isinstance(values, np.ndarray) or values.dtype != np.uint64:
            raise TableError("values: expected a uint64 array")
        if values.ndim != 2 or values.shape[1:] != self.origin.shape:
            raise TableError(
                f"values: expected shape (queries, {len(self.origin)}), got {values.shape}"
            )
        return _limbs(values, self.origin)


def _rounded(least: U64, span: U64) -> U64:
    """Of the numbers from `least` to `least + span` mod 2**64, the one with the most zeros last."""
    top = least + span
    bits = [max(0, int(each).bit_length() - 1) for each in span]
    return top & ~((np.uint64(1) << np.array(bits, np.uint64)) - np.uint64(1))


def _limbs(values: U64, origin: U64) -> U64:
    return np.ascontiguousarray(values - origin)[:, :, np.newaxis]
