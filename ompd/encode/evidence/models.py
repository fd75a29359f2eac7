"""Fitted learners as plain arrays: fast for single rows, and the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ompd.arrays import F64, I64
from ompd.encode.evidence.storage import Reader, Writer

#: Rows that are walked through the trees at a time, which bounds memory.
_CHUNK = 2048
#: Below this a share of trees says no more: logarithms stay finite.
_LEAST_SHARE = 1e-4


class Model(Protocol):
    """Gives every row of a design matrix a logarithmic probability per class."""

    def scores(self, design: F64) -> F64:
        """Return logarithms of class probabilities, shape (m, classes)."""

    def write(self, out: Writer) -> None:
        """Add all that `scores` needs."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LinearModel:
    """Softmax of a linear function.

    Parameters
    ----------
    weights : float64 array of shape (p, classes)
    offsets : float64 array of shape (classes,)
    """

    weights: F64
    offsets: F64

    def scores(self, design: F64) -> F64:
        """Return logarithms of class probabilities, shape (m, classes)."""
        return log_softmax(design @ self.weights + self.offsets)

    def write(self, out: Writer) -> None:
        """Add all that `scores` needs."""
        out.floats(self.weights)
        out.floats(self.offsets)

    @classmethod
    def read(cls, data: Reader, width: int, classes: int) -> LinearModel:
        """Return what `write` added, for design matrices of `width` columns.

        Raises
        ------
        StoreError
        """
        return cls(data.floats(width, classes), data.floats(classes))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class KernelModel:
    """Softmax of a linear function of Gaussian kernels around landmarks.

    Parameters
    ----------
    landmarks : float64 array of shape (l, p)
    rate : float
        The kernel is exp(-rate * squared distance).
    linear : LinearModel
        Of l weights per class.
    """

    landmarks: F64
    rate: float
    linear: LinearModel

    def scores(self, design: F64) -> F64:
        """Return logarithms of class probabilities, shape (m, classes)."""
        squares = (design**2).sum(axis=1)[:, np.newaxis] + (self.landmarks**2).sum(axis=1)
        squares -= 2 * (design @ self.landmarks.T)
        return self.linear.scores(np.exp(-self.rate * np.maximum(squares, 0.0)))

    def write(self, out: Writer) -> None:
        """Add all that `scores` needs."""
        out.floats(self.landmarks)
        out.floats(self.rate)
        self.linear.write(out)

    @classmethod
    def read(cls, data: Reader, width: int, classes: int) -> KernelModel:
        """Return what `write` added, for design matrices of `width` columns.

        Raises
        ------
        StoreError
        """
        landmarks = data.floats(None, width)
        rate = float(data.floats())
        data.require(rate > 0)
        return cls(landmarks, rate, LinearModel.read(data, len(landmarks), classes))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TreeModel:
    """Many decision trees in one set of arrays.

    Parameters
    ----------
    roots : int64 array of shape (trees,)
        Node at which each tree starts.
    feature, left, right : int64 arrays of shape (nodes,)
        A row goes left if its value is at most the threshold. A leaf leads to itself.
    threshold : float64 array of shape (nodes,)
    values : float64 array of shape (nodes, classes)
        What a leaf adds to the classes.
    depth : int
        Steps after which every row has reached a leaf.
    offsets : float64 array of shape (classes,)
    shares : bool
        Whether the sums are probabilities (a forest) or their logarithms before the softmax
        (boosting).
    """

    roots: I64
    feature: I64
    left: I64
    right: I64
    threshold: F64
    values: F64
    depth: int
    offsets: F64
    shares: bool

    def scores(self, design: F64) -> F64:
        """Return logarithms of class probabilities, shape (m, classes)."""
        sums = np.empty((len(design), len(self.offsets)))
        for first in range(0, len(design), _CHUNK):
            sums[first : first + _CHUNK] = self._sums(design[first : first + _CHUNK])
        sums += self.offsets
        return np.log(np.maximum(sums, _LEAST_SHARE)) if self.shares else log_softmax(sums)

    def write(self, out: Writer) -> None:
        """Add all that `scores` needs."""
        out.floats(self.threshold)
        out.floats(self.values)
        for places in (self.feature, self.left, self.right, self.roots):
            out.integers(places)
        out.integers(self.depth)
        out.floats(self.offsets)
        out.integers(self.shares)

    @classmethod
    def read(cls, data: Reader, width: int, classes: int) -> TreeModel:
        """Return what `write` added, for design matrices of `width` columns.

        Raises
        ------
        StoreError
        """
        threshold = data.floats(None)
        nodes = len(threshold)
        values = data.floats(nodes, classes)
        feature = data.places(nodes, below=width)
        left = data.places(nodes, below=nodes)
        right = data.places(nodes, below=nodes)
        roots = data.places(None, below=nodes)
        depth = int(data.places(below=nodes))
        offsets = data.floats(classes)
        shares = bool(data.places(below=2))
        return cls(roots, feature, left, right, threshold, values, depth, offsets, shares)

    def _sums(self, design: F64) -> F64:
        # The trees were grown on values of single precision; anything else could fall on the
        # other side of a threshold.
        values = design.astype(np.float32)
        rows = np.arange(len(values))[:, np.newaxis]
        nodes = np.repeat(self.roots[np.newaxis], len(values), axis=0)
        for _ in range(self.depth):
            left = values[rows, self.feature[nodes]] <= self.threshold[nodes]
            nodes = np.where(left, self.left[nodes], self.right[nodes])
        sums: F64 = self.values[nodes].sum(axis=1)
        return sums


def log_softmax(scores: F64) -> F64:
    """Return scores less the logarithm of the sum of their exponentials, row by row."""
    centred = scores - scores.max(axis=1, keepdims=True)
    logs: F64 = centred - np.log(np.exp(centred).sum(axis=1, keepdims=True))
    return logs
