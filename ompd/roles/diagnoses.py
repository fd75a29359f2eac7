"""Diagnoses of many feature vectors, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64, U16, Bools
from ompd.errors import BackendUnavailableError, FramingError, ParameterError
from ompd.roles.diagnosis import ByClass, Diagnosis, Finding
from ompd.wire import Report

Texts = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Diagnoses(Sequence[Diagnosis]):
    """Diagnoses of m feature vectors, held as arrays.

    An index gives a `Diagnosis`, a slice `Diagnoses`. All arrays are read-only.

    Parameters
    ----------
    classes : tuple of str
    findings : tuple of Finding
        Each that may occur, once.
    finding : int64 array of shape (m,)
        Which of them each row has; -1 where there is an error.
    probabilities : float64 array of shape (m, len(classes))
        Calibrated by the hospital; NaN where there is an error.
    votes : uint16 array of shape (m, len(classes))
        Of the K neighbours; each row sums to K, or to 0 where there is an error or none vote.
    certified : bool array of shape (m,)
        Whether the hospital itself knows that none was nearer.
    filled : uint16 array of shape (m,)
        How many features of each row were missing and filled in by the hospital.
    error : object array of shape (m,), optional
        Texts: why a row has no diagnosis, empty where it has one. By default all have.
    ids : array of shape (m,), optional
        What the rows are called: texts or integers.

    Attributes
    ----------
    codes : int64 array of shape (m,)
        Places of the labels in `classes`; -1 where there is an error.

    Raises
    ------
    ParameterError
        If lengths differ.
    """

    classes: tuple[str, ...]
    findings: tuple[Finding, ...]
    finding: I64
    probabilities: F64
    votes: U16
    certified: Bools
    filled: U16
    error: Texts = None  # type: ignore[assignment]
    ids: Texts | None = None
    codes: I64 = field(init=False)
    _places: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.finding)
        places = {name: place for place, name in enumerate(self.classes)}
        codes = np.array([*(places[each.label] for each in self.findings), -1], dtype=np.int64)
        object.__setattr__(self, "_places", places)
        object.__setattr__(self, "codes", codes[self.finding])
        if self.error is None:
            object.__setattr__(self, "error", np.full(rows, "", dtype=object))
        for name in ("probabilities", "votes"):
            if getattr(self, name).shape != (rows, len(places)):
                raise ParameterError(f"{name}: expected one per row and class")
        for name in ("certified", "filled", "error", "ids"):
            if getattr(self, name) is not None and getattr(self, name).shape != (rows,):
                raise ParameterError(f"{name}: expected {rows}, one per row")
        for each in fields(self):
            array = getattr(self, each.name)
            if isinstance(array, np.ndarray):
                object.__setattr__(self, each.name, _closed(array))

    @classmethod
    def failed(cls, error: str | Texts, rows: int, ids: Texts | None = None) -> Self:
        """Return rows without diagnosis.

        Parameters
        ----------
        error : str or object array of shape (rows,)
            Why; not empty.
        rows : int
        ids : array of text of shape (rows,), optional
        """
        why = np.full(rows, error, dtype=object) if isinstance(error, str) else error
        return cls(
            (), (), np.full(rows, -1), np.empty((rows, 0)), np.empty((rows, 0), np.uint16),
            np.zeros(rows, np.bool_), np.zeros(rows, np.uint16), why, ids,
        )  # fmt: skip

    @classmethod
    def concatenate(cls, parts: Sequence[Diagnoses]) -> Self:
        """Return the rows of several, one after the other.

        Raises
        ------
        ParameterError
            If there is nothing, some parts have ids and others none, or those that have
            diagnoses differ in their classes.
        """
        if not parts:
            raise ParameterError("parts: expected at least one")
        known = {part.classes for part in parts if part.classes}
        if len(known) > 1:
            raise ParameterError("parts: expected diagnoses of the same classes")
        if len({part.ids is None for part in parts}) > 1:
            raise ParameterError("parts: expected ids in all or in none")
        classes = known.pop() if known else ()
        findings: dict[Finding, int] = {}
        finding = []
        for part in parts:
            places = [findings.setdefault(each, len(findings)) for each in part.findings]
            finding.append(np.array([*places, -1], dtype=np.int64)[part.finding])
        return cls(
            classes,
            tuple(findings),
            np.concatenate(finding),
            np.concatenate([_widened(part.probabilities, len(classes), np.nan) for part in parts]),
            np.concatenate([_widened(part.votes, len(classes), 0) for part in parts]),
            np.concatenate([part.certified for part in parts]),
            np.concatenate([part.filled for part in parts]),
            np.concatenate([part.error for part in parts]),
            None if parts[0].ids is None else np.concatenate([part.ids for part in parts]),
        )

    def take(self, rows: Any) -> Self:
        """Return the given rows, in the given order.

        Parameters
        ----------
        rows : integer or boolean array, or slice
            As NumPy takes them.
        """
        return type(self)(
            self.classes, self.findings, self.finding[rows], self.probabilities[rows],
            self.votes[rows], self.certified[rows], self.filled[rows], self.error[rows],
            None if self.ids is None else self.ids[rows],
        )  # fmt: skip

    def among(self, rows: I64, error: Texts, ids: Texts | None = None) -> Self:
        """Return these as some rows of more, of which the others have errors.

        Parameters
        ----------
        rows : int64 array of shape (len(self),)
            Their places, ascending.
        error : object array of shape (m,)
            Why the others have no diagnosis; what stands at `rows` plays no part.
        ids : array of text of shape (m,), optional
            Of all rows.

        Raises
        ------
        ParameterError
            If there are not as many places.
        """
        if rows.shape != self.finding.shape:
            raise ParameterError(f"rows: expected {len(self)} places, got shape {rows.shape}")
        others = np.ones(len(error), dtype=np.bool_)
        others[rows] = False
        places = np.concatenate([rows, np.flatnonzero(others)])
        bad = self.failed(error[others], int(others.sum()))
        whole = self.concatenate([self.named(None), bad]).take(np.argsort(places))
        return whole.named(ids)

    def named(self, ids: Texts | None) -> Self:
        """Return the same rows with these ids."""
        return type(self)(
            self.classes, self.findings, self.finding, self.probabilities, self.votes,
            self.certified, self.filled, self.error, ids,
        )  # fmt: skip

    @property
    def labels(self) -> Texts:
        """Class names, an array of text of shape (m,); empty where there is an error."""
        return np.array([*self.classes, ""])[self.codes]

    @property
    def failures(self) -> int:
        """How many rows have an error."""
        return int(np.count_nonzero(self.codes < 0))

    def __len__(self) -> int:
        return len(self.finding)

    @overload
    def __getitem__(self, place: int) -> Diagnosis: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Diagnosis | Self:
        if isinstance(place, slice):
            return self.take(place)
        which = int(self.finding[place])
        finding = self.findings[which] if which >= 0 else None
        votes = self.votes[place]
        return Diagnosis(
            label="" if finding is None else finding.label,
            advice="" if finding is None else finding.advice,
            k=int(votes.sum()),
            votes=ByClass(self._places, votes),
            probabilities=ByClass(self._places, self.probabilities[place]),
            certified=bool(self.certified[place]),
            profile=None if finding is None else finding.profile,
            method=None if finding is None else finding.method,
            filled=int(self.filled[place]),
            id=None if self.ids is None else str(self.ids[place]),
            error=self.error[place],
        )

    def __eq__(self, other: object) -> bool:
        """Whether the rows are the same, with their ids, errors and all that was told."""
        if not isinstance(other, Diagnoses):
            return NotImplemented
        if self.classes != other.classes or (self.ids is None) != (other.ids is None):
            return False
        mine, theirs = self._told(), other._told()
        return all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(mine, theirs, strict=True)
        )

    # Equal ones would need equal hashes, and rows are many.
    __hash__ = None  # type: ignore[assignment]

    def _told(self) -> list[npt.NDArray[Any]]:
        """All that is compared, row by row."""
        findings = np.empty(len(self.findings) + 1, dtype=object)
        for place, each in enumerate(self.findings):
            findings[place] = each
        told: list[npt.NDArray[Any]] = [self.probabilities, self.votes, self.certified, self.filled]
        told += [self.error, findings[self.finding]]
        return told if self.ids is None else [*told, self.ids]

    def __repr__(self) -> str:
        # Sizes only: a repr ends up in logs and bug reports, where diagnoses must not.
        failures = f", {self.failures} with an error" if self.failures else ""
        return f"<Diagnoses: {len(self)} rows, {len(self.classes)} classes{failures}>"

    def to_frame(self) -> Any:
        """Return a pandas data frame with one row each.

        Columns are `label`, ``p(class)`` and ``votes(class)`` for every class, `certified`,
        `filled` and `error`; label and error are None where there is none. The index are the
        ids, else the places of the rows.

        Raises
        ------
        BackendUnavailableError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise BackendUnavailableError("to_frame: pandas is not installed") from None
        index = None if self.ids is None else pandas.Index(self.ids, name="id")
        return pandas.DataFrame(self.columns(), index=index)

    def to_arrow(self) -> Any:
        """Return an Arrow table with the columns of `to_frame`, and `id` before them if there are.

        Raises
        ------
        BackendUnavailableError
            If pyarrow is not installed.
        """
        try:
            import pyarrow
        except ImportError:
            raise BackendUnavailableError("to_arrow: pyarrow is not installed") from None
        columns = self.columns()
        if self.ids is not None:
            columns = {"id": self.ids.astype(object)} | columns
        texts = {"id", "label", "error"}
        return pyarrow.table(
            {
                name: pyarrow.array(column, pyarrow.string() if name in texts else None)
                for name, column in columns.items()
            }
        )

    def columns(self) -> dict[str, Any]:
        """Return the columns of `to_frame` as arrays, by name."""
        columns: dict[str, Any] = {
            "label": np.array([*self.classes, None], dtype=object)[self.codes]
        }
        for title, numbers in (("p", self.probabilities), ("votes", self.votes)):
            for place, name in enumerate(self.classes):
                columns[f"{title}({name})"] = numbers[:, place]
        error = self.error.copy()
        error[self.codes >= 0] = None
        return columns | {"certified": self.certified, "filled": self.filled, "error": error}


def read_report(body: Report, rows: int) -> Diagnoses:
    """Check and take apart a report on so many rows.

    Raises
    ------
    FramingError
        If it is not one that a hospital makes.
    """
    cells = rows * len(body.classes)
    expected = {"choice": 2 * rows, "votes": 2 * cells, "probabilities": 8 * cells}
    expected |= {"certified": rows, "filled": 2 * rows}
    for name, size in expected.items():
        if len(getattr(body, name)) != size:
            raise FramingError(f"report: expected {size} bytes of {name}")
    places = {name: place for place, name in enumerate(body.classes)}
    if len(places) != len(body.classes):
        raise FramingError("report: expected classes with different names")
    labels = [label for label, _ in body.findings]
    if not set(labels) <= places.keys() or len(set(labels)) != len(labels):
        raise FramingError("report: expected at most one finding of each class")
    choice = np.frombuffer(body.choice, dtype="<u2")
    if rows and choice.max() >= len(body.findings):
        raise FramingError("report: a choice points beyond the findings")
    votes = np.frombuffer(body.votes, dtype="<u2").reshape(rows, len(body.classes))
    if (votes.sum(axis=1, dtype=np.int64) != body.k).any():
        raise FramingError("report: expected K votes per row")
    probabilities = np.frombuffer(body.probabilities, dtype="<f8").reshape(rows, len(body.classes))
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise FramingError("report: expected probabilities from 0 to 1")
    certified = np.frombuffer(body.certified, dtype=np.uint8)
    if (certified > 1).any():
        raise FramingError("report: expected 0 or 1 for certified")
    return Diagnoses(
        body.classes,
        tuple(Finding(*each, body.profile, body.method) for each in body.findings),
        choice.astype(np.int64),
        probabilities.astype(np.float64),
        votes.astype(np.uint16),
        certified.astype(np.bool_),
        np.frombuffer(body.filled, dtype="<u2").astype(np.uint16),
    )


def _closed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view of an array that nobody can write through."""
    view = array.view()
    view.flags.writeable = False
    return view


def _widened(numbers: npt.NDArray[Any], classes: int, nothing: float) -> npt.NDArray[Any]:
    """Return numbers by class; those of rows that all failed have no class yet."""
    if numbers.shape[1] == classes:
        return numbers
    return np.full((len(numbers), classes), nothing, dtype=numbers.dtype)
