"""What is asked of a sealed table, and what is found in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ompd.arrays import I64, Bools
from ompd.errors import FeatureError, OverflowParameterError
from ompd.sealed.build import VALUE_BITS, Secret


class Found(NamedTuple):
    """The K nearest rows of q queries.

    Attributes
    ----------
    distances : int64 array of shape (q, K)
        Ascending; equal distances in order of row.
    labels : int64 array of shape (q, K)
    rows : int64 array of shape (q, K)
    certified : bool array of shape (q,)
        Whether the distances are proven to be the K smallest of the whole table.
    answered : bool array of shape (q,)
        False where a sum was not that of the buckets asked for, or fewer than K rows came; the
        others of that query mean nothing then.
    """

    distances: I64
    labels: I64
    rows: I64
    certified: Bools
    answered: Bools

    def __repr__(self) -> str:
        return f"<Found for {len(self.certified)} queries>"


def check_queries(secret: Secret, queries: I64) -> None:
    """Refuse what cannot be asked of a table.

    Raises
    ------
    FeatureError
        If the queries have another type or shape, or a value is out of range.
    OverflowParameterError
        If a distance could reach 2**63.
    """
    columns = len(secret.code.bases)
    if (
        not isinstance(queries, np.ndarray)
        or queries.dtype != np.int64
        or queries.ndim != 2
        or queries.shape[1] != columns
        or not len(queries)
    ):
        raise FeatureError(f"queries: expected an int64 array of shape (q, {columns}), q >= 1")
    if queries.min() < 0 or int(queries.max()).bit_length() > VALUE_BITS:
        raise FeatureError(f"queries: expected values from 0 below 2**{VALUE_BITS}")
    if columns * int(queries.max()) >= 1 << 63:
        raise OverflowParameterError("queries: a distance could reach 2**63")
