"""Resources of a record as the pages show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ompd.portal.texts import Texts
from ompd.record import Reader
from ompd.record.exporting import described
from ompd.record.fhir import Resource, named

#: Fields that say nothing to people.
_TECHNICAL = {"resourceType", "id", "meta", "identifier", "contained", "implicitRules", "language"}
#: Deepest field, and most fields, that the page of one resource shows.
_DEEPEST, _MOST_FIELDS = 8, 400
#: Longest value in a list.
_LONGEST = 120


class Line(NamedTuple):
    """A resource in one line.

    Attributes
    ----------
    handle : str
        What stands for the resource in addresses, which browsers keep.
    reference, kind_name, title : str
    value : str
        In full; may have several lines.
    when : datetime or None
    """

    handle: str
    reference: str
    kind_name: str
    title: str
    value: str
    when: datetime | None

    @property
    def short(self) -> str:
        """The value, as a list has room for it."""
        first, _, more = self.value.partition("\n")
        is_whole = len(first) <= _LONGEST and not more
        return first if is_whole else f"{first[:_LONGEST].rstrip()} …"


def line(words: Texts, record: Reader, resource: Resource, handle: str) -> Line:
    """Return a resource in one line."""
    kind = resource.kind
    name = words.maybe(f"kind.{kind}", kind)
    title, value = described(resource, words.language, record)
    if kind == "RiskAssessment":
        # As many digits as a probability deserves.
        value = "\n".join(f"{name}: {words.share(share)}" for name, share in outcomes(resource))
    return Line(handle, f"{kind}/{resource.id}", name, title or name, value, resource.when)


def outcomes(resource: Resource) -> list[tuple[str, float]]:
    """Return what a RiskAssessment predicts, most probable first; FHIR has percentages there."""
    document = resource.document()
    found = [
        (named(each["outcome"])[1], float(each["probabilityDecimal"]) / 100)
        for each in document.get("prediction", ())
        if "probabilityDecimal" in each and "outcome" in each
    ]
    return sorted(found, key=lambda each: -each[1])


def remarks(resource: Resource) -> list[str]:
    """Return what people, or a hospital, wrote beside a resource."""
    return [each["text"] for each in resource.document().get("note", ()) if "text" in each]


def fields(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a resource that are for people, by their path."""
    found = []
    for path, value in _walk(document, "", 0):
        found.append((path, value))
        if len(found) == _MOST_FIELDS:
            break
    return found


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if depth or name not in _TECHNICAL:
                yield from _walk(inner, f"{path} › {name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value, 1):
            yield from _walk(inner, path if len(value) == 1 else f"{path} {place}", depth + 1)
    elif isinstance(value, bool):
        yield path, str(value).lower()
    elif value is not None and value != "":
        yield path, str(value)[:2000]
