"""Which row of a table is which record: ids to row numbers, without the records.

A record's id is kept as a keyed digest of 16 bytes, beside two bytes for its class and one that
tells whether it was removed: 19 bytes per row, in arrays. With noise there are eight more, of the
name under which the record's noise was drawn.
"""

from __future__ import annotations

import hashlib
import operator
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ompd.arrays import I64, U16, U64, Array, Bools
from ompd.confidential import Confidential
from ompd.datasets import as_ids
from ompd.errors import DatasetError, LabelError, NeighborsError, ParameterError

_KEY_BYTES = 16
_NO_NAMES = np.empty(0, np.uint64)
_ABSENT = -1


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Rows(Confidential):
    """Rows of one version of a table, numbered from 0 as they came.

    Parameters
    ----------
    key : bytes
        Of the digests; empty where the table was published without ids, whose row numbers are
        the ids then.
    digests : uint64 array of shape (N, 2)
        Of the ids; (N, 0) without ids.
    labels : uint16 array of shape (N,)
    gone : bool array of shape (N,)
        Which rows were removed. Their numbers are not used again; their ids may be.
    names : uint64 array of shape (N,)
        Beginnings of the records' names; empty without noise.
    """

    key: bytes
    digests: U64
    labels: U16
    gone: Bools
    names: U64

    @classmethod
    def of(cls, ids: Array | None, labels: I64, names: Sequence[str] | None = None) -> Rows:
        """Number the records of a table that is published.

        Parameters
        ----------
        ids : array of text of shape (N,), optional
            Distinct.
        labels : int64 array of shape (N,)
        names : sequence of str, optional
            As `record_names` gives them.
        """
        key = b"" if ids is None else secrets.token_bytes(_KEY_BYTES)
        count = len(labels)
        return cls(
            key,
            np.empty((count, 0), np.uint64) if ids is None else _digests(ids.tolist(), key),
            labels.astype(np.uint16),
            np.zeros(count, np.bool_),
            _NO_NAMES if names is None else shortened(names),
        )

    def __len__(self) -> int:
        """Return how many numbers were given, those of removed rows included."""
        return len(self.labels)

    @property
    def live(self) -> int:
        """How many rows are left."""
        return len(self) - int(np.count_nonzero(self.gone))

    @property
    def named(self) -> bool:
        """Whether the table was published with ids."""
        return bool(self.key)

    def counts(self, classes: int) -> I64:
        """Return how many rows each class has."""
        return np.bincount(self.labels[~self.gone], minlength=classes).astype(np.int64)

    def find(self, ids: Any) -> I64:
        """Return the numbers of rows, in the order of their ids.

        Parameters
        ----------
        ids : array, series or sequence of texts or integers
            At least one.

        Raises
        ------
        ParameterError
            If these are no ids, one is named twice, or there is no such row, or no longer.
        """
        texts = _texts(ids)
        if not texts:
            raise ParameterError("ids: expected at least one")
        found = self._find(texts)
        missing = np.flatnonzero(found == _ABSENT)
        if len(missing):
            raise ParameterError(
                f"ids: {len(missing)} of {len(found)} name no row of the table, "
                f"the first at place {missing[0]}"
            )
        if len(np.unique(found)) != len(found):
            # Two texts of one number, where numbers are the ids.
            raise ParameterError("ids: expected different ones, got one twice")
        return found

    def check_new(self, ids: Array | None, count: int) -> None:
        """Refuse records that cannot be added.

        Raises
        ------
        ParameterError
            If they have ids and the table has none, or the other way round, or an id is taken.
        """
        if self.named != (ids is not None):
            here = "with ids" if self.named else "without ids, whose rows have numbers"
            raise ParameterError(f"records: the table was published {here}")
        if ids is None:
            return
        if len(ids) != count:
            raise ParameterError(f"ids: expected {count}, one per record, got {len(ids)}")
        taken = np.flatnonzero(self._find(ids.tolist()) != _ABSENT)
        if len(taken):
            raise ParameterError(
                f"ids: {len(taken)} of {count} are in the table, the first at place {taken[0]}"
            )

    def check_left(self, rows: I64, k: int) -> None:
        """Refuse to remove so many rows that K neighbours are not left.

        Raises
        ------
        NeighborsError
        """
        if self.live - len(rows) < k:
            raise NeighborsError(f"ids: expected at least K = {k} rows to be left")

    def added(self, ids: Array | None, labels: I64, names: Sequence[str] | None = None) -> Rows:
        """Return the rows with some behind them, checked by `check_new`."""
        count = len(labels)
        digests = (
            np.empty((count, 0), np.uint64) if ids is None else _digests(ids.tolist(), self.key)
        )
        more = _NO_NAMES if names is None else shortened(names)
        return self.extended(digests, labels.astype(np.uint16), more)

    def extended(self, digests: U64, labels: U16, names: U64) -> Rows:
        """Return the rows with some behind them, in the form in which they are kept."""
        return replace(
            self,
            digests=np.concatenate([self.digests, digests]),
            labels=np.concatenate([self.labels, labels]),
            gone=np.concatenate([self.gone, np.zeros(len(labels), np.bool_)]),
            names=np.concatenate([self.names, names]),
        )

    def without(self, rows: I64) -> Rows:
        """Return the rows with some removed; nothing of these is kept."""
        gone, digests, labels = self.gone.copy(), self.digests.copy(), self.labels.copy()
        gone[rows] = True
        digests[rows] = 0
        labels[rows] = 0
        names = self.names.copy()
        if len(names):
            names[rows] = 0
        return replace(self, gone=gone, digests=digests, labels=labels, names=names)

    def renumbered(self) -> Rows:
        """Return the rows that are left, numbered from 0 in their order."""
        left = ~self.gone
        names = self.names[left] if len(self.names) else self.names
        return Rows(self.key, self.digests[left], self.labels[left], self.gone[left], names)

    def relabelled(self, rows: I64, codes: I64) -> Rows:
        """Return the rows with other classes for some."""
        labels = self.labels.copy()
        labels[rows] = codes
        return replace(self, labels=labels)

    def _find(self, texts: Sequence[str]) -> I64:
        if not self.named or not texts:
            return self._numbered(texts)
        wanted = _digests(texts, self.key)
        order = np.argsort(wanted[:, 0], kind="stable")
        firsts = wanted[order, 0]
        # One look at all rows, for as many ids as there may be: no index need be kept.
        places = np.minimum(np.searchsorted(firsts, self.digests[:, 0]), len(firsts) - 1)
        rows = np.flatnonzero((firsts[places] == self.digests[:, 0]) & ~self.gone)
        number = dict(zip(map(tuple, self.digests[rows].tolist()), rows.tolist(), strict=True))
        return np.array(
            [number.get(digest, _ABSENT) for digest in map(tuple, wanted.tolist())], np.int64
        )

    def _numbered(self, texts: Iterable[str]) -> I64:
        found = []
        for text in texts:
            row = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else _ABSENT
            found.append(row if row < len(self) and not self.gone[row] else _ABSENT)
        return np.array(found, np.int64)


class Taken:
    """The names that rows have, of which only beginnings are kept: as good as all of them."""

    def __init__(self, names: U64) -> None:
        self._names = np.sort(names)

    def __contains__(self, name: object) -> bool:
        begin = shortened([str(name)])[0]
        place = int(np.searchsorted(self._names, begin))
        return place < len(self._names) and bool(self._names[place] == begin)


def shortened(names: Sequence[str]) -> U64:
    """Return the first eight bytes of names as numbers."""
    data = b"".join(bytes.fromhex(name[:16]) for name in names)
    return np.frombuffer(data, "<u8").astype(np.uint64)


def codes_of(labels: Any, classes: Sequence[str], count: int) -> I64:
    """Return the codes of class names.

    Parameters
    ----------
    labels : array, series or sequence of str
    classes : sequence of str
    count : int
        How many there must be.

    Raises
    ------
    LabelError
    """
    listed = labels.tolist() if hasattr(labels, "tolist") else labels
    if isinstance(listed, (str, bytes)) or not isinstance(listed, (list, tuple)):
        raise LabelError("labels: expected names of classes, one per id")
    if len(listed) != count:
        raise LabelError(f"labels: expected {count}, one per id, got {len(listed)}")
    number = {name: code for code, name in enumerate(classes)}
    codes = [number.get(each, _ABSENT) if isinstance(each, str) else _ABSENT for each in listed]
    if _ABSENT in codes:
        raise LabelError(
            f"labels: {codes.count(_ABSENT)} of {count} name no class of the table, "
            f"the first at place {operator.indexOf(codes, _ABSENT)}"
        )
    return np.array(codes, np.int64)


def _texts(ids: Any) -> list[str]:
    problem = ""
    try:
        return [str(each) for each in as_ids(ids).tolist()]
    except DatasetError as error:
        problem = str(error)
    raise ParameterError(problem)


def _digests(texts: Sequence[str], key: bytes) -> U64:
    data = b"".join(
        hashlib.blake2b(text.encode(errors="surrogatepass"), key=key, digest_size=16).digest()
        for text in texts
    )
    return np.frombuffer(data, "<u8").astype(np.uint64).reshape(-1, 2)
