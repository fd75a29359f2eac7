"""Checksums for every sum of buckets, also for those that are asked for to no other end.

Where a query wants fewer buckets than it must ask for, uniform vectors fill the rest. What comes
back for these is no bucket and AES-GCM cannot tell whether it is right. So the hospital keeps a
checksum of 64 bits per bucket that is linear: the checksum of an XOR is the XOR of the checksums.
With uniform secret keys, an answer that was changed, by whatever the cloud likes, keeps the right
checksum with probability 2**-64; as nothing about the outcome goes back, the keys stay good.
"""

from __future__ import annotations

import secrets

import numpy as np

from ompd._kernels.retrieval_check import checksums, products_of, sums_of
from ompd.arrays import U64, Bools, frozen
from ompd.confidential import Confidential
from ompd.sealed.layout import Offsets


class Checks(Confidential):
    """Secret keys and the checksums of all buckets, in the cloud's order.

    Parameters
    ----------
    keys : uint64 array of shape (words,)
        One per word of a bucket.
    known : uint64 array of shape (buckets,)
    """

    __slots__ = ("_products", "keys", "known")

    def __init__(self, keys: U64, known: U64) -> None:
        self.keys = frozen(keys)
        self.known = frozen(known)
        self._products = products_of(self.keys)

    @classmethod
    def draw(cls, buckets: U64) -> Checks:
        """Draw keys and compute the checksums of buckets, uint64 of shape (buckets, words)."""
        words = buckets.shape[1]
        keys = np.frombuffer(secrets.token_bytes(8 * words), dtype=np.uint64)
        known = np.empty(len(buckets), dtype=np.uint64)
        made = cls(keys, known)
        checksums(frozen(buckets), made._products, known)
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return int(self.keys.nbytes + self.known.nbytes + self._products.nbytes)

    def expected(self, messages: Offsets, chunk: int) -> U64:
        """Return the checksum of the answer to each vector, offsets of shape (count, chunks)."""
        out = np.empty(len(messages), dtype=np.uint64)
        sums_of(messages, chunk, self.known, out)
        return out

    def wrong(self, answers: U64, expected: U64) -> Bools:
        """Tell which answers, uint64 of shape (count, words), have another checksum."""
        found = np.empty(len(answers), dtype=np.uint64)
        checksums(frozen(answers), self._products, found)
        wrong: Bools = found != expected
        return wrong
