"""One column of a table: what its values are, and from where to where they go."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from datetime import date
from typing import Any, Literal, get_args

import msgspec

from ompd.errors import SchemaError
from ompd.params import MAX_TEXT

Kind = Literal["numeric", "ordinal", "nominal"]
Missing = Literal["refuse", "median", "level"]

#: Most texts of a feature: a nominal one with more is a number or a name, not a category.
MAX_LEVELS = 4096
# In messages; of more, only their number.
_MOST_NAMED = 6

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
#: Names of terminologies, and their URIs.
TERMINOLOGIES = {
    "loinc": "http://loinc.org",
    "snomed": "http://snomed.info/sct",
    "icd10": "http://hl7.org/fhir/sid/icd-10",
}
_CODE = re.compile(rf"(?:{'|'.join(TERMINOLOGIES)}|[a-z][a-z0-9+.-]*:[!-{{}}~]+)\|[!-{{}}~]+")
#: A plain decimal number as people write it.
NUMBER = re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
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
    unit : str
        Unit of the values, for people: ``"mg/dl"``. A health record converts to it if it is
        written as UCUM has it.
    code : str
        Where a health record has the values: a terminology and its code, with a bar between, as
        ``"loinc|4548-4"``. The terminology is ``loinc``, ``snomed``, ``icd10``, or a URI.
    missing : {"refuse", "median", "level"}
        What becomes of a missing value: it is refused, the median of the training rows stands for
        it, or it is a category of its own (nominal features only).
    levels : tuple of str
        Texts of an ordinal or nominal feature: level i is the number ``low + i``, so there are
        ``high - low + 1`` of them. Booleans are the two levels ``"False"`` and ``"True"``.
    since : str
        A date as ``YYYY-MM-DD``. Values that are dates become days since then, and the domain is
        in days.

    Raises
    ------
    SchemaError
        If these contradict one another.
    """

    name: str
    kind: Kind
    low: float
    high: float
    about: str = ""
    unit: str = ""
    missing: Missing = "refuse"
    levels: tuple[str, ...] = ()
    since: str = ""
    code: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SchemaError("feature name: expected a non-empty text")
        where = f"feature {self.name!r}"
        if not all(type(end) in {int, float} for end in (self.low, self.high)):
            raise SchemaError(f"{where}: expected numbers as domain")
        if self.kind not in get_args(Kind):
            raise SchemaError(f"{where}: kind must be one of {get_args(Kind)}")
        if not (_is_finite(self.low) and _is_finite(self.high) and self.low <= self.high):
            raise SchemaError(f"{where}: expected finite low <= high")
        if not _is_finite(self.high - self.low):
            raise SchemaError(f"{where}: high - low must be finite")
        # A caller may well write low=0, high=120.
        if self.kind != "numeric" and any(end != math.floor(end) for end in (self.low, self.high)):
            raise SchemaError(f"{where}: expected whole numbers as domain")
        if not all(isinstance(text, str) for text in (self.about, self.unit)):
            raise SchemaError(f"{where}: expected texts as about and unit")
        if self.missing not in get_args(Missing):
            raise SchemaError(f"{where}: missing must be one of {get_args(Missing)}")
        # The same object as the default, or JSON would not leave it out after pickling.
        msgspec.structs.force_setattr(self, "missing", sys.intern(self.missing))
        if self.missing == "level" and self.kind != "nominal":
            raise SchemaError(f"{where}: only a nominal feature has missing='level'")
        msgspec.structs.force_setattr(self, "levels", texts(self.levels, f"{where}, levels"))
        if self.levels:
            self._check_levels(where)
        self._check_since(where)
        if (
            not isinstance(self.code, str)
            or len(self.code) > MAX_TEXT
            or (self.code and not _CODE.fullmatch(self.code))
        ):
            raise SchemaError(f"{where}: expected code as terminology|code, like loinc|4548-4")

    def _check_levels(self, where: str) -> None:
        if self.kind == "numeric":
            raise SchemaError(f"{where}: only ordinal and nominal features have levels")
        if len(self.levels) > MAX_LEVELS:
            raise SchemaError(f"{where}: expected at most {MAX_LEVELS} levels")
        if len({level.strip(" \t") for level in self.levels}) != len(self.levels):
            raise SchemaError(f"{where}: two levels differ by blanks around them only")
        if len(self.levels) != self.high - self.low + 1:
            raise SchemaError(
                f"{where}: expected high - low + 1 levels, the number low + i being the i-th, "
                f"got {len(self.levels)}"
            )
        for place, level in enumerate(self.levels):
            # In a frame a number means itself, in a file the text that writes it. Both must be
            # the same patient's value.
            if NUMBER.fullmatch(level):
                value = float(level)
                if self.low <= value <= self.high and value != self.low + place:
                    raise SchemaError(
                        f"{where}: level {place} writes the number of another level; choose a "
                        "domain that its numbers are not in"
                    )

    def _check_since(self, where: str) -> None:
        if not self.since:
            return
        try:
            good = bool(_DATE.fullmatch(self.since)) and bool(date.fromisoformat(self.since))
        except (ValueError, TypeError):
            good = False
        if not good:
            raise SchemaError(f"{where}: expected since as YYYY-MM-DD")
        if self.levels or self.kind == "nominal":
            raise SchemaError(f"{where}: dates have an order and no levels")

    @property
    def complete(self) -> bool:
        """Whether a missing value is refused."""
        return self.missing == "refuse"

    @property
    def coding(self) -> tuple[str, str] | None:
        """URI of the terminology, and code; None without one."""
        if not self.code:
            return None
        system, _, code = self.code.rpartition("|")
        return TERMINOLOGIES.get(system, system), code

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if 0 < len(self.levels) <= _MOST_NAMED:
            return f"one of {', '.join(map(repr, self.levels))}"
        if self.levels:
            return f"one of its {len(self.levels)} levels"
        kind = "a number" if self.kind == "numeric" else "a whole number"
        days = f" of days since {self.since}" if self.since else ""
        unit = f" {self.unit}" if self.unit else ""
        return f"{kind}{days} from {self.low:g} to {self.high:g}{unit}"


def texts(values: Any, where: str) -> tuple[str, ...]:
    """Return `values` as a tuple of different texts of bounded length.

    Raises
    ------
    SchemaError
        If they are anything else.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise SchemaError(f"{where}: expected a tuple of texts")
    listed = tuple(values)
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in listed):
        raise SchemaError(f"{where}: expected texts of at most {MAX_TEXT} characters")
    if len(set(listed)) != len(listed):
        twice = next(text for text in listed if listed.count(text) > 1)
        raise SchemaError(f"{where}: texts must be unique, got {twice!r} twice")
    return listed


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False
