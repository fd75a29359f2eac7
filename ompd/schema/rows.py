"""What is wrong with single rows, told without their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args, overload

import numpy as np

from ompd.arrays import I64
from ompd.errors import ParameterError

#: What becomes of bad rows: the first is an error; they are left out; they are left out and told.
Errors = Literal["raise", "skip", "collect"]


class RowError(NamedTuple):
    """One fault of one row.

    Attributes
    ----------
    row : int
        Place among all rows, from 0.
    id : str or None
        The row's id, if it has a usable one.
    line : int or None
        Line of the file, from 1.
    column : str
        Name of the column; empty if the row as a whole is at fault.
    reason : str
        What was expected. Never what was found.
    """

    row: int
    id: str | None
    line: int | None
    column: str
    reason: str


class RowErrors(Sequence[RowError]):
    """Faults of rows that were left out, ordered by row.

    Parameters
    ----------
    entries : iterable of RowError

    Notes
    -----
    Kept as arrays: a file of 10^6 bad rows takes some tens of bytes for each. Its repr has no ids.
    """

    def __init__(self, entries: Iterable[RowError] = ()) -> None:
        words: dict[tuple[str, str], int] = {}
        rows, kinds, lines, ids = [], [], [], []
        for entry in sorted(entries, key=lambda each: each.row):
            rows.append(entry.row)
            kinds.append(words.setdefault((entry.column, entry.reason), len(words)))
            lines.append(-1 if entry.line is None else entry.line)
            ids.append(entry.id)
        self._words = tuple(words)
        self._rows = np.array(rows, dtype=np.int64)
        self._kinds = np.array(kinds, dtype=np.int32)
        self._lines = np.array(lines, dtype=np.int64)
        self._ids = ids if any(each is not None for each in ids) else None

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> RowError: ...
    @overload
    def __getitem__(self, place: slice) -> RowErrors: ...
    def __getitem__(self, place: int | slice) -> RowError | RowErrors:
        if isinstance(place, slice):
            return RowErrors(self[each] for each in range(*place.indices(len(self))))
        row = int(self._rows[place])
        line = int(self._lines[place])
        column, reason = self._words[self._kinds[place]]
        found = None if self._ids is None else self._ids[place]
        return RowError(row, found, None if line < 0 else line, column, reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowErrors) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        # No ids: a repr ends up in logs.
        return f"<RowErrors: {len(self)} in {len(self.rows)} rows>"

    @property
    def rows(self) -> I64:
        """The rows that have a fault, in order, each once."""
        return np.unique(self._rows)

    def extended(self, rows: I64, column: str, reason: str, ids: Any = None) -> RowErrors:
        """Return these with one more fault of each of `rows`."""
        more = (
            RowError(row, None if ids is None else str(ids[row]), None, column, reason)
            for row in rows.tolist()
        )
        return RowErrors([*self, *more])

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how often each (column, reason) stands here, the most frequent first."""
        counts = np.bincount(self._kinds, minlength=len(self._words)).tolist()
        pairs = zip(self._words, counts, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def to_frame(self) -> Any:
        """Return a pandas frame with the columns row, id, line, column and reason.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame(list(self), columns=list(RowError._fields))


def check_errors(errors: str) -> Errors:
    """Return `errors`, or refuse what is no way to treat bad rows.

    Raises
    ------
    ParameterError
    """
    for known in get_args(Errors):
        if errors == known:
            return known  # type: ignore[no-any-return]
    raise ParameterError(f"errors: expected one of {', '.join(get_args(Errors))}")
