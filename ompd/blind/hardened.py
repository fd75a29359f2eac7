"""The secret of the `hardened` profile: signed permutation and shifts modulo 2**64."""

from __future__ import annotations

import secrets

import numpy as np

from ompd.arrays import I64, U64
from ompd.confidential import Confidential
from ompd.errors import OverflowParameterError, ParameterError

#: Coordinates may lie from -REACH to REACH - 1, so that any two differ by less than 2**63, which
#: is what `ompd.search.WordTable` needs.
REACH = 1 << 62
#: Bytes of a stored key per coordinate.
_WIDTH = 24


class HardenedKey(Confidential):
    """Order, signs and shifts of the coordinates of one table.

    Every vector x becomes y with y_j = sign_j * x_order(j) + shift_j modulo 2**64. All three are
    kept by L1 distances, so the cloud finds exactly the neighbours of the true vectors.

    Parameters
    ----------
    order : int64 array of shape (m,)
        A permutation of 0 to m - 1.
    signs : int64 array of shape (m,)
        1 or -1.
    shifts : uint64 array of shape (m,)

    Raises
    ------
    ParameterError
        If an array is none of these.

    Notes
    -----
    Under one key equal vectors look equal, in every version of a table and among its queries. One
    column alone is uniform under a fresh key. All columns together are not: who sees the table
    sees all distances, and guesses most of what coarse vectors hold from them. A key refuses to be
    pickled and never prints its numbers; `to_bytes` is for the hospital's own storage.
    """

    __slots__ = ("_order", "_shifts", "_signs")

    def __init__(self, order: I64, signs: I64, shifts: U64) -> None:
        size = order.size
        if order.dtype != np.int64 or size < 1 or not np.array_equal(np.sort(order), range(size)):
            raise ParameterError("order: expected a permutation as int64 array")
        if signs.dtype != np.int64 or signs.shape != (size,) or (np.abs(signs) != 1).any():
            raise ParameterError(f"signs: expected {size} int64 values of 1 or -1")
        if shifts.dtype != np.uint64 or shifts.shape != (size,):
            raise ParameterError(f"shifts: expected {size} uint64 values")
        self._order = order.copy()
        self._signs = signs.astype(np.uint64)
        self._shifts = shifts.copy()

    @classmethod
    def generate(cls, coordinates: int) -> HardenedKey:
        """Draw a key uniformly, from the operating system's randomness.

        Parameters
        ----------
        coordinates : int
            Length m of a vector, at least 1.

        Raises
        ------
        ParameterError
        """
        if type(coordinates) is not int or coordinates < 1:
            raise ParameterError("coordinates: expected an integer of at least 1")
        order = list(range(coordinates))
        secrets.SystemRandom().shuffle(order)
        signs = [1 - 2 * secrets.randbits(1) for _ in range(coordinates)]
        shifts = np.frombuffer(secrets.token_bytes(8 * coordinates), dtype=np.uint64)
        return cls(np.array(order, dtype=np.int64), np.array(signs, dtype=np.int64), shifts)

    @classmethod
    def from_bytes(cls, data: bytes) -> HardenedKey:
        """Restore what `to_bytes` returned.

        Raises
        ------
        ParameterError
            If the bytes are no key.
        """
        if not data or len(data) % _WIDTH:
            raise ParameterError(f"data: expected a multiple of {_WIDTH} bytes")
        words = np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(3, -1)
        return cls(words[0].view(np.int64), words[1].view(np.int64), words[2])

    def to_bytes(self) -> bytes:
        """Return order, signs and shifts, 24 secret bytes per coordinate."""
        words = np.stack([self._order.view(np.uint64), self._signs, self._shifts])
        return words.astype("<u8").tobytes()

    @property
    def coordinates(self) -> int:
        """Length of a vector."""
        return len(self._order)

    def blind(self, vectors: I64) -> U64:
        """Blind instances or queries; both are treated alike.

        Parameters
        ----------
        vectors : int64 array of shape (rows, m)
            From -2**62 to 2**62 - 1.

        Returns
        -------
        uint64 array of shape (rows, m)
            Values wrap around; that is intended.

        Raises
        ------
        ParameterError
            If the array has another type or shape.
        OverflowParameterError
            If a coordinate is beyond the bounds.
        """
        if vectors.dtype != np.int64 or vectors.ndim != 2 or vectors.shape[1] != self.coordinates:
            raise ParameterError(
                f"vectors: expected int64 of shape (rows, {self.coordinates}), "
                f"got {vectors.dtype} of shape {vectors.shape}"
            )
        if vectors.size and (vectors.min() < -REACH or vectors.max() >= REACH):
            raise OverflowParameterError("vectors: expected values of at most 62 bits and a sign")
        blinded: U64 = np.take(vectors.astype(np.uint64), self._order, axis=1)
        blinded *= self._signs
        blinded += self._shifts
        return blinded

    def __repr__(self) -> str:
        return f"<HardenedKey of {self.coordinates} coordinates>"
