"""Values as coefficients of a plaintext polynomial, and back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ompd._kernels.ciphertexts import remainders
from ompd._kernels.transform import Ring, forward, inverse
from ompd.aggregate.ring import plain_ring
from ompd.arrays import F64, I64, Array
from ompd.errors import ParameterError
from ompd.params import AggregateSet


def check_values(values: object, most: int, bound: object, limit: int, name: str) -> I64:
    """Return integers as an array.

    Parameters
    ----------
    values : array_like of int, shape (n,)
    most : int
        Largest n.
    bound : int
        Largest absolute value, itself at most `limit`.
    limit : int
    name : str
        What the values are called in errors.

    Raises
    ------
    ParameterError
    """
    if type(bound) is not int or not 0 <= bound <= limit:
        raise ParameterError(f"bound: expected an integer from 0 to {limit}")
    try:
        found: Array = np.asarray(values)
    except (ValueError, TypeError):
        # What numpy says quotes values.
        raise ParameterError(f"{name}: expected one dimension of integers") from None
    if found.ndim != 1 or not 1 <= len(found) <= most:
        raise ParameterError(
            f"{name}: expected one dimension of 1 to {most} values, got shape {found.shape}"
        )
    if found.dtype.kind not in "iu":
        raise ParameterError(f"{name}: expected integers, got {found.dtype}")
    if int(found.max()) > bound or int(found.min()) < -bound:
        raise ParameterError(f"{name}: expected at most the bound in absolute value")
    return found.astype(np.int64)


class Packer:
    """Plaintext polynomials of one parameter set.

    Parameters
    ----------
    parameters : AggregateSet
    """

    def __init__(self, parameters: AggregateSet) -> None:
        self._n = parameters.degree
        self._t = parameters.plain_modulus
        self._ring: Ring | None = None
        if parameters.packing == "slots":
            self._ring = plain_ring(self._n, self._t)

    def pack(self, values: I64) -> F64:
        """Return coefficients float64[N], at most (t + 1) / 2, of values above -t and below t."""
        out = np.zeros(self._n)
        values = np.where(2 * values >= self._t, values - self._t, values)
        out[: len(values)] = np.where(2 * values < -self._t, values + self._t, values)
        if self._ring is None:
            return out
        packed, scratch = np.empty((2, self._n))
        inverse(out, packed, scratch, self._ring, 0, self._ring.n_inverse[0])
        return packed

    def unpack(self, coefficients: F64, length: int) -> I64:
        """Return the first values of what is modulo t and around zero."""
        if self._ring is not None:
            found, scratch = np.empty((2, self._n))
            forward(coefficients, found, scratch, self._ring, 0)
            remainders(found, float(self._t))
            coefficients = found
        return coefficients[:length].astype(np.int64)


@lru_cache(maxsize=8)
def packer_of(parameters: AggregateSet) -> Packer:
    """Return the packer of a parameter set; computed once."""
    return Packer(parameters)
