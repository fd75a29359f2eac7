"""What the demo measures, and the records that it asks about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ompd import datasets
from ompd.arrays import F64, I64
from ompd.errors import DatasetError

#: Fixes which records are held out.
SPLIT_SEED = 1

ADVICE = {
    "benign": "No sign of malignancy among comparable cases. Keep to the regular screening dates.",
    "malignant": "Comparable cases were malignant. Please arrange a biopsy; this is no diagnosis.",
}


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured under one profile.

    Attributes
    ----------
    profile : str
    dataset : str
    instances, queries, k : int
    accuracy_plain, accuracy : float
        Share of held-out records that get their true label, by a plain search over the same
        integers and through the protocol.
    label_agreement : float
        Share of queries whose label is the plain one. Where several instances tie for the K-th
        place, both choices are right and the labels may differ.
    tied_queries : int
        Queries with such a tie.
    distances_agree : bool
        Whether for every query the K rows that were found have the K smallest plain distances; of
        `blind`, whether all probabilities are those of the plain model, bit for bit.
    certified : float
        Share of answers of which the hospital itself knows that they are exact.
    recovered, guessed : float, optional
        Share of all cells of the records that an attack on such a table recovers, and that guessing
        without a table gets right; None where there is nothing to attack.
    stage_ms : dict
        Milliseconds per stage: `setup` once, the others the median over all queries.
    link_bytes : dict
        Median frame length per link, and the upload of the table.
    signature_backend : str
    signatures_made, signatures_verified : int
    """

    profile: str
    dataset: str
    instances: int
    queries: int
    k: int
    accuracy_plain: float
    accuracy: float
    label_agreement: float
    tied_queries: int
    distances_agree: bool
    certified: float
    recovered: float | None
    guessed: float | None
    stage_ms: dict[str, float]
    link_bytes: dict[str, int]
    signature_backend: str
    signatures_made: int
    signatures_verified: int

    @property
    def query_bytes(self) -> int:
        """Bytes of all frames of one query."""
        once = ("table_upload", "key")
        return sum(size for link, size in self.link_bytes.items() if link not in once)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)


def held_out(dataset: str, queries: int) -> tuple[datasets.Dataset, datasets.Dataset, F64, I64]:
    """Return a data set, its part that a hospital has, and held-out features and classes.

    Raises
    ------
    DatasetError
        If the data set is unknown or too small for so many queries.
    """
    data = datasets.load(dataset)
    most = 2 * (min(data.info.class_rows) - 2)
    if not 1 <= queries <= most:
        raise DatasetError(f"queries: expected 1 to {most} for {dataset}, got {queries}")
    train, test = data.split(test_per_class=-(-queries // 2), seed=SPLIT_SEED)
    order = _alternating(test.labels)[:queries]
    return data, train, test.features[order], test.labels[order]


def _alternating(labels: I64) -> I64:
    """Order of rows that takes the classes in turn, so that any first part is balanced."""
    rank = np.empty(len(labels), dtype=np.int64)
    for code in np.unique(labels):
        members = np.flatnonzero(labels == code)
        rank[members] = np.arange(len(members))
    return np.lexsort((labels, rank))
