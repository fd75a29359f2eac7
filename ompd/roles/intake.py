"""What a hospital asks of records before it trains anything with them."""

from __future__ import annotations

from typing import Protocol

from ompd.arrays import F64, I64
from ompd.datasets import Dataset
from ompd.errors import LabelError, ParameterError, TooLargeError
from ompd.params import MAX_CLASSES
from ompd.roles.retrieval import Retrieval
from ompd.roles.retrieval.contract import coordinates_of
from ompd.schema import Schema, are_ambiguous
from ompd.wire import MAX_COORDINATES


class Instances(Protocol):
    """Labelled records, for example a `Dataset`."""

    @property
    def schema(self) -> Schema:
        """Features and classes."""

    @property
    def features(self) -> F64:
        """Shape (N, n)."""

    @property
    def labels(self) -> I64:
        """Class codes, shape (N,)."""


def checked(instances: Instances) -> Dataset:
    """Return records as a data set.

    Raises
    ------
    ParameterError
        If they are no records.
    LabelError
        If codes might be mistaken for names, or a code names no class.
    FeatureError, DomainError
        If the features do not fit the schema.
    """
    if isinstance(instances, Dataset):
        return instances
    if not all(hasattr(instances, name) for name in ("schema", "features", "labels")):
        raise ParameterError(
            "instances: expected schema, features and labels, "
            f"got {type(instances).__name__}; see Dataset.from_arrays"
        )
    schema = instances.schema
    if are_ambiguous(schema.classes):
        raise LabelError(
            f"labels: codes could be mistaken for the classes {', '.join(schema.classes)}; "
            "make a Dataset, see Dataset.from_arrays"
        )
    return Dataset.from_arrays(schema, instances.features, schema.names(instances.labels))


def check_size(records: Dataset, profile: type[Retrieval], method: str, k: int | None) -> None:
    """Refuse records whose table could not be sent, before they are trained with.

    Raises
    ------
    TooLargeError
    """
    rows, features = records.features.shape
    classes = len(records.schema.classes)
    if classes > MAX_CLASSES:
        raise TooLargeError(f"schema: expected at most {MAX_CLASSES} classes, got {classes}")
    most = MAX_COORDINATES - profile.padding
    if features > most:
        raise TooLargeError(f"schema: expected at most {most} features, got {features}")
    if coordinates_of(records, method) > most:
        raise TooLargeError(f"schema: expected at most {most} classes, got {classes}")
    if rows:
        profile.check_size(records, method, k)
