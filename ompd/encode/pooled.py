"""An additive model from counts alone, which several hospitals can add up without pooling records.

Hospitals count, per class, how many of their records lie in each cell. Sums of such counts are the
counts of all records together, so the model is the same, bit for bit, whoever added them up, and
also where that was a cloud that saw none of them:

    bins = Bins.even(schema)                                      # by the schema, which all have
    collection, frame = physician.collect("cloud", "counts", "sum", length=..., bound=..., least=5)
    physician.confirm(cloud.answer(frame))
    for hospital, records in zip(hospitals, parts):
        hospital.accept(physician.invite(collection, hospital.id))
        counts = count_cells(bins, records.features, records.labels)
        hospital.confirm(cloud.answer(hospital.contribute(collection, counts.ravel())))
    total = physician.read(cloud.answer(physician.ask(collection)))
    counts = total.values[0].reshape(len(schema.classes), bins.width)
    hospital.publish_model(disease, model_of_counts(bins, counts), rows=...)    # of `Hospital`

The evidence of a cell for a class is the logarithm of its share among the class's records: naive
Bayes. Features that say the same are counted twice, which makes it too sure; `AdditiveModel.fit`
is not, and needs records.

Source: Good, Probability and the weighing of evidence, 1950; shares by Laplace's rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ompd.arrays import I64
from ompd.encode.additive import AdditiveModel, rounded_weights
from ompd.errors import TrainingError
from ompd.params import SCORING
from ompd.schema import Bins
from ompd.search.calibration import Priors

#: Records that every cell of every class is taken to have besides those counted.
_UNSEEN = 1.0


def count_cells(bins: Bins, features: Any, labels: Any) -> I64:
    """Count records per class and cell.

    Parameters
    ----------
    bins : Bins
    features : array-like of shape (N, n)
        NaN is missing, where the schema allows that.
    labels : integer array-like of shape (N,)
        Class codes.

    Returns
    -------
    int64 array of shape (classes, cells)
        For each feature, the counts of its cells in a class add up to the class's records.

    Raises
    ------
    FeatureError, DomainError, LabelError
        If the records do not fit the schema.
    """
    schema = bins.schema
    values = schema.check(features)
    codes = schema.check_codes(labels, len(values))
    counts = np.zeros((len(schema.classes), bins.width), dtype=np.int64)
    np.add.at(counts, (codes[:, np.newaxis], bins.places(values)), 1)
    return counts


def model_of_counts(
    bins: Bins, counts: I64, *, most: int = SCORING.plain_modulus // 2, priors: Priors = "equal"
) -> AdditiveModel:
    """Make a model of counts per class and cell.

    Parameters
    ----------
    bins : Bins
    counts : int64 array of shape (classes, cells)
        As `count_cells` returns them, or sums of these.
    most : int
        Largest absolute value that a score may have; by default what the profile `blind` can ask.
    priors : {"equal", "training"}
        Which shares the classes have among those who ask.

    Raises
    ------
    TrainingError
        If these are no counts of records: of another shape or type, below zero, or with features
        that do not agree on how many records a class has; or if a class has none, or there is one
        class only.
    TooLargeError
        If there are so many features that scores do not fit.
    """
    sizes = _sizes(bins, counts)
    cells = np.array(bins.cells)
    # Of each feature's cells, how many records they have in common.
    shares = np.log(counts + _UNSEEN) - np.log(
        np.repeat(sizes[:, np.newaxis] + _UNSEEN * cells, cells, axis=1)
    )
    if priors == "training":
        shares[:, : cells[0]] += np.log(sizes / sizes.sum())[:, np.newaxis]
    weights = (shares - shares[:1])[1:].T
    whole, bits = rounded_weights(bins, weights, most)
    return AdditiveModel(bins, np.ascontiguousarray(whole.T), bits)


def _sizes(bins: Bins, counts: I64) -> I64:
    """Records per class, of counts that can be some."""
    classes = len(bins.schema.classes)
    if not isinstance(counts, np.ndarray) or counts.dtype != np.int64:
        raise TrainingError(f"counts: expected an int64 array, got {type(counts).__name__}")
    if counts.shape != (classes, bins.width):
        raise TrainingError(f"counts: expected shape ({classes}, {bins.width}), got {counts.shape}")
    sums = np.add.reduceat(counts, bins.starts, axis=1)
    if (counts < 0).any() or (sums != sums[:, :1]).any():
        raise TrainingError("counts: expected as many records of a class in each feature")
    sizes: I64 = sums[:, 0]
    if classes < 2 or not sizes.all():
        raise TrainingError("counts: expected records of each of at least two classes")
    return sizes
