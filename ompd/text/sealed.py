"""What travels between patient, cloud and physician, and its one encoding.

Course, template and reply are alike; all integers are little-endian:

======  =====  =============================================================================
offset  bytes  content
======  =====  =============================================================================
0       1      version of this layout, 1
1       1      1 course, 2 template, 3 reply
2       1      concepts F
3       1      days T of the course; 0 in a template
4       1      days L of the template; 0 in a course
5       1      lowest lag of a reply, from -59 to 59; else 0
6       1      its highest lag; else 0
7       32     digest of the lexicon and its weights
39      4      length of the first ciphertext
43             first ciphertext: counts or, in a reply, correlations
...            second ciphertext, of energies; none in a template
======  =====  =============================================================================
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from ompd.aggregate import Ciphertext, Context
from ompd.errors import FramingError, ParameterError, RangeError, VersionError
from ompd.text.layout import (
    BLOCK,
    DEGREE,
    MAX_CONCEPTS,
    MAX_COUNT,
    MAX_DAYS,
    MAX_ENERGY,
    MAX_WEIGHT,
    lags_of,
)

_VERSION = 1
_HEADER = struct.Struct("<BBBBBbb32sI")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealedCourse:
    """A patient's course, for one physician.

    Parameters
    ----------
    counts, energies : Ciphertext
        Under the physician's key.
    lexicon : bytes
        Digest of the lexicon and its weights.
    concepts, days : int
        What the cloud learns: F and T.
    """

    counts: Ciphertext
    energies: Ciphertext
    lexicon: bytes
    concepts: int
    days: int
    _kind: ClassVar[int] = 1

    def to_bytes(self) -> bytes:
        """Encode."""
        header = (self._kind, self.concepts, self.days, 0, 0, 0, self.lexicon)
        return _encoded(header, self.counts, self.energies)

    @classmethod
    def from_bytes(cls, data: bytes, context: Context) -> Self:
        """Decode what `to_bytes` gave for the same public key.

        Raises
        ------
        FramingError, VersionError, RangeError, ContextMismatchError
        """
        concepts, days, other, low, high, lexicon, counts, energies = _decoded(
            data, context, cls._kind
        )
        if energies is None or other or low or high or not 1 <= days <= MAX_DAYS:
            raise RangeError("data: expected a course")
        _check(counts, (concepts - 1) * BLOCK + days, MAX_COUNT, secretly=False)
        _check(energies, days, MAX_ENERGY, secretly=False)
        return cls(counts, energies, lexicon, concepts, days)

    def __repr__(self) -> str:
        return f"<SealedCourse of {self.days} days>"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealedTemplate:
    """A physician's template, for the cloud.

    Parameters
    ----------
    counts : Ciphertext
        Weighted and turned around, under the physician's key.
    lexicon : bytes
        Digest of the lexicon and its weights.
    concepts, days : int
        What the cloud learns: F and L.
    """

    counts: Ciphertext
    lexicon: bytes
    concepts: int
    days: int
    _kind: ClassVar[int] = 2

    def to_bytes(self) -> bytes:
        """Encode."""
        header = (self._kind, self.concepts, 0, self.days, 0, 0, self.lexicon)
        return _encoded(header, self.counts, None)

    @classmethod
    def from_bytes(cls, data: bytes, context: Context) -> Self:
        """Decode what `to_bytes` gave for the same public key.

        Raises
        ------
        FramingError, VersionError, RangeError, ContextMismatchError
        """
        concepts, other, days, low, high, lexicon, counts, energies = _decoded(
            data, context, cls._kind
        )
        if energies is not None or other or low or high or not 1 <= days <= MAX_DAYS:
            raise RangeError("data: expected a template")
        _check(counts, (concepts - 1) * BLOCK + days, MAX_COUNT * MAX_WEIGHT, secretly=True)
        return cls(counts, lexicon, concepts, days)

    def __repr__(self) -> str:
        return f"<SealedTemplate of {self.days} days>"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealedReply:
    """Correlations and energies at some lags, for the physician alone.

    Parameters
    ----------
    products, energies : Ciphertext
        Finished: they tell these numbers, and nothing else of course and template.
    lexicon : bytes
        Digest of the lexicon and its weights.
    concepts, days, template_days : int
        F, T and L.
    lags : range
        Those that can be read.
    """

    products: Ciphertext
    energies: Ciphertext
    lexicon: bytes
    concepts: int
    days: int
    template_days: int
    lags: range
    _kind: ClassVar[int] = 3

    def to_bytes(self) -> bytes:
        """Encode."""
        header = (
            self._kind, self.concepts, self.days, self.template_days, self.lags[0], self.lags[-1],
            self.lexicon,
        )  # fmt: skip
        return _encoded(header, self.products, self.energies)

    @classmethod
    def from_bytes(cls, data: bytes, context: Context) -> Self:
        """Decode what `to_bytes` gave for the same public key.

        Raises
        ------
        FramingError, VersionError, RangeError, ContextMismatchError
        """
        concepts, days, template_days, low, high, lexicon, products, energies = _decoded(
            data, context, cls._kind
        )
        if not (1 <= days <= MAX_DAYS and 1 <= template_days <= MAX_DAYS and energies is not None):
            raise RangeError("data: expected a reply")
        lags = checked_lags((low, high), days, template_days, RangeError)
        if products.level != 1 or energies.level != 1:
            raise RangeError("data: expected finished ciphertexts")
        return cls(products, energies, lexicon, concepts, days, template_days, lags)

    def __repr__(self) -> str:
        return f"<SealedReply at {len(self.lags)} lags>"


def checked_lags(
    lags: object, days: int, template_days: int, error: type[ValueError] = ParameterError
) -> range:
    """Return lags from a lowest to a highest, or all; others than `lags_of` are an error."""
    every = lags_of(days, template_days)
    if lags is None:
        return every
    if (
        not isinstance(lags, tuple)
        or len(lags) != 2
        or any(type(each) is not int for each in lags)
        or not every[0] <= lags[0] <= lags[1] <= every[-1]
    ):
        raise error(f"lags: expected a lowest and a highest from {every[0]} to {every[-1]}")
    return range(lags[0], lags[1] + 1)


def enquiry_digest(course: SealedCourse, template: SealedTemplate, lags: range) -> bytes:
    """32 bytes that name what a template asks of a course; the same again is nothing new."""
    parts = [course.to_bytes(), template.to_bytes(), struct.pack("<bb", lags[0], lags[-1])]
    whole = hashlib.sha256(b"ompd enquiry 1\x00")
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.digest()


def _encoded(
    header: tuple[int, int, int, int, int, int, bytes], first: Ciphertext, second: Ciphertext | None
) -> bytes:
    body = first.to_bytes()
    rest = b"" if second is None else second.to_bytes()
    return _HEADER.pack(_VERSION, *header, len(body)) + body + rest


def _decoded(
    data: object, context: Context, kind: int
) -> tuple[int, int, int, int, int, bytes, Ciphertext, Ciphertext | None]:
    if type(data) is not bytes:
        raise FramingError(f"data: expected bytes, got {type(data).__name__}")
    if len(data) < _HEADER.size:
        raise FramingError("data: expected a whole header")
    version, found, concepts, days, template_days, low, high, lexicon, size = _HEADER.unpack_from(
        data
    )
    if version != _VERSION:
        raise VersionError(f"data: expected version {_VERSION}")
    if found != kind:
        raise RangeError("data: expected another kind of content")
    if not 1 <= concepts <= MAX_CONCEPTS:
        raise RangeError(f"data: expected 1 to {MAX_CONCEPTS} concepts")
    check_context(context)
    end = _HEADER.size + size
    if end > len(data):
        raise FramingError("data: expected a whole ciphertext")
    # The ciphertext itself refuses whatever is shorter or longer than it should be.
    first = Ciphertext.from_bytes(data[_HEADER.size : end], context)
    rest = data[end:]
    second = Ciphertext.from_bytes(rest, context) if rest else None
    return concepts, days, template_days, low, high, lexicon, first, second


def check_context(context: Context) -> None:
    """Refuse keys without room for a correlation.

    Raises
    ------
    ParameterError
    """
    parameters = context.parameters
    if parameters.packing != "coefficients" or parameters.degree < DEGREE or not parameters.depth:
        raise ParameterError(
            f"key: expected one that packs at least {DEGREE} coefficients and multiplies"
        )


def _check(ciphertext: Ciphertext, length: int, bound: int, *, secretly: bool) -> None:
    """Refuse what is public and no new ciphertext of that form; what is inside cannot be seen."""
    context = ciphertext.context
    expected = (
        length,
        bound,
        0,
        len(context.parameters.primes),
        context.noise.fresh(bound, length, secretly=secretly),
        secretly,
    )
    found = ciphertext
    header = found.length, found.bound, found.depth, found.level, found.noise, bool(found.seed)
    if header != expected:
        raise RangeError("data: expected new ciphertexts of the form that their header says")
