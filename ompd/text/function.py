"""The correlation as a function that a cloud evaluates by name.

    functions = [*FUNCTIONS, TEXT_CORRELATION]
    cloud = AggregateCloud(identity, functions=functions, quota=EnquiryQuota(path))

A contribution is one sealed course; its terms have the days as `length` and 15 as `bound`. A
request has two operands: the sealed template, and the lags from `encode_lags`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ompd.aggregate import PublicKey
from ompd.aggregate.functions import Function, Parts
from ompd.errors import FramingError, ParameterError, RangeError
from ompd.text.correlation import correlate
from ompd.text.layout import MAX_COUNT, MAX_SUM
from ompd.text.sealed import SealedCourse, SealedTemplate

_LAGS = struct.Struct("<bb")


def encode_lags(lags: tuple[int, int] | None = None) -> bytes:
    """Encode the lowest and highest lag that are asked for, or all of them.

    Raises
    ------
    ParameterError
        If they are not two integers from -128 to 127; whether a course has them is for the cloud.
    """
    if lags is None:
        return b""
    if (
        not isinstance(lags, tuple)
        or len(lags) != 2
        or any(type(each) is not int or not -128 <= each <= 127 for each in lags)
    ):
        raise ParameterError("lags: expected a lowest and a highest")
    return _LAGS.pack(*lags)


def _check(public: PublicKey, parts: Parts, length: int, bound: int) -> None:
    course = SealedCourse.from_bytes(parts[0], public.context)
    if (course.days, MAX_COUNT) != (length, bound):
        raise RangeError("contribution: expected a course of the terms' days")


def _evaluate(public: PublicKey, contributions: Iterable[Parts], operands: Parts) -> list[bytes]:
    (parts,) = contributions
    course = SealedCourse.from_bytes(parts[0], public.context)
    template = SealedTemplate.from_bytes(operands[0], public.context)
    if len(operands[1]) not in {0, _LAGS.size}:
        raise FramingError("lags: expected two bytes or none")
    lags = _LAGS.unpack(operands[1]) if operands[1] else None
    return [correlate(public, course, template, lags=lags).to_bytes()]


#: For the physician, the patient and the cloud: each has to know it.
TEXT_CORRELATION = Function(
    "text-correlation", 1, 1, "coefficients", _check, _evaluate, 2, pooled=False, most=MAX_SUM
)
