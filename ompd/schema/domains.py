"""Features and classes of one disease, with the domain that each feature declares."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from ompd.arrays import F64, I64, Bools
from ompd.errors import DomainError, FeatureError, LabelError, LabelWarning, SchemaError
from ompd.params import MAX_TEXT
from ompd.schema.matching import arrange, has_names, match_labels

Kind = Literal["numeric", "ordinal", "nominal"]


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of a table.

    Parameters
    ----------
    name : str
        Unique within its schema.
    kind : {"numeric", "ordinal", "nominal"}
        Ordinal and nominal features hold whole numbers; a nominal one has no order, so Relief
        counts any two different values as fully different.
    low, high : float
        Inclusive domain. ``low == high`` marks a constant column, which gets weight 0.
    about : str
        One line for people.
    """

    name: str
    kind: Kind
    low: float
    high: float
    about: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SchemaError("feature name: expected a non-empty text")
        if not all(type(end) in {int, float} for end in (self.low, self.high)):
            raise SchemaError(f"feature {self.name!r}: expected numbers as domain")
        if self.kind not in get_args(Kind):
            raise SchemaError(f"feature {self.name!r}: kind must be one of {get_args(Kind)}")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise SchemaError(f"feature {self.name!r}: expected finite low <= high")
        if not math.isfinite(self.high - self.low):
            raise SchemaError(f"feature {self.name!r}: high - low must be finite")
        # A caller may well write low=0, high=120.
        if self.kind != "numeric" and any(end != math.floor(end) for end in (self.low, self.high)):
            raise SchemaError(f"feature {self.name!r}: expected whole numbers as domain")


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The ordered features of a table and the names of its classes.

    The order of the features matters: the Relief-Wasserstein distance sums along it.

    Parameters
    ----------
    features : tuple of Feature
    classes : tuple of str
        Class names; a label's code is its place in this tuple.
    """

    features: tuple[Feature, ...]
    classes: tuple[str, ...]

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

    @cached_property
    def _whole(self) -> Bools:
        return np.array([feature.kind != "numeric" for feature in self.features], dtype=np.bool_)

    def check(self, x: Any) -> F64:
        """Return `x` as a contiguous float64 array of shape (m, n), or refuse it.

        Parameters
        ----------
        x : array-like of shape (n,) or (m, n), data frame, series, mapping or structured array
            Real numbers; a single vector becomes one row. Values with names are found by them, in
            any order; values without are in the schema's order.

        Raises
        ------
        FeatureError
            For text, booleans, missing or non-finite values, a wrong number of features, or if a
            name is missing, unknown or there twice.
        DomainError
            For a value outside the feature's domain, or a fraction where whole numbers are due.
        """
        x = self.arrange(x)
        values = as_feature_matrix(x.to_numpy() if hasattr(x, "to_numpy") else x)
        if values.shape[1] != len(self.features):
            raise FeatureError(
                f"features: expected {len(self.features)} per row, got {values.shape[1]}"
            )
        finite = np.isfinite(values)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise FeatureError(
                f"row {row}, feature {self.features[column].name!r}: "
                "expected a finite number, got a missing or infinite one"
            )
        outside = (values < self.low) | (values > self.high)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            feature = self.features[column]
            raise DomainError(
                f"row {row}, feature {feature.name!r}: "
                f"expected a value from {feature.low:g} to {feature.high:g}"
            )
        fraction = self._whole & (values != np.floor(values))
        if fraction.any():
            row, column = np.argwhere(fraction)[0]
            raise DomainError(
                f"row {row}, feature {self.features[column].name!r}: expected a whole number"
            )
        return values

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

        Text is a name as it is. A number means the class of that name, however it is written: 1,
        1.0 and ``np.int64(1)`` all are "1". Its place in `classes` plays no part. Only where no
        class has a number as its name, and the number could therefore mean nothing else, is a
        whole number taken as a place, with a warning; `names` turns such codes into labels
        without one.

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
        codes, by_place = match_labels(labels, self.classes)
        if by_place:
            places = ", ".join(f"{code} as {name!r}" for code, name in enumerate(self.classes))
            warnings.warn(
                f"labels: whole numbers are taken as places in the schema's classes: {places}; "
                "pass names, for example from Schema.names",
                LabelWarning,
                stacklevel=3,
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
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.ValidationError as error:
            if isinstance(error.__cause__, SchemaError):
                raise error.__cause__ from None
            raise SchemaError(f"schema: {error}") from None
        except (msgspec.DecodeError, UnicodeError, TypeError):
            raise SchemaError("schema: expected JSON") from None


def as_feature_matrix(x: Any) -> F64:
    """Return `x` as a contiguous float64 matrix of shape (m, n); a vector becomes one row.

    Only the type and the number of dimensions are checked; NaN passes.

    Raises
    ------
    FeatureError
        For text, booleans, objects that are no numbers, or another number of dimensions.
    """
    if has_names(x):
        raise FeatureError(
            "features: values with names need the schema that they are found in; pass schema=, "
            "or plain rows in its order"
        )
    _refuse_non_numbers(x)
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, OverflowError):
        raise FeatureError("features: expected rows of equal length") from None
    if array.dtype.kind == "O":
        _refuse_non_numbers(array.tolist())
        try:
            array = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError):
            raise FeatureError("features: expected real numbers") from None
    if array.dtype.kind not in "iuf":
        raise FeatureError(f"features: expected real numbers, got {array.dtype}")
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2:
        raise FeatureError(f"features: expected one or two dimensions, got {array.ndim}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _refuse_non_numbers(x: Any) -> None:
    """Refuse what NumPy would silently turn into numbers: True, "5", None, a masked value."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise FeatureError("features: expected real numbers, got masked values")
    if isinstance(x, np.ndarray) and x.dtype.kind == "b":
        raise FeatureError("features: expected real numbers, got bool")
    if isinstance(x, (bool, np.bool_, str, bytes)) or x is None:
        raise FeatureError(f"features: expected real numbers, got {type(x).__name__}")
    if isinstance(x, (list, tuple)):
        for item in x:
            _refuse_non_numbers(item)
