"""Cutting, encrypting and shuffling a table."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ompd.arrays import I32, I64, U8, U64, frozen
from ompd.confidential import Confidential
from ompd.crypto.buckets import TAG_BYTES, BucketCipher
from ompd.errors import (
    LabelError,
    NeighborsError,
    OverflowParameterError,
    ParameterError,
    TrainingError,
)
from ompd.sealed.checks import Checks
from ompd.sealed.layout import Layout, padded_bytes, window_of
from ompd.sealed.partition import Needs, Partition
from ompd.sealed.rows import RowCode
from ompd.threads import part_of

#: Coordinates are below 2 to this power.
VALUE_BITS = 62

_SAMPLES = 1000
# Shares of sampled queries that `fetches` must serve exactly, and with proof.
_EXACT_SHARE = 0.9995
_PROVEN_SHARE = 0.996
_FETCH_STEP = 4
# Tables of so many rows are rather sent whole than through windows of fewer queries than that.
_SMALL_ROWS = 16384
_LEAST_WINDOW = 8


@dataclass(frozen=True, repr=False, eq=False, slots=True)
class Secret(Confidential):
    """What the hospital keeps of a table for as long as the cloud stores it.

    Attributes
    ----------
    layout : Layout
    cipher : BucketCipher
    code : RowCode
    rows, classes, k : int
    partition : Partition or None
        None for a table that is sent whole.
    place_of : int32 array of shape (buckets,)
        Where the cloud has each bucket of the tree.
    checks : Checks or None
        None for a table that is sent whole, where AES-GCM sees everything.
    """

    layout: Layout
    cipher: BucketCipher
    code: RowCode
    rows: int
    classes: int
    k: int
    partition: Partition | None
    place_of: I32
    checks: Checks | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "place_of", frozen(self.place_of))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        ranking = self.partition.nbytes if self.partition else 0
        checks = self.checks.nbytes if self.checks else 0
        return self.place_of.nbytes + checks + ranking

    def rows_of(self, buckets: I64) -> tuple[I64, I64]:
        """First row of each of the buckets, in tree order, and how many it has."""
        total = self.layout.buckets
        firsts: I64 = buckets * self.rows // total
        return firsts, (buckets + 1) * self.rows // total - firsts


def seal(
    vectors: I64,
    labels: I64,
    classes: int,
    k: int,
    context: bytes,
    layout: Layout | None,
    report: Callable[[float], None],
    threads: int,
) -> tuple[Secret, U8, I64]:
    """Cut, encrypt and shuffle a table; arguments are those of `SealedTable.build`.

    Returns
    -------
    secret : Secret
    ciphertexts : uint8 array of shape (buckets, bucket_bytes)
    order : int64 array of shape (N,)
        The rows in tree order.

    Raises
    ------
    TrainingError, LabelError, NeighborsError, OverflowParameterError, ParameterError
        As there.
    """
    _check_rows(vectors, labels, classes, k)
    vectors, labels = frozen(vectors), frozen(labels)
    rows = len(vectors)
    code = RowCode.fit(vectors, classes)
    report(0.05)
    partition: Partition | None = None
    order = np.arange(rows)
    chosen = layout or Layout.choose(rows, vectors.shape[1], code.row_bits, k)
    if chosen.buckets > rows:
        raise ParameterError(f"layout: expected at most {rows} buckets")
    if chosen.fetches:
        samples = np.linspace(0, rows - 1, min(rows, _SAMPLES) if layout is None else 0)
        partition, order, needs = Partition.build(
            vectors, chosen.buckets, k, samples.astype(np.int64), threads,
            part_of(report, 0.05, 0.5),
        )  # fmt: skip
        if layout is None:
            chosen = _measured(chosen, needs, rows, code, k)
            if not chosen.fetches:
                partition, order = None, np.arange(rows)
    report(0.5)
    if padded_bytes(-(-rows // chosen.buckets) * code.row_bits) > chosen.bucket_bytes:
        raise ParameterError("layout: bucket_bytes is too small for the rows of a bucket")
    if 0 < chosen.fetches * (rows // chosen.buckets) < k:
        raise ParameterError("layout: the fetched buckets hold fewer than K rows")
    place_of = _shuffled(chosen.buckets)
    plain = np.zeros((chosen.buckets, (chosen.bucket_bytes - TAG_BYTES) // 8), dtype=np.uint64)
    code.write(vectors, labels, order, place_of, plain, threads)
    report(0.6)
    cipher = BucketCipher.generate(context)
    ciphertexts = _sealed(plain, chosen, cipher)
    report(0.8)
    checks = Checks.draw(ciphertexts.view(np.uint64)) if chosen.fetches else None
    secret = Secret(chosen, cipher, code, rows, classes, k, partition, place_of, checks)
    return secret, ciphertexts, order


def _check_rows(vectors: I64, labels: I64, classes: int, k: int) -> None:
    if (
        not isinstance(vectors, np.ndarray)
        or vectors.dtype != np.int64
        or vectors.ndim != 2
        or not vectors.size
    ):
        raise TrainingError("vectors: expected an int64 array of shape (N, m), N and m >= 1")
    if vectors.min() < 0 or int(vectors.max()).bit_length() > VALUE_BITS:
        raise TrainingError(f"vectors: expected values from 0 below 2**{VALUE_BITS}")
    if vectors.shape[1] * int(vectors.max()) >= 1 << 63:
        raise OverflowParameterError("vectors: a distance could reach 2**63")
    if (
        not isinstance(labels, np.ndarray)
        or labels.dtype != np.int64
        or labels.shape != (len(vectors),)
        or labels.min() < 0
        or labels.max() >= classes
    ):
        raise LabelError(f"labels: expected int64 codes from 0 below {classes}, one per row")
    if type(k) is not int or not 1 <= k <= len(vectors):
        raise NeighborsError(f"k: expected an integer from 1 to {len(vectors)}")


def _measured(layout: Layout, needs: Needs, rows: int, code: RowCode, k: int) -> Layout:
    most = max(
        -(-k // (rows // layout.buckets)),
        int(np.quantile(needs.exact, _EXACT_SHARE, method="inverted_cdf")),
        int(np.quantile(needs.proven, _PROVEN_SHARE, method="inverted_cdf")),
    )
    fetches = _FETCH_STEP * -(-most // _FETCH_STEP)
    mean = float(np.minimum(needs.wanted, fetches).mean())
    window = window_of(layout.chunks, layout.chunk, max(1.0, mean))
    if 2 * fetches >= layout.buckets or (rows <= _SMALL_ROWS and window < _LEAST_WINDOW):
        return Layout(1, padded_bytes(rows * code.row_bits), 1, 1, 0, 0)
    return replace(layout, fetches=fetches, window=window)


def _shuffled(buckets: int) -> I32:
    """Draw a uniform permutation: the place of every bucket."""
    while True:
        keys = np.frombuffer(secrets.token_bytes(8 * buckets), dtype=np.uint64)
        if len(np.unique(keys)) == buckets:
            return np.argsort(keys).astype(np.int32)


def _sealed(plain: U64, layout: Layout, cipher: BucketCipher) -> U8:
    sealed = np.empty((layout.buckets, layout.bucket_bytes), dtype=np.uint8)
    source, into = plain.view(np.uint8).reshape(-1).data, sealed.reshape(-1).data
    size = layout.bucket_bytes
    short = size - TAG_BYTES
    for place in range(layout.buckets):
        cipher.seal(
            place, source[place * short : (place + 1) * short],
            into[place * size : (place + 1) * size],
        )  # fmt: skip
    return sealed
