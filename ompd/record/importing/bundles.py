"""Bundles of FHIR, and single resources, of other systems.

Ids of another system are unique there and not here. A resource gets the id that follows from its
full URL, or from its content where it has none; what this package wrote keeps its own. References
follow, and whoever the bundle is about becomes the person of the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from ompd.errors import ImportFileError, ResourceError
from ompd.record.fhir import OWN, SELF, Document, Resource, checked
from ompd.record.fhir.bindings import KINDS
from ompd.record.fhir.checking import is_dense, opened
from ompd.record.fhir.resource import encode
from ompd.record.fhir.terms import ABSENT
from ompd.record.importing.limits import MOST_PARTS, Tally

#: Marks a person of whom a record knows nothing.
PLACEHOLDER = {"system": OWN, "code": "placeholder"}

_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
# Of a document, its own view of the rest.
_VIEWS = {"Composition", "Bundle"}
_VERSION = re.compile(r"/_history/[^/]*$")
_RELATIVE = re.compile(r"([A-Z][A-Za-z]{1,40})/([A-Za-z0-9.-]{1,64})")


class _Entry(msgspec.Struct, rename="camel"):
    full_url: str = ""
    resource: msgspec.Raw = msgspec.Raw()


class _Bundle(msgspec.Struct, rename="camel"):
    resource_type: str
    entry: list[_Entry] = []


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    id: str = ""


def own_url(reference: str) -> str:
    """Return the full URL of a resource of this record in what it exports.

    Parameters
    ----------
    reference : str
        Kind and id.
    """
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'urn:ompd:record:{reference}')}"


def resources_in(
    source: bytes, tally: Tally, *, partial: bool, now: datetime
) -> Iterator[Resource]:
    """Yield the resources of a bundle, or the one that it is.

    Parameters
    ----------
    source : bytes
        JSON.
    tally : Tally
        Counts what is left out: kinds that a record does not keep, and the views of a document.
    partial : bool
        Whether a resource that is wrong is left out and counted, instead of an error.
    now : datetime

    Raises
    ------
    ImportFileError
        If it is no such file, has a wrong resource, or is about more than one person. It tells
        which entry, and what was expected.
    """
    entries = _entries(source)
    heads = [_head(entry) for entry in entries]
    places = _Places(entries, heads)
    for place, (entry, head) in enumerate(zip(entries, heads, strict=True)):
        if head is None:
            tally.add("entries without a resource")
        elif head.resource_type in _VIEWS:
            tally.add(head.resource_type)
        elif head.resource_type not in KINDS:
            if not head.resource_type and not partial:
                raise ImportFileError(f"entry[{place}]: expected a resource")
            tally.add("kinds that a record does not keep")
        else:
            problem = ""
            try:
                resource = places.placed(entry, head, now)
                if resource is None:
                    tally.add("says that nothing is known")
                else:
                    yield resource
                continue
            except ResourceError as error:
                problem = str(error)
            if not partial:
                raise ImportFileError(f"entry[{place}]: {problem}")
            tally.add(re.sub(r"\[\d+\]", "", problem))


def _entries(source: bytes) -> list[_Entry]:
    failed = False
    entries: list[_Entry] = []
    if is_dense(source):
        raise ImportFileError("file: expected less objects and lists for its bytes")
    try:
        found = msgspec.json.decode(source, type=_Bundle)
        entries = found.entry
        if found.resource_type != "Bundle":
            entries = [_Entry("", msgspec.Raw(source))]
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        failed = True
    if failed:
        raise ImportFileError("file: expected a Bundle of FHIR R4 in JSON")
    if len(entries) > MOST_PARTS:
        raise ImportFileError(f"entry: expected at most {MOST_PARTS:,}")
    return entries


def _head(entry: _Entry) -> _Head | None:
    if not bytes(entry.resource):
        return None
    try:
        return msgspec.json.decode(entry.resource, type=_Head)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Head()


class _Places:
    """Where each resource of a bundle comes to be in the record."""

    def __init__(self, entries: list[_Entry], heads: list[_Head | None]) -> None:
        self._by_url: dict[str, str] = {}
        self._people: set[str] = set()
        people = 0
        for entry, head in zip(entries, heads, strict=True):
            if head is None or head.resource_type not in KINDS:
                continue
            kind, old = head.resource_type, head.id
            new = f"{kind}/{_id(entry, head)}"
            if kind == "Patient":
                people += 1
                self._people |= {old, _tail(entry.full_url)} - {""}
            if entry.full_url:
                self._by_url[entry.full_url] = new
            if old:
                self._by_url.setdefault(f"{kind}/{old}", new)
        if people > 1:
            raise ImportFileError("Patient: expected resources about one person")

    def placed(self, entry: _Entry, head: _Head, now: datetime) -> Resource | None:
        """Return the resource of an entry, with its id here and references that follow.

        None if all that it says is that nothing is known.
        """
        document = opened(bytes(entry.resource))
        if head.resource_type == "Patient":
            _forget_absent(document)
        document["id"] = _id(entry, head)
        replace_references(document, lambda reference: self._resolved(reference, entry.full_url))
        if entry.full_url and entry.full_url != own_url(f"{head.resource_type}/{head.id}"):
            meta = document.setdefault("meta", {})
            if isinstance(meta, dict):
                meta.setdefault("source", entry.full_url)
        resource = checked(document, now=now)
        # Known to have none is something else.
        absent = any(system == ABSENT and code.endswith("-info") for system, code in resource.codes)
        return None if absent or _is_placeholder(resource) else resource

    def _resolved(self, reference: str, base: str) -> str:
        """Return what a reference is to in the record; itself if the bundle does not have it."""
        reference = _VERSION.sub("", reference)
        found = self._by_url.get(reference)
        if base.startswith("http") and _RELATIVE.fullmatch(reference):
            absolute = f"{'/'.join(base.split('/')[:-2])}/{reference}"
            found = self._by_url.get(absolute, found)
        if found is not None or "/Patient/" not in f"/{reference}":
            return found or reference
        # One who is not in the bundle is still one person.
        if self._people and _tail(reference) not in self._people:
            raise ImportFileError("Patient: expected resources about one person")
        self._people.add(_tail(reference))
        return SELF


def _forget_absent(document: Document) -> None:
    """Take from a person what is there only to say that it is not known."""
    born = document.get("_birthDate")
    if "birthDate" not in document and _is_absent(born):
        del document["_birthDate"]
    names = document.get("name")
    if isinstance(names, list) and len(names) == 1:
        name = names[0]
        if isinstance(name, dict) and set(name) == {"_text"} and _is_absent(name["_text"]):
            del document["name"]


def _is_absent(element: Any) -> bool:
    found = element.get("extension") if isinstance(element, dict) else None
    return isinstance(found, list) and found == [{"url": _REASON, "valueCode": "unknown"}]


def _is_placeholder(resource: Resource) -> bool:
    return PLACEHOLDER in resource.document().get("meta", {}).get("tag", ())


def _tail(url: str) -> str:
    return url.rpartition("/")[2]


def _id(entry: _Entry, head: _Head) -> str:
    """Return the id that a resource has in the record."""
    if head.resource_type == "Patient":
        return _tail(SELF)
    if not entry.full_url:
        content = bytes(entry.resource)
        # Whatever is wrong with it shows in its turn.
        with contextlib.suppress(ResourceError):
            content = encode(opened(content))
        return _digest(content)
    if entry.full_url == own_url(f"{head.resource_type}/{head.id}"):
        return head.id
    return _digest(entry.full_url.encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def replace_references(value: Any, change: Callable[[str], str]) -> None:
    """Change the references within a document, but for those to what it contains."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str) and not inner.startswith("#"):
                value[name] = change(inner)
            else:
                replace_references(inner, change)
    elif isinstance(value, list):
        for inner in value:
            replace_references(inner, change)
