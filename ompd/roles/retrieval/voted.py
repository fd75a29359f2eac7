"""What the profiles have in common whose tables the cloud searches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ompd.arrays import U64
from ompd.errors import FramingError, LabelError, NeighborsError
from ompd.roles.retrieval.contract import Edit, Neighbours, Retrieval
from ompd.wire import Verdict, verdict_bytes


class Voted(Retrieval):
    """A table that the cloud searches, and on which it votes; nothing is used up.

    Attributes
    ----------
    classes : int
    """

    answer = Verdict
    classes: int

    def answer_bytes(self, rows: int, context: None) -> int:
        """Bytes of numbers in the answer to a job of so many queries."""
        return rows * verdict_bytes(self.classes)

    def read(self, body: Verdict, context: None, rows: int, k: int) -> Neighbours:
        """Read the cloud's votes."""
        return read_verdict(body, rows, k, self.classes)


def change_fields(edit: Edit, values: U64) -> dict[str, Any]:
    """Return what the bodies of all profiles say of a change; `values` are the hidden vectors."""
    return {
        "rows": edit.first,
        "removed": edit.removed.astype("<u4").tobytes(),
        "relabelled": edit.relabelled.astype("<u4").tobytes(),
        "codes": edit.codes.astype("<u2").tobytes(),
        "labels": edit.labels.astype("<u2").tobytes(),
        "values": values.astype("<u8", copy=False).tobytes(),
    }


def read_verdict(body: Verdict, rows: int, k: int, classes: int) -> Neighbours:
    """Read a verdict as the blinded profiles get it.

    Raises
    ------
    NeighborsError, FramingError, LabelError
        If K is another, or codes and votes are not possible.
    """
    if body.k != k:
        raise NeighborsError(f"k: expected {k} as agreed on, got {body.k}")
    if len(body.codes) != 2 * rows or len(body.votes) != 2 * rows * classes:
        raise FramingError(f"verdict: expected codes and votes of {rows} queries")
    codes = np.frombuffer(body.codes, dtype="<u2").astype(np.int64)
    votes = np.frombuffer(body.votes, dtype="<u2").astype(np.int64).reshape(rows, classes)
    if codes.max() >= classes:
        raise LabelError("verdict: a class code is not one of the table's")
    if (votes.sum(axis=1) != k).any():
        raise NeighborsError("verdict: expected K votes per query")
    if (votes[np.arange(rows), codes] != votes.max(axis=1)).any():
        raise LabelError("verdict: a class code is not one that most neighbours have")
    nobody, everybody = np.zeros(rows, dtype=np.bool_), np.ones(rows, dtype=np.bool_)
    return Neighbours(codes, votes, nobody, everybody)
