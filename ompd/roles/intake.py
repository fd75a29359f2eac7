"""What a hospital asks of records before it trains anything with them."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ompd.arrays import F64, I64
from ompd.blind import PADDING
from ompd.datasets import Dataset
from ompd.encode import EvidenceEncoder, scale_features
from ompd.errors import LabelError, ParameterError, TooLargeError
from ompd.params import PAPER
from ompd.roles.retrieval import HardenedRetrieval, PaperRetrieval, SealedRetrieval
from ompd.schema import Schema, are_ambiguous
from ompd.search import MAX_CLASSES
from ompd.wire import MAX_COORDINATES, Kind, content_cap

#: Stands for a K that is not chosen yet; the size hardly depends on it.
_LIKELY_K = 9


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


def check_size(records: Dataset, profile: str, method: str, k: int | None) -> None:
    """Refuse records whose table could not be sent, before they are trained with.

    Of a sealed table the size is that with every feature counting; a feature that turns out to have
    no weight would make it a little smaller.

    Raises
    ------
    TooLargeError
    """
    rows, features = records.features.shape
    classes = len(records.schema.classes)
    if classes > MAX_CLASSES:
        raise TooLargeError(f"schema: expected at most {MAX_CLASSES} classes, got {classes}")
    most = MAX_COORDINATES - (PADDING if profile == "paper" else 0)
    if features > most:
        raise TooLargeError(f"schema: expected at most {most} features, got {features}")
    coordinates = features
    if method == "evidence":
        coordinates, _ = EvidenceEncoder.shape(classes)
        if coordinates > most:
            raise TooLargeError(f"schema: expected at most {most} classes, got {classes}")
    if not rows:
        return
    if profile == "paper":
        kind, size = Kind.PAPER_UPLOAD, PaperRetrieval.upload_bytes(rows, coordinates)
    elif profile == "hardened":
        kind, size = Kind.HARDENED_UPLOAD, HardenedRetrieval.upload_bytes(rows, coordinates)
    else:
        kind, size = Kind.SEALED_UPLOAD, _sealed_bytes(records, method, k)
    if size > content_cap(kind):
        raise TooLargeError(
            f"instances: {rows} rows would make an upload of {size >> 20} MiB, "
            f"expected at most {content_cap(kind) >> 20}"
        )


def _sealed_bytes(records: Dataset, method: str, k: int | None) -> int:
    rows, features = records.features.shape
    classes = len(records.schema.classes)
    neighbors = k or min(rows, _LIKELY_K)
    if method == "evidence":
        coordinates, largest = EvidenceEncoder.shape(classes)
        bits = coordinates * largest.bit_length()
        return SealedRetrieval.upload_bytes(rows, coordinates, bits, classes, neighbors)
    widest = features * (PAPER.feature_bits + 1)
    size = SealedRetrieval.upload_bytes(rows, features, widest, classes, neighbors)
    if size > content_cap(Kind.SEALED_UPLOAD):
        # Only then are the records looked at, which takes a while.
        bits = _feature_bits(records)
        size = SealedRetrieval.upload_bytes(rows, features, bits, classes, neighbors)
    return size


def _feature_bits(records: Dataset) -> int:
    """Bits that a sealed row needs for its prefix sums.

    A prefix sum is written as what it adds to the one before, in multiples of what all of these are
    multiples of: the weight, which is not known yet, times the scaled feature's own step.
    """
    scaled = scale_features(records.features, records.schema, PAPER.feature_bits)
    above = scaled - scaled.min(axis=0)
    steps = np.maximum(1, np.gcd.reduce(above, axis=0))
    return sum(int(most).bit_length() for most in (above.max(axis=0) // steps))
