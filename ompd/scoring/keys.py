"""The two halves of a user's key, and what is encrypted with it."""

from __future__ import annotations

import hashlib
from typing import Self

from ompd.aggregate import Ciphertext, encrypt_secretly
from ompd.aggregate import PublicKey as AggregatePublicKey
from ompd.aggregate import SecretKey as AggregateSecretKey
from ompd.arrays import I64
from ompd.confidential import Confidential
from ompd.errors import FramingError, KeyMaterialError, RangeError
from ompd.params import SCORING
from ompd.scoring.layout import Layout
from ompd.scoring.replies import opened

_BOUND = 1


class PublicKey:
    """What a hospital scores queries with. Made by `from_bytes`.

    Attributes
    ----------
    key : ompd.aggregate.PublicKey
    """

    def __init__(self, key: AggregatePublicKey) -> None:
        self.key = key

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode `SecretKey.public`.

        Raises
        ------
        FramingError, VersionError, RangeError
            If it is not one, or is of another parameter set.
        """
        key = AggregatePublicKey.from_bytes(data)
        if key.parameters != SCORING:
            raise FramingError(f"key: expected one of {SCORING.name}")
        return cls(key)


class SecretKey(Confidential):
    """What a user encrypts queries and opens replies with. Made by `generate` and `from_bytes`.

    Attributes
    ----------
    public : bytes
        The half for hospitals.
    key_id : bytes
        SHA-256 of it.
    """

    __slots__ = ("_key", "key_id", "public")

    def __init__(self, key: AggregateSecretKey) -> None:
        self._key = key
        self.public = key.public.to_bytes()
        self.key_id = hashlib.sha256(self.public).digest()

    @classmethod
    def generate(cls) -> Self:
        """Make a new key from the operating system's randomness."""
        return cls(AggregateSecretKey.generate(SCORING))

    def to_bytes(self) -> bytes:
        """Return the **secret**, and the public half."""
        secret = self._key.to_bytes()
        return len(secret).to_bytes(2, "little") + secret + self.public

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore a key from `to_bytes`.

        Raises
        ------
        KeyMaterialError, FramingError, VersionError, RangeError
            If it is damaged.
        """
        if type(data) is not bytes:
            raise KeyMaterialError(f"data: expected bytes, got {type(data).__name__}")
        end = 2 + int.from_bytes(data[:2], "little")
        public = AggregatePublicKey.from_bytes(data[end:])
        return cls(AggregateSecretKey.from_bytes(data[2:end], public))

    def seal(self, slots: I64) -> bytes:
        """Encrypt the slots of a query: `Layout.indicators`.

        Returns
        -------
        bytes
            For `Query.from_bytes`; always as many.
        """
        return encrypt_secretly(self._key, slots, bound=_BOUND).to_bytes()

    def open(self, data: bytes, layout: Layout, rows: int) -> I64:
        """Decrypt a reply.

        Parameters
        ----------
        data : bytes
        layout : Layout
        rows : int
            As many as were asked.

        Returns
        -------
        int64 array of shape (rows, scores)
            Between -t/2 and t/2.

        Raises
        ------
        FramingError, VersionError
            If it is no reply.
        TooLargeError
            If so many rows do not fit.
        """
        layout.check_rows(rows)
        return layout.scores_of(opened(self._key, data, layout, rows), rows)


class Query:
    """An encrypted query. Made by `from_bytes`.

    Attributes
    ----------
    cells : Ciphertext
    """

    def __init__(self, cells: Ciphertext) -> None:
        self.cells = cells

    @classmethod
    def from_bytes(cls, data: bytes, public: PublicKey) -> Self:
        """Decode what `SecretKey.seal` gave.

        Raises
        ------
        FramingError, VersionError, RangeError, ContextMismatchError
            If it is not one, is of another key, or claims to be anything but new.
        """
        context = public.key.context
        cells = Ciphertext.from_bytes(data, context)
        # What comes later is flooded by as much as a new one needs.
        context.check_fresh(cells, bound=_BOUND, length=SCORING.degree)
        if cells.seed is None:
            raise RangeError("query: expected a new ciphertext under the secret key")
        return cls(cells)
