"""The instances that a search runs over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ompd.errors import LabelError, TableError

Limbs = npt.NDArray[np.uint64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False)
class LimbTable:
    """Instances as limb vectors, with an opaque class code each.

    Parameters
    ----------
    limbs : uint64 array of shape (N, m, L)
        Little-endian 64-bit limbs of m non-negative coordinates per instance.
    labels : int64 array of shape (N,)
        Codes from 0 to classes - 1.
    classes : int

    Raises
    ------
    TableError
        If the array has another type or shape, or there are no instances.
    LabelError
        If a code is outside its range.
    """

    limbs: Limbs
    labels: Labels
    classes: int

    def __post_init__(self) -> None:
        check_vectors("limbs", self.limbs)
        rows = self.limbs.shape[0]
        if rows < 1:
            raise TableError("limbs: expected at least one instance")
        if type(self.classes) is not int or self.classes < 1:
            raise LabelError("classes: expected a positive integer")
        if self.labels.dtype != np.int64 or self.labels.shape != (rows,):
            raise LabelError(
                f"labels: expected {rows} int64 codes, "
                f"got {self.labels.dtype} of shape {self.labels.shape}"
            )
        if self.labels.min() < 0 or self.labels.max() >= self.classes:
            raise LabelError(f"labels: expected codes from 0 to {self.classes - 1}")

    def __len__(self) -> int:
        return int(self.limbs.shape[0])

    def __repr__(self) -> str:
        rows, coordinates, limbs = self.limbs.shape
        return f"<LimbTable {rows} x {coordinates} x {limbs} limbs, {self.classes} classes>"

    @classmethod
    def from_prefix_sums(
        cls, prefix_sums: npt.NDArray[np.int64], labels: Labels, classes: int
    ) -> LimbTable:
        """Make an unblinded table: every non-negative prefix sum is one limb."""
        return cls(limbs_of(prefix_sums), labels, classes)


def limbs_of(prefix_sums: npt.NDArray[np.int64]) -> Limbs:
    """Return non-negative integers of shape (m, n) as limb vectors of shape (m, n, 1)."""
    return np.ascontiguousarray(prefix_sums).view(np.uint64)[:, :, np.newaxis]


def check_vectors(name: str, vectors: Limbs) -> None:
    """Refuse an array that is not C-contiguous uint64 of shape (count, m >= 1, L >= 1).

    Raises
    ------
    TableError
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.uint64:
        raise TableError(f"{name}: expected a uint64 array")
    if vectors.ndim != 3 or 0 in vectors.shape[1:] or not vectors.flags.c_contiguous:
        raise TableError(
            f"{name}: expected a C-contiguous array of shape (rows, coordinates, limbs), "
            f"got {vectors.shape}"
        )
