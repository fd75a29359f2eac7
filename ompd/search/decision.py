"""From the votes of the nearest neighbours to a label and what it rests on.

Hospital and classifiers decide here and nowhere else, so that one never says what the other denies,
and no label contradicts the probabilities beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from ompd.arrays import F64, I64, U16, U64
from ompd.errors import NeighborsError, ParameterError
from ompd.search import LimbTable, ballots, leave_one_out, spread
from ompd.search.calibration import CALIBRATION_ROWS, Calibration, Priors, check_priors
from ompd.search.choice import CANDIDATES

Decision = Literal["probability", "majority"]


class Outcome(NamedTuple):
    """What some queries are told.

    Attributes
    ----------
    codes : int64 array of shape (m,)
    probabilities : float64 array of shape (m, classes)
        In each row none is above that of the code.
    """

    codes: I64
    probabilities: F64


@dataclass(frozen=True, slots=True)
class Rule:
    """How votes become a label.

    Parameters
    ----------
    calibration : Calibration, optional
        The label is the class of highest calibrated probability. Without one it is the class of
        most votes, and the probabilities are the shares of the votes.
    """

    calibration: Calibration | None

    @classmethod
    def learn(
        cls,
        table: LimbTable,
        k: int,
        decision: Decision,
        priors: Priors,
        weights: F64 | None = None,
    ) -> Rule:
        """Calibrate on the table's own rows, each judged by the others, where that is needed.

        Parameters
        ----------
        table : LimbTable
        k : int
            Neighbours that vote; fewer where there are fewer others.
        decision : {"probability", "majority"}
        priors : {"equal", "training"}
            Which shares the classes have among those who ask. Nothing to a majority.
        weights : float64 array of shape (N,), optional
            How often each row of the table counts for the calibration. Nothing to a majority.

        Raises
        ------
        NeighborsError
            If a table of one row is to be calibrated.
        ParameterError
            If the priors are others, or the rows that calibrate all weigh 0.
        """
        if decision == "majority":
            return cls(None)
        own = spread(len(table), CALIBRATION_ROWS)
        found = leave_one_out(table, min(k, len(table) - 1), own)
        own_weights = None if weights is None else weights[own]
        votes = found.votes()
        return cls(Calibration.fit(votes, found.truth, priors=priors, weights=own_weights))

    def judge(self, table: LimbTable, queries: U64, k: int) -> Outcome:
        """Return labels and probabilities of queries by their k nearest rows.

        Parameters
        ----------
        table : LimbTable
        queries : uint64 array of shape (m, coordinates, L)
        k : int

        Raises
        ------
        TableError, NeighborsError
            As `ballots`.
        """
        codes, votes = ballots(table, queries, None, None, k)
        return self.decide(votes, codes)

    def decide(self, votes: I64, leading: I64) -> Outcome:
        """Return labels and probabilities.

        Parameters
        ----------
        votes : int64 array of shape (m, classes)
            Class counts among the K nearest rows of each query, K at least 1.
        leading : int64 array of shape (m,)
            The class of most votes; among several, that of the nearest rows.

        Returns
        -------
        Outcome
            Of equally probable classes the first is the label; of equally frequent ones, the
            leading.
        """
        if self.calibration is None:
            return Outcome(leading, votes / votes.sum(axis=1, keepdims=True))
        probabilities = self.calibration.probabilities(votes)
        return Outcome(probabilities.argmax(axis=1).astype(np.int64), probabilities)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class OpenRule:
    """What a rule is learned from once somebody else has chosen K.

    Parameters
    ----------
    near : uint16 array of shape (m, most)
        Of rows of the table, classes of the nearest others, the nearest first.
    truth : uint16 array of shape (m,)
        Their own classes.
    rows : int
        Of the whole table.
    classes : int
    priors : {"equal", "training"}
    """

    near: U16
    truth: U16
    rows: int
    classes: int
    priors: Priors

    @classmethod
    def of(cls, table: LimbTable, priors: Priors) -> OpenRule:
        """Judge rows of the table by the others, for every K of `CANDIDATES`.

        Raises
        ------
        NeighborsError
            If the table has one row.
        """
        most = min(CANDIDATES[-1], len(table) - 1)
        found = leave_one_out(table, most, spread(len(table), CALIBRATION_ROWS))
        near = table.labels[found.rows].astype(np.uint16)
        truth = found.truth.astype(np.uint16)
        return cls(near, truth, len(table), table.classes, check_priors(priors))

    def learn(self, k: int) -> Rule:
        """Return what `Rule.learn` returns of the same table for a decision by probability.

        Raises
        ------
        NeighborsError
            If nobody chooses this K.
        """
        k = min(k, self.rows - 1)
        if k > self.near.shape[1]:
            raise NeighborsError(f"k: expected one of at most {self.near.shape[1]}, got {k}")
        votes = np.zeros((len(self.near), self.classes), np.int64)
        near = self.near[:, :k].astype(np.int64)
        np.add.at(votes, (np.arange(len(near))[:, np.newaxis], near), 1)
        truth = self.truth.astype(np.int64)
        return Rule(Calibration.fit(votes, truth, priors=self.priors))


def check_decision(decision: object) -> Decision:
    """Return `decision` if it is "probability" or "majority".

    Raises
    ------
    ParameterError
    """
    for known in get_args(Decision):
        if isinstance(decision, str) and decision == known:
            return known  # type: ignore[no-any-return]
    raise ParameterError(
        "decision: expected 'probability' or 'majority', "
        f"got {type(decision).__name__} of another value"
    )


def default_decision(profile: str, method: str) -> Decision:
    """Return the published rule for the published method in the published profile, else ours."""
    return "majority" if profile == "paper" and method == "relief-mw" else "probability"
