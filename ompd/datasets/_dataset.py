"""A table of instances and what is known about its origin."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64, Array
from ompd.datasets._frames import read_part, sift_parts
from ompd.datasets._ids import as_ids
from ompd.datasets._info import DatasetInfo
from ompd.errors import DatasetError, LabelError, ParameterError
from ompd.schema import Errors, RowErrors, Schema, check_aligned
from ompd.schema.rows import check_errors

#: A class with a single training row has no near hit, so Relief cannot learn from it.
LEAST_TRAIN_PER_CLASS = 2


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Checked instances with their classes.

    Parameters
    ----------
    info : DatasetInfo
        Origin of the data. A part made by `take` or `split` keeps the info of the whole.
    features : ndarray of shape (N, n), float64
        Read-only. Every value lies in its declared domain.
    labels : ndarray of shape (N,), int64
        Read-only. Class codes: places in ``schema.classes``.
    ids : array of text of shape (N,), optional
        Read-only. What the hospital calls its rows: different texts of 1 to `MAX_ID` characters.
    errors : RowErrors
        What was wrong with the rows that were left out when the table was read. Parts made by
        `take` and `split` have none.

    Raises
    ------
    FeatureError, DomainError, LabelError
        If the arrays do not fit the schema.
    DatasetError
        If ids are no such texts.
    """

    info: DatasetInfo
    features: F64
    labels: I64
    ids: Array | None = None
    errors: RowErrors = field(default_factory=RowErrors)

    def __post_init__(self) -> None:
        if self.info.schema.table is not None:
            schema = self.info.schema
            info = msgspec.structs.replace(self.info, schema=schema.plain, form=schema.table)
            object.__setattr__(self, "info", info)
        # Own copies: freezing the caller's array, or sharing one that he may write to, would
        # both be surprises.
        features = np.array(self.schema.check(self.features))
        labels = np.array(self.schema.check_codes(self.labels, len(features)))
        features.flags.writeable = False
        labels.flags.writeable = False
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", labels)
        if self.ids is not None:
            ids = as_ids(self.ids, len(features))
            ids.flags.writeable = False
            object.__setattr__(self, "ids", ids)

    @classmethod
    def from_arrays(
        cls,
        schema: Schema,
        features: Any,
        labels: Any,
        *,
        ids: Any = None,
        name: str = "own",
        errors: Errors = "raise",
    ) -> Dataset:
        """Make a data set from values in memory.

        Parameters
        ----------
        schema : Schema
        features : array-like of shape (N, n), data frame, or mapping of columns
            Columns with names are found by them, in any order; see `Schema.check`.
        labels : array-like of shape (N,)
            Names of classes, also as numbers; see `Schema.codes`. Codes become names by
            `Schema.names`. A series has the index of the features' frame.
        ids : array-like of shape (N,), optional
            What the rows are called: different texts or integers.
        name : str, default="own"
        errors : {"raise", "skip", "collect"}, default="raise"
            What becomes of a row with a fault: an error; it is left out; it is left out and told
            in the data set's `errors`.

        Raises
        ------
        FeatureError, DomainError, LabelError
            If the values do not fit the schema.
        DatasetError
            If ids are missing, no texts or integers, or there twice.
        ParameterError
            If `errors` is none of the three.

        Warns
        -----
        LabelWarning
            If whole numbers are taken as codes, since no class has a number as its name.
        """
        named = None if ids is None else as_ids(ids)
        values, good, told = schema.check_rows(features, errors, named)
        if named is not None and len(named) != len(good):
            raise DatasetError(f"ids: expected {len(good)}, one per row, got {len(named)}")
        check_aligned(features, labels)
        if errors == "raise":
            codes = schema.check_codes(schema.codes(labels), len(values))
        else:
            codes = schema.find_codes(labels)
            if len(codes) != len(good):
                raise LabelError(f"labels: expected {len(good)}, got {len(codes)}")
            known = codes >= 0
            values, good, codes = values[known[good]], good & known, codes[good & known]
            if errors == "collect" and not known.all():
                reason = f"expected one of {', '.join(schema.classes)}"
                told = told.extended(np.flatnonzero(~known), "", reason, named)
        # What was checked may be the caller's.
        return cls.of(
            schema,
            np.array(values),
            codes,
            None if named is None else named[good],
            told,
            name=name,
        )

    @classmethod
    def from_frame(
        cls, schema: Schema, frame: Any, *, name: str = "own", errors: Errors = "raise"
    ) -> Dataset:
        """Make a data set from a table that holds features, labels and ids.

        Parameters
        ----------
        schema : Schema
            Its `table` says which columns hold labels and ids, and which texts and numbers mean
            classes and missing values; without it, the last column holds classes.
        frame : data frame, Arrow table or mapping of columns
            Of pandas, polars, pyarrow. Columns are found by name, and others are not read.
            Numbers, texts of numbers and levels, categories, booleans and dates are understood.
        name : str, default="own"
        errors : {"raise", "skip", "collect"}, default="raise"
            As for `from_arrays`.

        Raises
        ------
        FeatureError, DomainError, LabelError
            If the values do not fit the schema.
        DatasetError
            If a column is missing, an id is missing or there twice, or no good row is there.
        ParameterError
            If `errors` is none of the three.
        """
        how = check_errors(errors)
        values, codes, ids, told = sift_parts([read_part(frame, schema)], schema, how)
        return cls.of(schema, values, codes, ids, told, name=name)

    @classmethod
    def of(
        cls,
        schema: Schema,
        values: F64,
        codes: I64,
        ids: Array | None = None,
        errors: RowErrors | None = None,
        *,
        name: str,
        title: str = "",
        sha256: str = "",
    ) -> Dataset:
        """Make a data set of arrays that were checked, which become its own.

        Parameters
        ----------
        schema : Schema
        values : float64 array of shape (N, n)
        codes : int64 array of shape (N,)
        ids : array of text of shape (N,), optional
        errors : RowErrors, optional
        name, title, sha256 : str
            As in `DatasetInfo`; the title is the name if empty.
        """
        counts = np.bincount(codes, minlength=len(schema.classes))
        info = DatasetInfo(
            name=name,
            title=title or name,
            schema=schema.plain,
            form=schema.table,
            rows=len(values),
            class_rows=tuple(counts.tolist()),
            sha256=sha256,
        )
        return cls._of_own(info, values, codes, ids, errors)

    @classmethod
    def _of_own(
        cls,
        info: DatasetInfo,
        values: F64,
        codes: I64,
        ids: Array | None,
        errors: RowErrors | None = None,
    ) -> Dataset:
        """Take arrays as they are: nobody else has them, and they were checked."""
        made = object.__new__(cls)
        told = RowErrors() if errors is None else errors
        fields = (info, np.ascontiguousarray(values), np.ascontiguousarray(codes), ids, told)
        for name, value in zip(cls.__dataclass_fields__, fields, strict=True):
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
            object.__setattr__(made, name, value)
        return made

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.info.name

    @property
    def schema(self) -> Schema:
        """Features and classes, without `table`: what is told to others."""
        return self.info.schema

    @property
    def written(self) -> Schema:
        """The schema with the `table` by which more files or frames like this one can be read."""
        info = self.info
        return (
            info.schema
            if info.form is None
            else msgspec.structs.replace(info.schema, table=info.form)
        )

    @property
    def class_rows(self) -> tuple[int, ...]:
        """Number of instances of each class that are in this table."""
        counts = np.bincount(self.labels, minlength=len(self.schema.classes))
        return tuple(counts.tolist())

    def __len__(self) -> int:
        return len(self.features)

    def __repr__(self) -> str:
        # Sizes only: a repr ends up in logs and bug reports, where patients' values must not.
        counts = ", ".join(
            f"{rows} {name}"
            for name, rows in zip(self.schema.classes, self.class_rows, strict=True)
        )
        return f"<Dataset {self.name!r}: {len(self)} × {len(self.schema.features)}, {counts}>"

    def __reduce__(self) -> tuple[type[Dataset], tuple[Any, ...]]:
        # NumPy's pickles and deep copies forget that an array was read-only.
        return Dataset, (self.info, self.features, self.labels, self.ids, self.errors)

    def take(self, rows: npt.ArrayLike) -> Dataset:
        """Return the given rows, in the given order.

        Parameters
        ----------
        rows : array-like of int, shape (m,)
            Indices from 0 to N - 1; an index may repeat where rows have no ids.

        Raises
        ------
        DatasetError
            If an index is no integer or outside the table.
        """
        index = _index(rows, len(self))
        ids = None if self.ids is None else self.ids[index]
        if ids is not None and len(np.unique(index)) != len(index):
            raise DatasetError("ids: expected different ones, got one twice")
        return Dataset._of_own(self.info, self.features[index], self.labels[index], ids)

    def split(self, test_per_class: int = 100, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Hold out random instances of each class, as many of one as of another.

        The same seed gives the same split. One generator, ``numpy.random.default_rng(seed)``,
        draws from the classes in the order of ``schema.classes``; rows of no draw are for
        training. Both parts keep the order of the table.

        Parameters
        ----------
        test_per_class : int, default=100
            Rows held out of each class. The paper holds out 100.
        seed : int, default=0
            Not negative.

        Returns
        -------
        train, test : Dataset

        Raises
        ------
        DatasetError
            If a class would keep fewer than two rows for training.
        ParameterError
            If `test_per_class` is no positive integer, or `seed` no integer from 0.
        """
        held = _integer("test_per_class", test_per_class, least=1)
        generator = np.random.default_rng(_integer("seed", seed, least=0))
        needed = held + LEAST_TRAIN_PER_CLASS
        in_test = np.zeros(len(self), dtype=np.bool_)
        for name, rows in zip(self.schema.classes, self.class_rows, strict=True):
            if rows < needed:
                raise DatasetError(
                    f"test_per_class: holding out {held} takes at least {needed} rows of each "
                    f"class, got {rows} of {name!r}"
                )
        for code in range(len(self.schema.classes)):
            members = np.flatnonzero(self.labels == code)
            in_test[generator.choice(members, size=held, replace=False)] = True
        return self.take(np.flatnonzero(~in_test)), self.take(np.flatnonzero(in_test))


def _index(rows: npt.ArrayLike, count: int) -> I64:
    if isinstance(rows, Sequence) and not rows:
        return np.empty(0, dtype=np.int64)  # NumPy would make it float64
    index = np.asarray(rows)
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise DatasetError(
            f"rows: expected integers of shape (m,), got {index.dtype} of shape {index.shape}"
        )
    # A negative index is more likely a slip than a wish for rows from the end.
    if index.size and (index.min() < 0 or index.max() >= count):
        raise DatasetError(f"rows: expected indices from 0 to {count - 1}")
    return index.astype(np.int64)


def _integer(name: str, value: Any, least: int) -> int:
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ParameterError(f"{name}: expected an integer of at least {least}")
    return number
