"""What a cloud follows of a table's rows when it changes, and when it is published anew.

A change names rows by their numbers, so that the cloud knows of every other row that it stayed, and
what became of the named ones. A table that is published anew has no numbers in common with the one
before: only equal bytes link its rows to those, and a fresh key leaves none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd.arrays import I64
from ompd.audit.views import HardenedView, PaperView
from ompd.wire import HardenedChange, PaperChange


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ChangeView:
    """A change, as the cloud gets it.

    Attributes
    ----------
    rows : int
        Of the version before.
    removed, relabelled : int64 array
        Row numbers.
    labels : int64 array
        Of the rows that came.
    """

    rows: int
    removed: I64
    relabelled: I64
    labels: I64

    @classmethod
    def of(cls, body: PaperChange | HardenedChange) -> Self:
        """Read the body of the frame that the cloud opened."""
        removed, relabelled = (
            np.frombuffer(part, "<u4").astype(np.int64) for part in (body.removed, body.relabelled)
        )
        labels = np.frombuffer(body.labels, "<u2").astype(np.int64)
        return cls(body.rows, removed, relabelled, labels)


def named(change: ChangeView) -> I64:
    """Follow rows by their numbers.

    Returns
    -------
    int64 array of shape (rows,)
        Which of the rows that stayed each one is; -1 if it went.
    """
    stays = np.ones(change.rows, np.bool_)
    stays[change.removed] = False
    return np.where(stays, np.cumsum(stays) - 1, -1)


def alike(before: PaperView | HardenedView, after: PaperView | HardenedView) -> I64:
    """Follow rows to a table that was published anew, by their bytes.

    Returns
    -------
    int64 array of shape (rows of the first,)
        Where each row is in the second; -1 if that cannot be told, since it is not there or not
        the only one of its kind.
    """
    one, two = (view.table.reshape(len(view.table), -1) for view in (before, after))
    kinds = np.unique(np.concatenate([one, two]), axis=0, return_inverse=True)[1].reshape(-1)
    here, there = kinds[: len(one)], kinds[len(one) :]
    most = len(kinds)
    single = (np.bincount(here, minlength=most) == 1) & (np.bincount(there, minlength=most) == 1)
    place = np.full(most, -1, np.int64)
    place[there] = np.arange(len(two))
    return np.where(single[here], place[here], -1)
