"""What all profiles have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ompd.errors import FramingError, LabelError, NeighborsError
from ompd.wire import Body, Verdict

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TableRef:
    """Where a table is found at the cloud.

    Parameters
    ----------
    table_id : bytes
        16 random bytes.
    version : int
    """

    table_id: bytes
    version: int


@dataclass(frozen=True, slots=True, repr=False)
class Neighbours:
    """What the nearest instances of some queries say.

    Parameters
    ----------
    codes : int64 array of shape (q,)
        Most frequent class; ties go to the smaller summed distance, then the smaller code.
    votes : int64 array of shape (q, classes)
    certified : bool array of shape (q,)
        Whether the hospital itself knows that these were the nearest, without trusting the cloud.
    answered : bool array of shape (q,)
        False where what came is no answer to that query; its other values mean nothing.
    """

    codes: I64
    votes: I64
    certified: npt.NDArray[np.bool_]
    answered: npt.NDArray[np.bool_]


class Retrieval(Protocol):
    """The hospital's secret side of one published table."""

    @property
    def answer(self) -> type[Body]:
        """Type of the body that answers a job."""

    @property
    def most(self) -> int:
        """Most queries in one job."""

    def answer_bytes(self, rows: int) -> int:
        """Bytes of numbers in the answer to a job of so many queries."""

    @property
    def room(self) -> int:
        """Queries that can be answered before the table needs a new window."""

    def job(self, vectors: I64, members: Sequence[int]) -> tuple[Body, Any]:
        """Return a job for the cloud, and what `read` needs with its answer.

        Parameters
        ----------
        vectors : int64 array of shape (q, coordinates)
        members : sequence of int
            How many of them, in order, each user asks.
        """

    def window(self, context: Any) -> object | None:
        """Return an object that is the same for jobs to be read in order; None if it is alone."""

    def abandon(self, context: Any) -> None:
        """Give up a job whose answer will not come."""

    def read(self, body: Any, context: Any, rows: int, k: int) -> Neighbours:
        """Read the answer to a job of `rows` queries.

        Raises
        ------
        NeighborsError, FramingError, LabelError, BucketAuthError
            If it is not possible.
        """


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
