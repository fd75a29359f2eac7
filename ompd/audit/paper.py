"""Attacks on the blinding of the `paper` profile, from what the cloud gets.

No product wraps around the modulus, so every stored number is a multiple of s, and their greatest
common divisor is s itself. What is left, alpha * P + c, carries noise 70 bits below alpha. The two
padding coordinates are noise alone and tell how much. Neighbouring prefix sums differ by
alpha * W_j * X_j: few levels, a known pattern, spacing in proportion to w.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64, U64
from ompd.audit.levels import distinct, fit_scale, lines_through, nearest
from ompd.audit.views import PaperView, Public

#: Padding coordinates in front of every vector.
_PADDING = 2
#: A listener's ratios lose a query's common factor: share of queries unharmed, factors tried.
_UNREDUCED, _LARGEST_FACTOR = 0.9, 30
#: Below this many times the noise a difference is noise.
_LOUDER = 16.0


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Stripped:
    """A table without its scalar.

    Attributes
    ----------
    scalar : int
        s.
    noise_bits : int
        Length of the noise, read off the padding.
    sums : object array of shape (N, n)
        alpha * P + c as integers.
    """

    scalar: int
    noise_bits: int
    sums: npt.NDArray[Any]

    @property
    def steps(self) -> F64:
        """The products alpha * W_j * X_j in units of the noise, shape (N, n)."""
        return steps_of(self.sums, self.noise_bits)


def strip(view: PaperView) -> Stripped:
    """Divide the table by its greatest common divisor."""
    values = _integers(view.table)
    scalar = 0
    for value in values.flat:
        scalar = gcd(scalar, value)
    sums = values // scalar
    noise = max(int(value).bit_length() for value in sums[:, :_PADDING].flat)
    return Stripped(scalar, noise, sums[:, _PADDING:])


def query_scalars(view: PaperView, scalar: int) -> list[int]:
    """Return s_q = s / t mod p of every query."""
    return [
        scalar * pow(token, -1, view.modulus) % view.modulus for token in _integers(view.tokens)
    ]


def strip_queries(view: PaperView, stripped: Stripped) -> npt.NDArray[Any]:
    """Return alpha * P + c of every query, as an object array of shape (q, n)."""
    points = _integers(view.points)
    tokens = _integers(view.tokens)[:, np.newaxis]
    sums: npt.NDArray[Any] = points * tokens % view.modulus // stripped.scalar
    return sums[:, _PADDING:]


def steps_of(sums: npt.NDArray[Any], noise_bits: int) -> F64:
    """Differences of neighbouring sums, the first one's from zero, in units of the noise."""
    before = np.concatenate([np.zeros((len(sums), 1), dtype=object), sums[:, :-1]], axis=1)
    steps: F64 = ((sums - before) / (1 << noise_bits)).astype(np.float64)
    return steps


def spacings(steps: F64, public: Public, *, share: float = 1.0) -> list[float | None]:
    """Return alpha * W_j per feature in units of the noise; None where a column is only noise.

    `share` is the least share of a column's rows that must fit its domain.
    """
    found: list[float | None] = []
    for j, column in enumerate(steps.T):
        if column.max() < _LOUDER:
            found.append(None)
            continue
        _, positions = public.grid(j)
        levels = np.maximum(column, 0.0)
        if share < 1:
            # Single rows may be off, so that a level counts by its rows; zero fits any scale.
            levels = np.sort(levels[levels > _LOUDER])
        else:
            levels = distinct(levels, tolerance=_LOUDER + 1e-9 * column.max())
        found.append(fit_scale(levels, positions, share=share))
    return found


def ciphertext_only(view: PaperView, public: Public) -> tuple[F64, F64]:
    """Recover the cells of table and queries from nothing but the features' domains.

    Returns
    -------
    table : float64 array of shape (N, n)
    queries : float64 array of shape (q, n)
        NaN where the blinded values hold nothing, as for a feature of weight 0.
    """
    stripped = strip(view)
    scales = spacings(stripped.steps, public)
    queries = steps_of(strip_queries(view, stripped), stripped.noise_bits)
    return _decode(stripped.steps, scales, public), _decode(queries, scales, public)


def overheard(view: PaperView, public: Public) -> F64:
    """Recover queries without table and tokens, as a listener to unencrypted jobs would.

    Two coordinates of a query have the ratio u_j / u_2 mod p of two numbers whose product is far
    below p, the second being a padding coordinate. Such a fraction is unique and Euclid's
    algorithm finds it; the padding gives the noise level, and all queries together the levels.

    Returns
    -------
    float64 array of shape (q, n)
    """
    lifted = np.array([_lift(point, view.modulus) for point in _integers(view.points)])
    noise = max(int(value).bit_length() for value in lifted[:, :_PADDING].flat)
    steps = steps_of(lifted[:, _PADDING:], noise)
    scales = spacings(steps, public, share=_UNREDUCED)
    return _decode(steps * _factors(steps, scales, public), scales, public)


def weights(view: PaperView, public: Public) -> F64:
    """Recover the Relief weights up to one factor, scaled to sum 1; shape (n,)."""
    scales = np.array([scale or 0.0 for scale in spacings(strip(view).steps, public)])
    return scales / (scales.sum() or 1.0)


def known_rows(view: PaperView, rows: I64, features: F64) -> F64:
    """Recover cells from a few rows whose values are known, without any domain.

    Two different known values of a column give its scale and origin; one gives the cells that
    have the same value.

    Parameters
    ----------
    view : PaperView
    rows : int64 array of shape (k,)
        Where the known records stand in the table.
    features : float64 array of shape (k, n)
        Their values.

    Returns
    -------
    float64 array of shape (N, n)
        NaN where nothing follows.
    """
    stripped = strip(view)
    return lines_through(stripped.steps, rows, features, tolerance=_LOUDER)


def link(view: PaperView) -> tuple[I64, I64]:
    """Name the record behind every row and query, so that equal names mean equal records.

    Returns
    -------
    table : int64 array of shape (N,)
    queries : int64 array of shape (q,)
    """
    stripped = strip(view)
    sums = np.concatenate([stripped.sums, strip_queries(view, stripped)])
    apart = 1 << (stripped.noise_bits + 1)
    names = np.empty(sums.shape, dtype=np.int64)
    for j, column in enumerate(sums.T):
        order = np.argsort(column)
        names[order, j] = np.append(0, np.cumsum(np.diff(column[order]) > apart))
    _, record = np.unique(names, axis=0, return_inverse=True)
    record = record.reshape(-1)
    return record[: len(view.table)], record[len(view.table) :]


def _lift(point: npt.NDArray[Any], modulus: int) -> npt.NDArray[Any]:
    """Undo one query's scalar: return alpha * P + c of all coordinates, padding included."""
    inverse = pow(point[1], -1, modulus)
    fractions = [_fraction(value * inverse % modulus, modulus) for value in point]
    shared = lcm(*(denominator for _, denominator in fractions))
    lifted = np.empty(len(point), dtype=object)
    lifted[:] = [above * (shared // below) for above, below in fractions]
    return lifted


def _fraction(ratio: int, modulus: int) -> tuple[int, int]:
    """Return the small positive (a, b) with a = b * ratio mod p.

    Euclid's remainders and cofactors are all such pairs up to sign. Their product is far below p
    for one only, which an outstanding quotient follows.
    """
    large, small, before, cofactor = modulus, ratio, 0, 1
    best = (0, ratio, 1)
    while small:
        quotient = large // small
        best = max(best, (quotient, small, abs(cofactor)))
        large, small = small, large - quotient * small
        before, cofactor = cofactor, before - quotient * cofactor
    return best[1:]


def _factors(steps: F64, scales: list[float | None], public: Public) -> F64:
    """Return, as a column, the common factor that each query lost in its ratios."""
    misfits = np.zeros((_LARGEST_FACTOR, len(steps)))
    for j, scale in enumerate(scales):
        if scale:
            _, positions = public.grid(j)
            for lost in range(_LARGEST_FACTOR):
                exact = steps[:, j] * (lost + 1) / scale
                off = np.abs(positions[nearest(positions, exact)] - exact)
                misfits[lost] = np.maximum(misfits[lost], off)
    factors: F64 = (misfits.argmin(axis=0)[:, np.newaxis] + 1).astype(np.float64)
    return factors


def _decode(steps: F64, scales: list[float | None], public: Public) -> F64:
    guess = np.full(steps.shape, np.nan)
    for j, scale in enumerate(scales):
        if scale:
            values, positions = public.grid(j)
            guess[:, j] = values[nearest(positions, steps[:, j] / scale)]
    return guess


def _integers(limbs: U64) -> npt.NDArray[Any]:
    """Return the integers behind little-endian limbs, as an object array without the last axis."""
    width = 8 * limbs.shape[-1]
    data = np.ascontiguousarray(limbs, dtype="<u8").tobytes()
    flat = [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]
    integers = np.empty(len(flat), dtype=object)
    integers[:] = flat
    return integers.reshape(limbs.shape[:-1])
