"""What the cloud sees, and what an attacker is assumed to know besides.

Attacks take objects of this module and nothing else. Everything in a view was sent to the cloud;
everything in `Public` and `Population` is common knowledge, or assumed to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64, U64
from ompd.schema import Feature, Schema
from ompd.wire import HardenedJob, HardenedUpload, PaperJob, PaperUpload, unpack_limbs

#: A feature with more values than this is treated as continuous.
MOST_VALUES = 256
#: Values that stand for a continuous feature: one is always within 1% of its domain.
_SAMPLED_VALUES = 51


def is_counted(feature: Feature) -> bool:
    """Tell whether a feature has so few values that each is a cell's content by itself."""
    return feature.kind != "numeric" and feature.high - feature.low < MOST_VALUES


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PaperView:
    """Blinded table and jobs of the `paper` profile.

    Attributes
    ----------
    modulus : int
    table : uint64 array of shape (N, n + 2, L)
        Limbs of s * (alpha * P + c), two padding coordinates first.
    labels : int64 array of shape (N,)
    points : uint64 array of shape (q, n + 2, L)
        Limbs of s_q * (alpha * P + c) mod p.
    tokens : uint64 array of shape (q, L)
        Limbs of s / s_q mod p.
    """

    modulus: int
    table: U64
    labels: I64
    points: U64
    tokens: U64

    @classmethod
    def of(cls, upload: PaperUpload, jobs: Sequence[PaperJob]) -> Self:
        """Read the bodies of the frames that the cloud opened."""
        modulus = int.from_bytes(upload.modulus, "little")
        shape = (-1, upload.coordinates, upload.limbs)
        points = [
            unpack_limbs(job.points, modulus, job.rows * upload.coordinates).reshape(shape)
            for job in jobs
        ]
        tokens = [unpack_limbs(job.tokens, modulus, job.rows) for job in jobs]
        return cls(
            modulus=modulus,
            table=np.frombuffer(upload.values, "<u8").astype(np.uint64).reshape(shape),
            labels=np.frombuffer(upload.labels, "<u2").astype(np.int64),
            points=np.concatenate(points),
            tokens=np.concatenate(tokens),
        )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HardenedView:
    """Table and queries of the `hardened` profile.

    Attributes
    ----------
    table : uint64 array of shape (N, m)
        Coordinates in secret order, with secret signs and shifts, modulo 2**64.
    labels : int64 array of shape (N,)
    queries : uint64 array of shape (q, m)
        Blinded like the table.
    """

    table: U64
    labels: I64
    queries: U64

    @classmethod
    def of(cls, upload: HardenedUpload, jobs: Sequence[HardenedJob]) -> Self:
        """Read the bodies of the frames that the cloud opened."""

        def rows(data: bytes) -> U64:
            return np.frombuffer(data, "<u8").astype(np.uint64).reshape(-1, upload.coordinates)

        return cls(
            table=rows(upload.values),
            labels=np.frombuffer(upload.labels, "<u2").astype(np.int64),
            queries=np.concatenate([rows(job.points) for job in jobs]),
        )

    def unwrapped(self) -> tuple[I64, I64]:
        """Return table and queries as integers that keep all differences.

        Every column of the table starts at 0; queries may be negative.
        """
        origin = self.table[0]
        table = (self.table - origin).view(np.int64)
        lowest = table.min(axis=0)
        return table - lowest, (self.queries - origin).view(np.int64) - lowest


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealedView:
    """What the cloud of the `sealed` profile gets during one window.

    Attributes
    ----------
    chunks, chunk : int
        R and C of the layout.
    requests : tuple of bytes
        One per query, as received.
    """

    chunks: int
    chunk: int
    requests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TrafficView:
    """What leaves a hospital of the `sealed` profile while two users ask.

    Attributes
    ----------
    events : tuple of (kind, recipient, length)
        Jobs and reports in order, and answers after which nothing left.
    certified : bool or None
        What the second user's report says, None if there is no answer in it or no report. The
        cloud sees it only if that user tells.
    """

    events: tuple[tuple[str, str, int], ...]
    certified: bool | None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TextView:
    """What a physician has of one patient's sealed course: own templates, and replies to them.

    Attributes
    ----------
    weights : int64 array of shape (F,)
        Of the concepts.
    days : int
        T, of the course.
    templates : tuple of int64 array of shape (F, L)
    products, energies : tuple of int64 array of shape (T + L - 1,)
        R and E at all lags from 1 - L to T - 1, per template.
    """

    weights: I64
    days: int
    templates: tuple[I64, ...]
    products: tuple[I64, ...]
    energies: tuple[I64, ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AggregateView:
    """What the cloud of the published aggregation has of one session.

    Attributes
    ----------
    modulus : int
        N.
    ciphertexts : tuple of int
        One per value.
    """

    modulus: int
    ciphertexts: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Public:
    """What the scheme publishes, and the one number per feature that every attacker may have.

    Attributes
    ----------
    schema : Schema
        Features in order, with their domains.
    feature_bits : int
        Fractional bits of a scaled feature.
    modes : float64 array of shape (n,)
        Most frequent value of each feature: the guess for a cell of which nothing is known.
    """

    schema: Schema
    feature_bits: int
    modes: F64

    def grid(self, feature: int) -> tuple[F64, F64]:
        """Return all values of a feature, ascending, and the scaled integers they become."""
        declared = self.schema.features[feature]
        span = declared.high - declared.low
        largest = 1 << self.feature_bits
        fine = declared.kind == "numeric" or span > largest
        steps = np.arange((largest if fine else int(span)) + 1)
        values = declared.low + steps * (span / largest if fine else 1.0)
        return values.astype(np.float64), np.rint(steps / max(len(steps) - 1, 1) * largest)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Population:
    """How often each value of each feature occurs within each class.

    Attributes
    ----------
    values : tuple of float64 arrays, one of shape (v,) per feature
    chances : tuple of float64 arrays, one of shape (classes, v) per feature
        Rows sum to 1.
    shares : float64 array of shape (classes,)
        Of the classes themselves.
    """

    values: tuple[F64, ...]
    chances: tuple[F64, ...]
    shares: F64

    @classmethod
    def of(cls, schema: Schema, features: F64, labels: I64) -> Self:
        """Count values class by class; nothing of how features go together is kept."""
        values, chances = [], []
        for feature, column in zip(schema.features, features.T, strict=True):
            span = feature.high - feature.low
            few = is_counted(feature)
            steps = int(span) + 1 if few else _SAMPLED_VALUES
            grid = np.linspace(feature.low, feature.high, steps)
            if few:
                grid = np.rint(grid)
            places = np.rint((column - feature.low) / (span or 1.0) * (len(grid) - 1))
            counts = np.zeros((len(schema.classes), len(grid)))
            np.add.at(counts, (labels, places.astype(np.int64)), 1.0)
            # A value that a class never shows is not impossible.
            counts += 1e-3
            values.append(grid)
            chances.append(counts / counts.sum(axis=1, keepdims=True))
        shares = np.bincount(labels, minlength=len(schema.classes)) / len(labels)
        return cls(tuple(values), tuple(chances), shares)

    @property
    def modes(self) -> F64:
        """Most frequent value of each feature, shape (n,)."""
        places = [int((self.shares @ chance).argmax()) for chance in self.chances]
        return np.array([value[at] for value, at in zip(self.values, places, strict=True)])

    def modes_within(self, labels: I64) -> F64:
        """Most frequent values within the class of each label, shape (len(labels), n)."""
        columns = [
            value[chance.argmax(axis=1)][labels]
            for value, chance in zip(self.values, self.chances, strict=True)
        ]
        return np.stack(columns, axis=1)

    def means(self, scaled: Sequence[F64]) -> F64:
        """Return the mean of each class, given what every value counts; shape (classes, n)."""
        columns = [chance @ count for chance, count in zip(self.chances, scaled, strict=True)]
        return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ImageView:
    """What one of two clouds gets and opens while it extracts features.

    Attributes
    ----------
    masked : uint64 array of shape (height, width)
        The image plus both masks.
    received : uint64 array of shape (n,)
        That, what the other cloud sent in three rounds, and what the first two opened.
    candidates : int64 array of shape (c, 4)
        What the last round opened: octave, layer, y, x.
    """

    masked: npt.NDArray[np.uint64]
    received: npt.NDArray[np.uint64]
    candidates: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HiddenImageView:
    """What one of two clouds gets and opens in hidden mode.

    Attributes
    ----------
    masked : uint64 array of shape (height, width)
        The image plus both masks.
    received : tuple of arrays of unsigned integers
        That, what the other cloud sent before the last round, and what all but the last opened.
    widths : tuple of int
        How many bits of each of their numbers are sent; the others are 0.
    opened : uint8 array of shape (slots,)
        The bits that the last round opened.
    order : int64 array of shape (slots,)
        How this cloud shuffled them: what was at order[i] came to i.
    """

    masked: npt.NDArray[np.uint64]
    received: tuple[npt.NDArray[np.unsignedinteger[Any]], ...]
    widths: tuple[int, ...]
    opened: npt.NDArray[np.uint8]
    order: I64


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MatchView:
    """What one of two clouds gets and opens while it matches features.

    Attributes
    ----------
    settled : uint32 array of shape (n, 128)
        What the first round opened: masked sums modulo 2^30.
    received : uint8 array
        The lower three bytes of these; of all other rounds what the other cloud sent and what was
        opened, but for ranks, which are no bits.
    """

    settled: npt.NDArray[np.uint32]
    received: npt.NDArray[np.uint8]
