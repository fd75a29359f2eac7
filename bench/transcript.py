"""What a run of a protocol leaves behind, and numbers that count what is done with them."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import gmpy2
import numpy as np

from ompd.errors import ParameterError

#: operations[stage][operation], for example operations["user"]["multiply"].
Operations = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One run of a protocol between parties that exchange bytes.

    Parameters
    ----------
    codes : int64 array of shape (q,)
        Class code of every query.
    bytes_sent : dict of str to int
        Bytes per query on every link, named "sender_to_receiver".
    setup_bytes : int
        Bytes sent once: registration, upload, training.
    operations : dict of str to dict of str to int
        Per stage, counted while a query ran; "setup" is counted once. Empty unless asked for.
    seconds : dict of str to float
        Median per query of every stage; "setup" once.
    """

    codes: np.ndarray
    bytes_sent: dict[str, int]
    setup_bytes: int
    operations: Operations
    seconds: dict[str, float]


class Stopwatch:
    """Seconds per stage, several laps each."""

    def __init__(self) -> None:
        self._laps: dict[str, list[float]] = {}

    @contextmanager
    def lap(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to the stage."""
        start = time.perf_counter()
        yield
        self._laps.setdefault(stage, []).append(time.perf_counter() - start)

    def medians(self) -> dict[str, float]:
        """Return the median lap of every stage."""
        return {stage: statistics.median(laps) for stage, laps in self._laps.items()}


class Tally:
    """Counts of operations by stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._counts: dict[str, Counter[str]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside under this name."""
        outer, self._stage = self._stage, name
        try:
            yield
        finally:
            self._stage = outer

    def count(self, operation: str) -> None:
        """Add one operation to the current stage."""
        self._counts.setdefault(self._stage, Counter())[operation] += 1

    def number(self, value: Any) -> Counted:
        """Return a number whose operations are counted here."""
        return Counted(value, self)

    def numbers(self, values: Iterable[Any]) -> list[Counted]:
        """Return many such numbers."""
        return [Counted(value, self) for value in values]

    @property
    def operations(self) -> Operations:
        """Everything counted so far."""
        return {stage: dict(counts) for stage, counts in self._counts.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """A number that reports every operation it takes part in.

    A subtraction counts as "add", a shift of the sign as "absolute"; conversion by `plain` is
    free. The value may be an integer of any kind or a float.
    """

    plain: Any
    tally: Tally = field(repr=False)

    def _with(self, operation: str, value: Any) -> Counted:
        self.tally.count(operation)
        return Counted(value, self.tally)

    def __add__(self, other: Any) -> Counted:
        return self._with("add", self.plain + plain(other))

    def __sub__(self, other: Any) -> Counted:
        return self._with("add", self.plain - plain(other))

    def __mul__(self, other: Any) -> Counted:
        return self._with("multiply", self.plain * plain(other))

    def __mod__(self, other: Any) -> Counted:
        return self._with("modulo", self.plain % plain(other))

    def __floordiv__(self, other: Any) -> Counted:
        return self._with("divide", self.plain // plain(other))

    def __truediv__(self, other: Any) -> Counted:
        return self._with("divide", self.plain / plain(other))

    def __abs__(self) -> Counted:
        return self._with("absolute", abs(self.plain))

    def __lt__(self, other: Any) -> bool:
        self.tally.count("compare")
        return bool(self.plain < plain(other))

    def __gt__(self, other: Any) -> bool:
        self.tally.count("compare")
        return bool(self.plain > plain(other))

    def inverse(self, modulus: Any) -> Counted:
        """Return the inverse modulo `modulus`."""
        return self._with("invert", gmpy2.invert(self.plain, plain(modulus)))


def plain(number: Any) -> Any:
    """Return the value of a number that may be counted."""
    return number.plain if isinstance(number, Counted) else number


def total(terms: Iterable[Any]) -> Any:
    """Add at least one term: one addition fewer than terms."""
    return reduce(add, terms)


def smallest(keys: Sequence[Any], k: int) -> list[int]:
    """Return the places of the k smallest keys in order, the earlier place first among equals.

    The textbook's repeated minimum, which compares a number of times that depends on nothing but
    the lengths: k * N - k * (k + 1) / 2 times.
    """
    left = list(range(len(keys)))
    chosen = []
    for _ in range(k):
        best = 0
        for place in range(1, len(left)):
            if keys[left[place]] < keys[left[best]]:
                best = place
        chosen.append(left.pop(best))
    return chosen


def most_frequent(codes: Iterable[int], classes: int, tally: Tally) -> int:
    """Return the most frequent code, the smaller one among equals: k additions."""
    counts = [tally.number(0) for _ in range(classes)]
    for code in codes:
        counts[code] = counts[code] + 1
    best = 0
    for code in range(1, classes):
        if counts[code] > counts[best]:
            best = code
    return best


def check_tables(features: Any, labels: Any, queries: Any) -> tuple[np.ndarray, ...]:
    """Return features (N, n) and queries (q, n) as float64 and labels (N,) as int64.

    Raises
    ------
    ParameterError
        If the shapes do not belong together, a number is not finite, or a label is no code.
    """
    features = np.ascontiguousarray(features, dtype=np.float64)
    queries = np.ascontiguousarray(queries, dtype=np.float64)
    labels = np.asarray(labels)
    if features.ndim != 2 or 0 in features.shape:
        raise ParameterError(f"features: expected shape (rows, features), got {features.shape}")
    if queries.ndim != 2 or len(queries) == 0 or queries.shape[1] != features.shape[1]:
        raise ParameterError(
            f"queries: expected shape (queries, {features.shape[1]}), got {queries.shape}"
        )
    if labels.shape != (len(features),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ParameterError(f"labels: expected {len(features)} class codes from 0")
    if not (np.isfinite(features).all() and np.isfinite(queries).all()):
        raise ParameterError("features, queries: expected finite numbers")
    return features, labels.astype(np.int64), queries


def example(rows: int, features: int, queries: int) -> tuple[np.ndarray, ...]:
    """Integer records from 1 to 10, of two classes that differ in their profile."""
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, 2, rows)
    profile = rng.normal(size=(2, features))
    noise = rng.normal(size=(rows + queries, features))
    codes = np.concatenate([labels, rng.integers(0, 2, queries)])
    values = np.clip(np.rint(5.5 + 2 * (profile[codes] + noise)), 1, 10)
    return values[:rows], labels, values[rows:]
