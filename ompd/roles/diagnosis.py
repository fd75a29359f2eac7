"""What a user gets for one feature vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from ompd.params import Method, Profile

T = TypeVar("T", int, float)


class ByClass(Mapping[str, T]):
    """One row of numbers, by class name.

    A dictionary for every row would take a hundred times as much as the report that it is from.
    """

    __slots__ = ("_places", "_row")

    def __init__(self, places: dict[str, int], row: Any) -> None:
        self._places = places
        self._row = row

    def __getitem__(self, name: str) -> T:
        number: T = self._row[self._places[name]].item()
        return number

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis:
    """What a user gets for one feature vector.

    Attributes
    ----------
    label : str
        Class name; empty where there is an error.
    advice : str
        The hospital's text for this class.
    k : int
        Number of neighbours that voted; 0 where there is an error, and in the profile `blind`.
    votes : mapping of str to int
        How many of them had each class.
    probabilities : mapping of str to float
        Of each class, calibrated by the hospital on its own records; NaN where there is an error.
    certified : bool
        Whether the hospital itself knows that none was nearer; False where it has only the
        cloud's word. True in the profile `blind`, where no cloud has a part.
    profile : {"blind", "sealed", "hardened", "paper"} or None
        What the hospital's table tells the cloud, by the hospital's signed word. None where there
        is an error, or no cloud.
    method : {"relief-mw", "evidence"} or None
        How features became vectors. None where there is an error.
    filled : int
        How many features were missing and filled in by the hospital.
    id : str, optional
        The row's, where rows have ids.
    error : str
        Why there is no diagnosis; empty where there is one.
    """

    label: str
    advice: str
    k: int
    votes: Mapping[str, int]
    probabilities: Mapping[str, float]
    certified: bool
    profile: Profile | None
    method: Method | None
    filled: int = 0
    id: str | None = None
    error: str = ""


class Finding(NamedTuple):
    """What the diagnoses of one class by one table have in common; as of `Diagnosis`."""

    label: str
    advice: str
    profile: Profile | None
    method: Method
