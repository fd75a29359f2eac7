"""Concepts that notes are searched for, their synonyms, codes and weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Self

from ompd.errors import LexiconError
from ompd.params import MAX_TEXT
from ompd.text.layout import MAX_CONCEPTS, MAX_WEIGHT

_MAX_SYNONYMS = 256
#: Largest file in characters.
_MAX_FILE = 1 << 20
#: Form of a code of ICD-10-CM; whether it is in the classification is not checked here.
_CODE = re.compile(r"[A-Z][0-9][0-9A-Z](?:\.[0-9A-Z]{1,4})?")
_SYNONYM = re.compile(r"\w(?:[\w &+'/-]*\w)?")
_KEYS = {"codes", "synonyms", "weight"}


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that notes may say of a patient.

    Parameters
    ----------
    name : str
    synonyms : sequence of str
        How notes write it, longer ones first or not. One without small letters is found in
        capitals only, any other in whatever case; a space also stands for a hyphen.
    codes : sequence of str
        Of ICD-10-CM.
    weight : int, default 1
        From 1 to 8: how much a mention counts in a correlation.

    Raises
    ------
    LexiconError
        If a field is of another type or form, or there is no synonym.
    """

    name: str
    synonyms: tuple[str, ...]
    codes: tuple[str, ...] = ()
    weight: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= MAX_TEXT:
            raise LexiconError(f"concept: expected a name of 1 to {MAX_TEXT} characters")
        for field in ("synonyms", "codes"):
            values = getattr(self, field)
            if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
                raise LexiconError(f"{self.name}: {field}: expected a list of texts")
            object.__setattr__(self, field, tuple(values))
        if not 0 < len(self.synonyms) <= _MAX_SYNONYMS:
            raise LexiconError(f"{self.name}: expected 1 to {_MAX_SYNONYMS} synonyms")
        for synonym in self.synonyms:
            if len(synonym) > MAX_TEXT or not _SYNONYM.fullmatch(synonym):
                raise LexiconError(
                    f"{self.name}: expected synonyms of words, spaces and any of & + ' / -"
                )
        if not all(_CODE.fullmatch(code) for code in self.codes):
            raise LexiconError(f"{self.name}: expected codes of ICD-10-CM, such as R07.9")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int):
            raise LexiconError(
                f"{self.name}: weight: expected an integer, got {type(self.weight).__name__}"
            )
        if not 1 <= self.weight <= MAX_WEIGHT:
            raise LexiconError(f"{self.name}: weight: expected 1 to {MAX_WEIGHT}")


@dataclass(frozen=True)
class Lexicon:
    """What an annotator looks for: up to 64 concepts of a speciality, in their order.

    Parameters
    ----------
    name : str
    concepts : sequence of Concept

    Raises
    ------
    LexiconError
        If there is no concept or too many, or two have a name or a synonym in common.
    """

    name: str
    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= MAX_TEXT:
            raise LexiconError(f"lexicon: expected a name of 1 to {MAX_TEXT} characters")
        object.__setattr__(self, "concepts", tuple(self.concepts))
        if not 0 < len(self.concepts) <= MAX_CONCEPTS:
            raise LexiconError(
                f"lexicon: expected 1 to {MAX_CONCEPTS} concepts, got {len(self.concepts)}"
            )
        _distinct("concept", [concept.name for concept in self.concepts])
        _distinct("synonym", [synonym for concept in self.concepts for synonym in concept.synonyms])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the concepts, in the order of a course's rows."""
        return tuple(concept.name for concept in self.concepts)

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """Their weights."""
        return tuple(concept.weight for concept in self.concepts)

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for all concepts, synonyms and weights, and their order."""
        content = [
            [concept.name, list(concept.synonyms), concept.weight] for concept in self.concepts
        ]
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(b"ompd lexicon 1\x00" + text.encode()).digest()

    def weighted(self, weights: Mapping[str, int]) -> Self:
        """Return this lexicon with other weights of some concepts; it has another digest.

        Raises
        ------
        LexiconError
            If a name is unknown or a weight not from 1 to 8.
        """
        if not set(weights) <= set(self.names):
            raise LexiconError("weights: expected names of concepts of this lexicon")
        return replace(
            self,
            concepts=tuple(
                replace(concept, weight=weights.get(concept.name, concept.weight))
                for concept in self.concepts
            ),
        )

    def __repr__(self) -> str:
        return f"<Lexicon {self.name!r} of {len(self.concepts)} concepts>"


def available() -> tuple[str, ...]:
    """Names of the lexicons that ship with the package."""
    files = resources.files("ompd.text").joinpath("lexicons").iterdir()
    return tuple(
        sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))
    )


def load(source: str | Path) -> Lexicon:
    """Read a lexicon.

    Parameters
    ----------
    source : str or path
        A name from `available`, or else a TOML file like those of the package.

    Raises
    ------
    LexiconError
        If the file is missing, damaged or not of the form, or contradicts itself.
    """
    if isinstance(source, str) and source in available():
        file = resources.files("ompd.text").joinpath("lexicons", f"{source}.toml")
        return parse(file.read_text(encoding="utf-8"))
    problem = ""
    try:
        text = Path(source).read_text(encoding="utf-8")
    except OSError as error:
        problem = error.strerror or "cannot be read"
    except UnicodeDecodeError:
        problem = "is not in UTF-8"
    if problem:
        raise LexiconError(f"lexicon: {problem}; shipped ones are {', '.join(available())}")
    return parse(text)


def parse(text: str) -> Lexicon:
    """Read a lexicon from TOML.

    Raises
    ------
    LexiconError
    """
    if len(text) > _MAX_FILE:
        raise LexiconError(f"lexicon: expected at most {_MAX_FILE} characters")
    found: dict[str, Any] | None = None
    # The error of the parser may quote the file, and a hostile file can nest without end.
    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
        found = tomllib.loads(text)
    if found is None:
        raise LexiconError("lexicon: is no TOML")
    if set(found) != {"name", "concepts"} or not isinstance(found["concepts"], dict):
        raise LexiconError("lexicon: expected a name and a table of concepts, and nothing else")
    concepts = []
    for name, fields in found["concepts"].items():
        if not isinstance(fields, dict) or not set(fields) <= _KEYS or "synonyms" not in fields:
            raise LexiconError(f"{name}: expected synonyms, codes and weight only")
        concepts.append(Concept(name, **fields))
    return Lexicon(found["name"], tuple(concepts))


def _distinct(kind: str, names: Sequence[str]) -> None:
    """Check that no two names are the same but for case and hyphens."""
    seen: dict[str, str] = {}
    for name in names:
        key = re.sub(r"[\s-]+", " ", name.casefold())
        # In capitals only, such as PE, is apart from the same word in any case.
        if key in seen and (seen[key] == name or not (is_capital(name) or is_capital(seen[key]))):
            raise LexiconError(f"lexicon: {kind} {name!r} is there twice")
        seen[key] = name


def is_capital(synonym: str) -> bool:
    """Whether a synonym is to be found in capitals only."""
    return synonym.upper() == synonym
