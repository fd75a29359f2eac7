"""What a hospital keeps of the records of its tables, besides what it asks them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ompd.arrays import I64, U16, U64
from ompd.confidential import Confidential
from ompd.datasets import Dataset
from ompd.roles.drift import Summary
from ompd.roles.rows import Rows


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Delta(Confidential):
    """What a change does to a book.

    Parameters
    ----------
    removed, relabelled, codes : int64 array
        Rows, rising; new classes of the second.
    digests : uint64 array of shape (a, 2) or (a, 0)
    labels : uint16 array of shape (a,)
    names : uint64 array of shape (a,) or (0,)
        Of the added rows, as in `Rows`.
    counts, outside : int64 array
        What they add to those of a `Summary`.
    """

    removed: I64
    relabelled: I64
    codes: I64
    digests: U64
    labels: U16
    names: U64
    counts: I64
    outside: I64


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Book(Confidential):
    """What is known of the records of one version.

    Parameters
    ----------
    rows : Rows
    summary : Summary
    """

    rows: Rows
    summary: Summary

    def after(self, delta: Delta) -> Book:
        """Return the book of the version that a change makes."""
        rows, summary = self.rows, self.summary
        if len(delta.labels):
            rows = rows.extended(delta.digests, delta.labels, delta.names)
            summary = summary.plus(delta.counts, delta.outside, len(delta.labels))
        if len(delta.relabelled):
            rows = rows.relabelled(delta.relabelled, delta.codes)
        if len(delta.removed):
            rows = rows.without(delta.removed)
        return Book(rows, summary.with_changed(len(delta.removed), len(delta.relabelled)))

    def renumbered(self) -> Book:
        """Return the book of a version without the rows that were removed."""
        return Book(self.rows.renumbered(), self.summary)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Step(Confidential):
    """A change: what it does to the book, and what says it to the cloud.

    Parameters
    ----------
    base, version : int
    delta : Delta
    kind : int
        Of the body.
    body : bytes
        Encoded.
    nonce : bytes
    """

    base: int
    version: int
    delta: Delta
    kind: int
    body: bytes
    nonce: bytes


def book_of(records: Dataset, names: Sequence[str] | None) -> Book:
    """Return the book of records that are published; `names` where rows go by them."""
    labels = np.array(records.labels, np.int64)
    return Book(
        Rows.of(records.ids, labels, names),
        Summary.of(records.schema, records.features, labels),
    )
