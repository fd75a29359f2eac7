"""Body mass index, and its classes for adults."""

from __future__ import annotations

from dataclasses import dataclass

from ompd.confidential import Confidential
from ompd.record.errors import ChildError, DiaryError
from ompd.record.fhir import converted

#: From this age on, in years, classes of adults are told.
ADULT = 18
#: Bounds of what is believed: kg, and metres.
MASSES, HEIGHTS = (20.0, 500.0), (0.9, 2.6)
#: Classes of adults with the least index in kg/m2 of each. Source: WHO Technical Report Series 894.
CLASSES = (
    ("underweight", 0.0),
    ("normal", 18.5),
    ("overweight", 25.0),
    ("obesity_1", 30.0),
    ("obesity_2", 35.0),
    ("obesity_3", 40.0),
)


@dataclass(frozen=True, slots=True, repr=False)
class BodyMass(Confidential):
    """A body mass index.

    Attributes
    ----------
    mass, height : float
        kg and m.
    index : float
        kg/m2.
    group : str
        One of the names in `CLASSES`.
    """

    mass: float
    height: float
    index: float
    group: str


def body_mass(
    mass: float, height: float, age: int, mass_unit: str = "kg", height_unit: str = "cm"
) -> BodyMass:
    """Return an adult's body mass index and its class.

    Parameters
    ----------
    mass, height : float
    age : int
        In whole years.
    mass_unit, height_unit : str
        Of UCUM: ``"kg"``, ``"[lb_av]"``; ``"cm"``, ``"m"``, ``"[in_i]"``.

    Raises
    ------
    ChildError
        Under 18 years: children's index is judged by charts of growth for age and sex.
    DiaryError
        If a measure is not one of an adult's body.
    UnitError
        If a unit is none, or of something else.

    Notes
    -----
    The classes are of the WHO, and say nothing in pregnancy; for people from Asia risks begin at
    lower ones.
    """
    for value in (mass, height):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DiaryError("mass, height: expected numbers")
    if isinstance(age, bool) or not isinstance(age, int) or not 0 <= age <= 150:
        raise DiaryError("age: expected whole years from 0 to 150")
    if age < ADULT:
        raise ChildError(
            f"age: expected {ADULT} years or more; a child's index is judged by growth charts"
        )
    kilograms, metres = converted(mass, mass_unit, "kg"), converted(height, height_unit, "m")
    if not MASSES[0] <= kilograms <= MASSES[1]:
        raise DiaryError(f"mass: expected {MASSES[0]:g} to {MASSES[1]:g} kg")
    if not HEIGHTS[0] <= metres <= HEIGHTS[1]:
        raise DiaryError(f"height: expected {HEIGHTS[0]:g} to {HEIGHTS[1]:g} m")
    # As it is shown: a class that its own number contradicts would be taken for an error.
    index = round(kilograms / metres**2, 1)
    group = next(name for name, least in reversed(CLASSES) if index >= least)
    return BodyMass(kilograms, metres, index, group)
