"""A company's decision program, read from JSON and checked.

    {"name": "cardiac",
     "attributes": [{"name": "heart rate", "low": 20, "high": 300, "unit": "1/min"}],
     "root": "start",
     "nodes": {"start": {"attribute": "heart rate", "at_most": 100, "then": "calm", "else": "fast"},
               "calm": {"advice": "Nothing to do."},
               "fast": {"advice": "Rest, and measure again."}}}

A program is a tree: each node but the root is named by exactly one other, and each can be reached
by some values. Whether all of it can be reached would else be a question of all paths.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from ompd.errors import FeatureError, ProgramError
from ompd.monitor.attributes import Attribute, Name

#: Most nodes, and most comparisons on the way to an advice.
MAX_NODES = 4096
MAX_DEPTH = 64
#: Longest advice, in bytes of UTF-8.
MAX_ADVICE_BYTES = 576
_MOST_JSON = 4 << 20
#: An object in an object in an object, or in a list in it.
_MOST_NESTED = 4
# An end that is missing is no reason to begin anew at each quote.
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class _Compare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    attribute: Name
    at_most: float
    then: Name
    otherwise: Name = msgspec.field(name="else")


class _Advise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    advice: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ADVICE_BYTES)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    attributes: Annotated[tuple[Attribute, ...], msgspec.Meta(min_length=1, max_length=256)]
    root: Name
    nodes: Annotated[dict[str, msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_NODES)]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A node that compares.

    Attributes
    ----------
    attribute : int
        Place among the program's attributes.
    threshold : int
        Number of the threshold.
    then, otherwise : int
        Places of the nodes for values that are at most the threshold, and for others.
    """

    attribute: int
    threshold: int
    then: int
    otherwise: int


@dataclass(frozen=True, slots=True, repr=False)
class Program:
    """A checked program. The root is the first node.

    Attributes
    ----------
    name : str
    attributes : tuple of Attribute
    nodes : tuple of Comparison or str
        A text is advice.
    """

    name: str
    attributes: tuple[Attribute, ...]
    nodes: tuple[Comparison | str, ...]

    @classmethod
    def from_json(cls, data: str | bytes) -> Program:
        """Read and check a program.

        Raises
        ------
        ProgramError
            If it is no JSON or has another form; if names repeat or are missing; if a threshold is
            not on its attribute's grid; if nodes form a cycle, have two parents or none, or lie
            deeper than 64 comparisons; if no values lead to a node; if an advice is too long or has
            control characters.
        """
        file = _read(data)
        for attribute in file.attributes:
            attribute.check()
        places = {attribute.name: k for k, attribute in enumerate(file.attributes)}
        if len(places) < len(file.attributes):
            raise ProgramError("attributes: expected names that differ")
        return cls(file.name, file.attributes, _Builder(file, places).build())

    def advise(self, values: Mapping[str, float]) -> str:
        """Return the advice for values, by the plain program.

        Raises
        ------
        FeatureError, DomainError
            If a value that is needed is missing, no number or outside its domain.
        """
        node = self.nodes[0]
        while not isinstance(node, str):
            index = index_of(self.attributes[node.attribute], values)
            node = self.nodes[node.then if index <= node.threshold else node.otherwise]
        return node


def index_of(attribute: Attribute, values: Mapping[str, float]) -> int:
    """Return the number of an attribute's value among values by name."""
    if attribute.name not in values:
        raise FeatureError("values: an attribute that the program asks for is missing")
    return attribute.index(values[attribute.name])


def _read(data: str | bytes) -> _File:
    if not isinstance(data, (str, bytes)) or len(data) > _MOST_JSON:
        raise ProgramError(f"program: expected JSON of at most {_MOST_JSON} bytes")
    problem = ""
    try:
        text = data if isinstance(data, str) else data.decode()
        _check_depth(text)
        # Of two nodes of one name, the other one may be the one that was meant.
        json.loads(text, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
        return msgspec.json.decode(text, type=_File)
    except (msgspec.MsgspecError, json.JSONDecodeError, UnicodeError) as error:
        # Only of the library's own words: they name fields and types, and no value.
        problem = str(error) if isinstance(error, msgspec.ValidationError) else "is no JSON"
    raise ProgramError(f"program: {problem}")


def _check_depth(text: str) -> None:
    """Refuse what is nested deeper than a program, before a reader that calls itself for it."""
    depth = 0
    for mark in _NESTING.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark[0], 0)
        if depth > _MOST_NESTED:
            raise ProgramError("program: is nested deeper than programs are")


def _distinct(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ProgramError("program: a name is there twice in one object")


def check_advice(text: str) -> None:
    """Refuse what a terminal or page would take for something else than text.

    Raises
    ------
    ProgramError
        If there are control characters other than tabs and ends of lines, or half characters.
    """
    if any(unicodedata.category(each) in ("Cc", "Cs") and each not in "\t\n" for each in text):
        raise ProgramError("advice: expected no control characters")


class _Builder:
    """Nodes in the order of a walk through the whole tree."""

    def __init__(self, file: _File, places: Mapping[str, int]) -> None:
        self._file = file
        self._places = places
        self._nodes: list[Comparison | str] = []
        self._seen: set[str] = set()

    def build(self) -> tuple[Comparison | str, ...]:
        ranges = [(0, attribute.last) for attribute in self._file.attributes]
        self._add(self._file.root, ranges, 0)
        if len(self._seen) < len(self._file.nodes):
            raise ProgramError("nodes: some are named by no other")
        return tuple(self._nodes)

    def _add(self, name: str, ranges: Sequence[tuple[int, int]], depth: int) -> int:
        if name in self._seen:
            raise ProgramError(
                "nodes: one is named twice, or they form a cycle; a program is a tree, in which "
                "what is reached in two ways is written twice"
            )
        if depth > MAX_DEPTH:
            raise ProgramError(f"nodes: expected at most {MAX_DEPTH} comparisons in a row")
        self._seen.add(name)
        place = len(self._nodes)
        node = self._node(name)
        if isinstance(node, _Advise):
            if len(node.advice.encode(errors="surrogatepass")) > MAX_ADVICE_BYTES:
                raise ProgramError(f"advice: expected at most {MAX_ADVICE_BYTES} bytes")
            check_advice(node.advice)
            self._nodes.append(node.advice)
            return place
        attribute = self._places.get(node.attribute)
        if attribute is None:
            raise ProgramError("node: its attribute is not among the program's")
        threshold = self._file.attributes[attribute].threshold(node.at_most)
        low, high = ranges[attribute]
        if not low <= threshold < high:
            raise ProgramError("node: a comparison has one outcome for all values that get there")
        self._nodes.append("")  # until both branches have their places
        below, above = list(ranges), list(ranges)
        below[attribute], above[attribute] = (low, threshold), (threshold + 1, high)
        then = self._add(node.then, below, depth + 1)
        otherwise = self._add(node.otherwise, above, depth + 1)
        self._nodes[place] = Comparison(attribute, threshold, then, otherwise)
        return place

    def _node(self, name: str) -> _Compare | _Advise:
        raw = self._file.nodes.get(name)
        if raw is None:
            raise ProgramError("nodes: one that is named is missing")
        problem = ""
        try:
            fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            if "advice" in fields:
                return msgspec.json.decode(raw, type=_Advise)
            return msgspec.json.decode(raw, type=_Compare)
        except (msgspec.MsgspecError, UnicodeError) as error:
            problem = str(error) if isinstance(error, msgspec.ValidationError) else "is no JSON"
        raise ProgramError(f"node: {problem}")
