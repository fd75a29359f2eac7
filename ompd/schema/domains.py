"""Features and classes of one disease, with the domain that each feature declares."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from ompd.arrays import F64, I64, Bools
from ompd.errors import LabelError, LabelWarning, SchemaError
from ompd.params import MAX_TEXT
from ompd.schema.features import Feature
from ompd.schema.form import TableForm
from ompd.schema.matching import arrange, match_labels
from ompd.schema.matrix import read_matrix, sift
from ompd.schema.rows import Errors, RowErrors, check_errors
from ompd.schema.toml import explained, fields_of, to_toml


class Schema(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True
):
    """The ordered features of a table and the names of its classes.

    The order of the features matters: the Relief-Wasserstein distance sums along it.

    Parameters
    ----------
    features : tuple of Feature
    classes : tuple of str
        Class names; a label's code is its place in this tuple.
    table : TableForm, optional
        How a file or frame writes such a table.

    Raises
    ------
    SchemaError
        If these contradict one another.
    """

    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    table: TableForm | None = None

    def __post_init__(self) -> None:
        for name in ("features", "classes"):
            if isinstance(getattr(self, name), list):
                msgspec.structs.force_setattr(self, name, tuple(getattr(self, name)))
            if not isinstance(getattr(self, name), tuple):
                raise SchemaError(f"{name}: expected a tuple")
        if not all(isinstance(feature, Feature) for feature in self.features):
            raise SchemaError("features: expected only Feature")
        names = [feature.name for feature in self.features]
        if not names:
            raise SchemaError("features: expected at least one")
        if len(set(names)) != len(names):
            raise SchemaError("features: names must be unique")
        if not self.classes or not all(
            isinstance(name, str) and 1 <= len(name) <= MAX_TEXT for name in self.classes
        ):
            raise SchemaError(
                f"classes: expected at least one name, each of 1 to {MAX_TEXT} characters"
            )
        if len(set(self.classes)) != len(self.classes):
            raise SchemaError("classes: names must be unique")
        if self.table is not None:
            self._check_table(self.table, set(names))

    def _check_table(self, table: TableForm, names: set[str]) -> None:
        if not isinstance(table, TableForm):
            raise SchemaError("table: expected a TableForm")
        for what, name in (("label", table.label), ("id", table.id)):
            if name in names:
                raise SchemaError(f"table {what}: {name!r} is a feature")
        if table.columns and not names <= set(table.columns):
            missing = min(names - set(table.columns))
            raise SchemaError(f"table columns: expected feature {missing!r} among them")
        for name, _ in table.marks:
            if name not in names:
                raise SchemaError(f"table marks: expected only names of features, got {name!r}")
        for text, name in table.texts:
            if name not in self.classes:
                raise SchemaError(
                    "table texts: expected only names of classes on the right, got another for "
                    f"{text!r}"
                )

    @property
    def plain(self) -> Schema:
        """The schema without `table`: what it says of the values, and not of a file."""
        return self if self.table is None else Schema(self.features, self.classes)

    @cached_property
    def low(self) -> F64:
        """Lower ends of the domains, shape (n,)."""
        return np.array([feature.low for feature in self.features], dtype=np.float64)

    @cached_property
    def high(self) -> F64:
        """Upper ends of the domains, shape (n,)."""
        return np.array([feature.high for feature in self.features], dtype=np.float64)

    @cached_property
    def nominal(self) -> Bools:
        """Which features have no order, shape (n,)."""
        return np.array([feature.kind == "nominal" for feature in self.features], dtype=np.bool_)

    def check(self, x: Any) -> F64:
        """Return `x` as a contiguous float64 array of shape (m, n), or refuse it.

        Parameters
        ----------
        x : array-like of shape (n,) or (m, n), data frame, series, mapping or structured array
            Real numbers, also in text, as `table` or else English files write them; texts of
            levels, booleans and dates where the feature declares what they mean. A single vector
            becomes one row. Values with names are found by them, in any order; values without are
            in the schema's order. Where a feature says what becomes of missing values, NaN, None,
            marks of `table` and the like are missing, and stay NaN.

        Raises
        ------
        FeatureError
            For other text, booleans without a meaning, missing or non-finite values, a wrong number
            of features, or if a name is missing, unknown or there twice.
        DomainError
            For a value outside the feature's domain, or a fraction where whole numbers are due.
        """
        return self.check_rows(x, "raise")[0]

    def check_rows(
        self, x: Any, errors: Errors = "collect", ids: Any = None
    ) -> tuple[F64, Bools, RowErrors]:
        """Check row by row, so that one bad row does not refuse all.

        Parameters
        ----------
        x : Any
            As for `check`.
        errors : {"raise", "skip", "collect"}, default="collect"
            What becomes of a row with a fault: an error as for `check`; it is left out; it is left
            out and told.
        ids : array of text of shape (m,), optional
            Names of the rows in what is told.

        Returns
        -------
        values : float64 array of shape (g, n)
            The good rows, in order.
        good : bool array of shape (m,)
            Which rows these are.
        told : RowErrors
            Every fault; empty unless `errors` is ``"collect"``.

        Raises
        ------
        FeatureError
            If `x` as a whole is none: names, dimensions, number of features.
        ParameterError
            If `errors` is none of the three.
        """
        check_errors(errors)
        values, faults = read_matrix(x, self.features, self.table)
        return sift(values, faults, self.features, errors, ids)

    def arrange(self, x: Any) -> Any:
        """Return `x` in the schema's order if it names its values, else as it is.

        Parameters
        ----------
        x : Any
            As for `check`. A frame stays a frame.

        Raises
        ------
        FeatureError
            If a name is missing, unknown or there twice.
        """
        return arrange(x, [feature.name for feature in self.features])

    def codes(self, labels: Any) -> I64:
        """Translate labels into class codes; a label means the class whose name it writes.

        Text is a name as it is, or with blanks around it; one of `table.texts` means what stands
        there. A number means the class of that name, however it is written: 1, 1.0 and
        ``np.int64(1)`` all are "1". Its place in `classes` plays no part. Only where no class has
        a number as its name and there are no such texts, and the number could therefore mean
        nothing else, is a whole number taken as a place, with a warning; `names` turns such codes
        into labels without one.

        Parameters
        ----------
        labels : sequence or array-like of shape (N,)
            Text, numbers or booleans.

        Returns
        -------
        int64 array of shape (N,)

        Raises
        ------
        LabelError
            If a label is missing or no class's name, or is a number that two names write.

        Warns
        -----
        LabelWarning
            If whole numbers are taken as places.
        """
        return self._codes(labels, lenient=False)

    def find_codes(self, labels: Any) -> I64:
        """Translate labels as `codes` does, with -1 for one that names no class.

        Raises
        ------
        LabelError
            If they are no sequence of labels.

        Warns
        -----
        LabelWarning
            If whole numbers are taken as places.
        """
        return self._codes(labels, lenient=True)

    def _codes(self, labels: Any, *, lenient: bool) -> I64:
        texts = {} if self.table is None else dict(self.table.texts)
        codes, by_place = match_labels(labels, self.classes, texts)
        if not lenient and -1 in codes:
            raise LabelError(f"labels: expected only {', '.join(self.classes)}")
        if by_place:
            places = ", ".join(f"{code} as {name!r}" for code, name in enumerate(self.classes))
            warnings.warn(
                f"labels: whole numbers are taken as places in the schema's classes: {places}; "
                "pass names, for example from Schema.names",
                LabelWarning,
                stacklevel=4,
            )
        return np.array(codes, dtype=np.int64)

    def names(self, codes: Any) -> list[str]:
        """Translate class codes into names: the way to say that integers are codes.

        Parameters
        ----------
        codes : integer array-like of shape (N,)
            Places in `classes`.

        Raises
        ------
        LabelError
            If a code names no class.
        """
        checked = self.check_codes(codes, np.size(codes))
        return [self.classes[code] for code in checked.tolist()]

    def check_codes(self, codes: Any, rows: int) -> I64:
        """Return class codes as int64 of shape (rows,), or refuse them.

        Raises
        ------
        LabelError
            If the type or length is wrong or a code names no class.
        """
        if np.ma.is_masked(codes):
            raise LabelError(f"labels: expected {rows} integer codes, got masked values")
        array = np.asarray(codes)
        if array.dtype.kind not in "iu" or array.shape != (rows,):
            raise LabelError(
                f"labels: expected {rows} integer codes, got {array.dtype} of shape "
                f"{array.shape}; Schema.codes translates class names"
            )
        if rows and (array.min() < 0 or array.max() >= len(self.classes)):
            raise LabelError(
                f"labels: expected codes from 0 to {len(self.classes) - 1}, the places of "
                f"{', '.join(self.classes)}"
            )
        return array.astype(np.int64)

    @classmethod
    def infer(
        cls,
        source: Any,
        *,
        label: str | None = None,
        id: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Schema:
        """Propose a schema for a table; a person must look at it before patients meet it.

        Parameters
        ----------
        source : path, data frame, Arrow table or mapping of columns
            A file is CSV (with whatever separator), ARFF, Parquet or Arrow.
        label : str, optional
            Column of classes; otherwise one of a usual name, else the last one with few values.
        id : str, optional
            Column of row ids; otherwise one of different texts or whole numbers that looks like
            one by name or nature. An empty text means none.
        columns : sequence of str, optional
            Names of all columns of a file without header.

        Returns
        -------
        Schema
            Its `table` says how the source writes it; `to_toml` writes what to check as comments.
            Of the values it holds the ends of domains, rounded outwards where that makes sense,
            and the texts of levels and classes.

        Raises
        ------
        SchemaError
            If no label column is found, no column is left as a feature, or a name is unknown.
        DatasetError
            If the file is missing, damaged or not text in UTF-8.
        """
        from ompd.schema.inference import propose

        features, classes, table = propose(source, label, id, columns)
        return cls(features, classes, table)

    def to_toml(self) -> str:
        """Write as TOML, with comments on what to check if the schema was proposed by `infer`."""
        return to_toml(self)

    @classmethod
    def from_toml(cls, data: bytes | str) -> Schema:
        """Read what `to_toml` wrote, or a person.

        Raises
        ------
        SchemaError
            If the text is not a schema.
        """
        fields = fields_of(data)
        return _converted(lambda: msgspec.convert(fields, cls), fields)

    def to_json(self) -> bytes:
        """Encode as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Schema:
        """Decode from JSON.

        Raises
        ------
        SchemaError
            If the text is not a schema.
        """
        return _converted(lambda: msgspec.json.decode(data, type=cls), None)


def _converted(convert: Callable[[], Schema], fields: dict[str, Any] | None) -> Schema:
    """Make a schema; what is wrong is told in the words of the `fields` of a file, if given."""
    problem = ""
    try:
        return convert()
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, SchemaError):
            problem = str(error.__cause__)
        else:
            problem = f"schema: {error}" if fields is None else explained(str(error), fields)
    except (msgspec.DecodeError, UnicodeError, TypeError, OverflowError):
        problem = "schema: expected JSON"
    raise SchemaError(problem)
