"""Units: the codes of UCUM, and numbers from one into another."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

from ompd.errors import UnitError
from ompd.record.fhir.library import unit_parser, unit_registry

#: Most characters of a unit.
MOST_UNIT = 64

# Units as people and devices write them; UCUM has other codes.
_WRITTEN = {
    "mmhg": "mm[Hg]",
    "bpm": "/min",
    "beats/min": "/min",
    "breaths/min": "/min",
    "count/min": "/min",
    "°c": "Cel",
    "degc": "Cel",
    "°f": "[degF]",
    "degf": "[degF]",
    "lb": "[lb_av]",
    "lbs": "[lb_av]",
    "in": "[in_i]",
    "ft": "[ft_i]",
    "mi": "[mi_i]",
    "oz": "[oz_av]",
    "iu/l": "[iU]/L",
    "mcg": "ug",
    "µg": "ug",
    "kg/m²": "kg/m2",
    "years": "a",
    "hours": "h",
    "minutes": "min",
    "days": "d",
}

_REMARK = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]")
_NAME = re.compile(r"[A-Za-z]+")


@lru_cache(maxsize=1024)
def is_unit(code: str) -> bool:
    """Tell whether a text is a unit of UCUM, in its case-sensitive form.

    Raises
    ------
    BackendUnavailableError
        Without the extra `care`.
    """
    if not 0 < len(code) <= MOST_UNIT or not code.isascii() or not code.isprintable():
        return False
    if " " in code.partition("{")[0]:
        return False
    parser = unit_parser()
    try:
        parser.parse(code)
    # Whatever goes wrong in it: the text is no unit.
    except Exception:
        return False
    return True


def unit_of(text: str) -> str | None:
    """Return the unit of UCUM that a text means; None if it is not known.

    Parameters
    ----------
    text : str
        A unit of UCUM, or one of the other ways to write those that people measure.
    """
    text = text.strip()
    common = _WRITTEN.get(text.lower())
    if common is not None:
        return common
    return text if is_unit(text) else None


def converted(value: float, unit: str, into: str) -> float:
    """Return a number in another unit.

    Parameters
    ----------
    value : float
    unit, into : str
        Units of UCUM.

    Raises
    ------
    UnitError
        If the value is a text, one is no unit, or they measure different things: also equivalents
        and moles, between which the charge lies, and fractions of moles and others. 48 mmol/mol of
        haemoglobin A1c are 6.5 % and not 4.8.
    BackendUnavailableError
        Without the extra `care`.
    """
    if isinstance(value, str):
        raise UnitError("value: expected a number")
    value = float(value)
    if unit == into:
        if not is_unit(unit):
            raise UnitError("unit: expected a unit of UCUM")
        return value
    given, wanted = _measure(unit), _measure(into)
    if given is None or wanted is None:
        raise UnitError("unit: expected units of UCUM that can be computed with")
    try:
        found = given.__class__(value * given.magnitude, given.units).to(wanted.units)
        result = float(found.magnitude) / float(wanted.magnitude)
        if _counted(unit) != _counted(into) and (
            found.dimensionless or "eq" in _counted(unit) + _counted(into)
        ):
            result = math.nan
    except Exception:
        result = math.nan
    if not math.isfinite(result):
        raise UnitError("unit: expected units of the same dimension")
    return result


def _counted(unit: str) -> str:
    """Return by what a unit counts particles: moles, equivalents, osmoles or not."""
    names = _NAME.findall(_REMARK.sub("", unit))
    return next(
        (each for each in ("eq", "osm", "mol") for name in names if name.endswith(each)), ""
    )


def is_convertible(unit: str, into: str) -> bool:
    """Tell whether numbers of one unit can be told in another."""
    try:
        converted(1.0, unit, into)
    except UnitError:
        return False
    return True


@lru_cache(maxsize=1024)
def _measure(unit: str) -> Any:
    """Return one of a unit as pint has it; None if there is none."""
    if not is_unit(unit):
        return None
    try:
        found = unit_registry().from_ucum(unit)
    except Exception:
        return None
    # A remark in braces alone, like {score}, counts without a dimension.
    return found if hasattr(found, "magnitude") else unit_registry().from_ucum("1")
