"""What every encoding of features has in common."""

from __future__ import annotations

from typing import Any, Protocol

from ompd.arrays import I64
from ompd.schema import Schema


class Encoder(Protocol):
    """Maps feature vectors of one disease to integer vectors.

    The L1 distance of two such vectors is the distance by which neighbours are found, which is
    all that blinding, search and sealed retrieval rely on.
    """

    @property
    def schema(self) -> Schema:
        """Declared features and classes."""

    @property
    def coordinates(self) -> int:
        """Length of a vector."""

    @property
    def largest(self) -> int:
        """Largest value that a coordinate of any vector of the domain can have, below 2**62."""

    def encode(self, features: Any) -> I64:
        """Encode feature vectors.

        Parameters
        ----------
        features : array-like of shape (n,) or (m, n)

        Returns
        -------
        int64 array of shape (m, coordinates)
            From 0 to `largest`.

        Raises
        ------
        FeatureError, DomainError
        """
