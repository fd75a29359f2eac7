"""Coarser integers: fewer levels for an attacker to tell apart, the same diagnoses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ompd.arrays import I64, Progress
from ompd.encode.encoder import Encoder
from ompd.errors import ParameterError
from ompd.params import PREFIX_BITS
from ompd.schema import Schema
from ompd.search import HELD_OUT, LimbTable, leave_one_out, spread
from ompd.threads import part_of

#: Bits of the widest coordinate that are tried. With more than 16 nothing is gained: the search's
#: heads are no finer.
_BITS = range(2, 17)
#: One instance in so many may change for the worse. Accuracy on fresh records does not: over 50
#: splits it changes by 0.00 ± 0.07 points (WBC) and +0.12 ± 0.15 (MM).
_TOLERANCE = 250
#: Rows among which equal ones are looked for before a search among all.
_SAMPLE = 1 << 14


@dataclass(frozen=True, slots=True)
class CoarseEncoder:
    """Another encoder's integers, divided by a step and rounded.

    Parameters
    ----------
    base : Encoder
    step : int
        From 1 to 2**62.

    Raises
    ------
    ParameterError
        If the step is no such integer.
    """

    base: Encoder
    step: int

    def __post_init__(self) -> None:
        _check_step(self.step)

    @property
    def schema(self) -> Schema:
        """Declared features and classes."""
        return self.base.schema

    @property
    def coordinates(self) -> int:
        """Length of a vector."""
        return self.base.coordinates

    @property
    def largest(self) -> int:
        """Largest value that a coordinate of any vector of the domain can have."""
        return int(coarsen(np.array([[self.base.largest]], dtype=np.int64), self.step)[0, 0])

    def encode(self, features: Any) -> I64:
        """Encode feature vectors.

        Parameters
        ----------
        features : array-like of shape (n,) or (m, n)

        Returns
        -------
        int64 array of shape (m, coordinates)
            round(base / step), half to even, computed in integers.

        Raises
        ------
        FeatureError, DomainError
        """
        return coarsen(self.base.encode(features), self.step)


def coarsen(vectors: I64, step: int) -> I64:
    """Divide by a step and round half to even, in integers.

    Parameters
    ----------
    vectors : int64 array
    step : int
        From 1 to 2**62.

    Raises
    ------
    ParameterError
    """
    _check_step(step)
    quotient, rest = np.divmod(vectors, np.int64(step))
    # Compared without doubling, which could pass 63 bits.
    left = np.int64(step) - rest
    quotient += (rest > left) | ((rest == left) & (quotient & 1 == 1))
    return quotient


def choose_step(
    vectors: I64,
    labels: I64,
    classes: int,
    k: int,
    *,
    held_out: int = HELD_OUT,
    progress: Progress | None = None,
) -> int:
    """Return the coarsest step that costs no accuracy on the training instances.

    Steps are powers of two that leave the widest coordinate 2, 3, ... 16 bits. Instances are
    classified by their neighbours among all others, with the vectors as they are and with each
    step from the coarsest on. The first step is taken at which

    * as many instances get their own class, to within one in 250,
    * as many of their neighbours are of their own class, to within the same share, which tells of
      a loss long before labels change, and
    * no more than half of the instances that differ from all others become equal to one, so that
      it is still distance that decides and not the order of rows.

    If none is, it is the finest of them. Without the tolerance that happens by chance to one
    split of the mammography table in ten, which then hides nothing.

    Parameters
    ----------
    vectors : int64 array of shape (N, m)
        What the base encoder makes of the training instances; not negative.
    labels : int64 array of shape (N,)
        Codes from 0 to classes - 1.
    classes : int
    k : int
        Neighbours that vote, from 1 to N - 1.
    held_out : int
        At most this many instances are classified, spread evenly over the table.
    progress : callable, optional
        Called with a share of the work from 0 to 1, which only grows. How many steps it takes is
        not known before.

    Returns
    -------
    int
        A power of two; 1 where the vectors have few bits already.

    Raises
    ------
    NeighborsError
        If there are fewer than k other instances.
    TableError, LabelError
        If the vectors or labels make no table.
    """
    span = int(np.ptp(vectors, axis=0).max()) if vectors.size else 0
    sample = spread(len(vectors), max(held_out, _SAMPLE))
    places = spread(len(sample), held_out)
    own = sample[places]
    wanted = None
    step = 1
    for number, bits in enumerate(_BITS):
        step = 1 << max(0, span.bit_length() - bits)
        if step == 1:
            break
        # That of the vectors as they are comes on top.
        whole = len(_BITS) + 1
        wanted = wanted or _judged(
            vectors, labels, classes, k, own, part_of(progress, 0, 1 / whole)
        )
        coarse = coarsen(vectors, step)
        if 2 * _alone(coarse[sample], places) < wanted.alone:
            # Nor can it be among all rows; searching thousands of equal ones takes long.
            continue
        reported = part_of(progress, (number + 1) / whole, (number + 2) / whole)
        found = _judged(coarse, labels, classes, k, own, reported)
        if (
            _TOLERANCE * (wanted.right - found.right) <= len(own)
            and _TOLERANCE * (wanted.alike - found.alike) <= len(own) * k
            and 2 * found.alone >= wanted.alone
        ):
            break
    return step


class _Counts(NamedTuple):
    """Instances that get their own class, neighbours of that class, instances without an equal."""

    right: int
    alike: int
    alone: int


def _judged(
    vectors: I64, labels: I64, classes: int, k: int, own: I64, progress: Progress
) -> _Counts:
    table = LimbTable.from_prefix_sums(vectors, labels, classes, progress=part_of(progress, 0, 0.8))
    found = leave_one_out(table, k, own)
    progress(1.0)
    return _Counts(found.right(), found.alike(), found.alone())


def _alone(vectors: I64, places: I64) -> int:
    """Count the rows at `places` that differ from all others."""
    _, inverse, counts = np.unique(vectors, axis=0, return_inverse=True, return_counts=True)
    return int((counts[inverse.reshape(-1)[places]] == 1).sum())


def _check_step(step: object) -> None:
    if type(step) is not int or not 1 <= step <= 1 << PREFIX_BITS:
        raise ParameterError(f"step: expected an integer from 1 to 2**{PREFIX_BITS}")
