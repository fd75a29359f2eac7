"""Rows judged by a classifier, without parties: nothing is hidden from this process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ompd.arrays import F64
from ompd.datasets import Dataset
from ompd.errors import ParameterError
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.roles import Diagnoses
from ompd.roles.diagnosis import Finding
from ompd.search import choose_k
from ompd.search.decision import Rule


def openly(records: Dataset, method: str, k: int | None) -> Callable[[F64], Diagnoses]:
    """Fit a classifier as a hospital would train a table of `sealed`, K included.

    Parameters
    ----------
    records : Dataset
    method : {"relief-mw", "evidence"}
    k : int, optional

    Returns
    -------
    callable
        Takes float64 vectors of shape (m, n), m at least 1, to `Diagnoses` with the classes of the
        records' schema.

    Raises
    ------
    ParameterError, NeighborsError, TrainingError
        As `Hospital.publish`.
    """
    schema = records.schema
    model: EvidenceClassifier | ReliefMWClassifier
    if method == "evidence":
        model = EvidenceClassifier(k, schema=schema)
    elif method == "relief-mw":
        model = ReliefMWClassifier(1 if k is None else k, schema=schema)
    else:
        raise ParameterError("method: expected 'relief-mw' or 'evidence'")
    model.fit(records.features, records.labels)
    if k is None and method == "relief-mw":
        model.n_neighbors_ = choose_k(model.table_)
        model.rule_ = Rule.learn(model.table_, model.n_neighbors_, "probability", "equal")
    # Places of the classes that have records among all.
    places = model.classes_.astype(np.int64)
    wide = len(schema.classes)

    def judge(values: F64) -> Diagnoses:
        found = model.judge(values)
        probabilities = np.zeros((len(found), wide))
        votes = np.zeros((len(found), wide), dtype=np.uint16)
        probabilities[:, places], votes[:, places] = found.probabilities, found.votes
        return Diagnoses(
            schema.classes,
            tuple(Finding(schema.classes[place], "", None, model._method) for place in places),
            found.finding, probabilities, votes, found.certified, found.filled,
        )  # fmt: skip

    return judge
