"""What a program compares: numbers on a grid of at most 2**16 steps."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import Annotated

import msgspec

from ompd.errors import DomainError, FeatureError, ProgramError

#: Bits of a value and of a threshold.
BITS = 16
_MOST = (1 << BITS) - 1

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Attribute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number that a person knows or measures.

    Parameters
    ----------
    name : str
    low, high : float
        Least and greatest value, in `unit`.
    step : float
        Distance of two thresholds; high - low is a multiple of it, of at most 65535.
    unit : str

    Notes
    -----
    Numbers count as the decimals that they print as: 0.1 is a tenth.
    """

    name: Name
    low: float
    high: float
    step: float = 1.0
    unit: Annotated[str, msgspec.Meta(max_length=32)] = ""

    def check(self) -> None:
        """Return if the attribute makes sense; raise otherwise.

        Raises
        ------
        ProgramError
        """
        if not all(math.isfinite(each) for each in (self.low, self.high, self.step)):
            raise ProgramError("attribute: expected finite numbers")
        if self.step <= 0 or self.low > self.high:
            raise ProgramError("attribute: expected low <= high and a positive step")
        steps = (exact(self.high) - exact(self.low)) / exact(self.step)
        if steps.denominator != 1 or steps > _MOST:
            raise ProgramError(
                f"attribute: expected a multiple of its step, at most {_MOST}, between low and high"
            )

    @property
    def last(self) -> int:
        """Number of the highest value; the lowest is 0."""
        return int((exact(self.high) - exact(self.low)) / exact(self.step))

    def threshold(self, value: float) -> int:
        """Return the number of a threshold.

        Raises
        ------
        ProgramError
            If it is not on the grid.
        """
        if isinstance(value, bool) or not math.isfinite(value):
            raise ProgramError("at_most: expected a finite number")
        steps = (exact(value) - exact(self.low)) / exact(self.step)
        if steps.denominator != 1 or not 0 <= steps <= self.last:
            raise ProgramError("at_most: expected a value of the attribute's grid")
        return int(steps)

    def index(self, value: float) -> int:
        """Return the number of a value: a value is at most a threshold exactly if its number is.

        Raises
        ------
        FeatureError
            If it is no finite real number, of Python or NumPy.
        DomainError
            If it is below `low` or above `high`.
        """
        if isinstance(value, bool) or not isinstance(value, Real):
            raise FeatureError(f"value: expected a number, got {type(value).__name__}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise FeatureError("value: expected a finite number")
        if not self.low <= number <= self.high:
            raise DomainError("value: lies outside the attribute's domain")
        return math.ceil((exact(number) - exact(self.low)) / exact(self.step))


def exact(value: float) -> Fraction:
    """Return the decimal number that a float prints as."""
    return Fraction(Decimal(repr(float(value))))


def prefixes(index: int) -> list[bytes]:
    """Return the 16 prefixes of a value's number, the shortest first, encoded."""
    return [prefix(index, length) for length in range(1, BITS + 1)]


def prefix(index: int, length: int) -> bytes:
    """Return the first bits of a number, with their count."""
    kept = index >> (BITS - length) << (BITS - length)
    return bytes([length]) + kept.to_bytes(2, "big")
