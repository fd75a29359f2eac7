"""Files of other systems and devices, into a record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO, Protocol

from ompd.errors import ImportFileError
from ompd.record.fhir import SELF, Resource, moment_of, patient
from ompd.record.importing.apple import AppleReader
from ompd.record.importing.bundles import resources_in
from ompd.record.importing.limits import Tally, whole, xml_in
from ompd.record.importing.tables import Mapping, observations_in
from ompd.record.record import Added

# Resources that are added at once, of a file that is read as a stream.
_BATCH = 1000


class Keeper(Protocol):
    """What of a record an import needs."""

    def __contains__(self, reference: str, /) -> bool: ...

    def get(self, reference: str, /) -> Resource:
        """Return the resource of a reference."""
        ...

    def put_all(self, resources: Iterable[Resource], /) -> Added:
        """Add or replace all, or none."""
        ...


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes
    ----------
    form : {"bundle", "table", "apple"}
    added, replaced : int
        Resources that are new, and newer versions.
    same : int
        Those that the record had already.
    skipped : dict
        How many things were left out, by reason.
    """

    form: str
    added: int
    replaced: int
    same: int
    skipped: dict[str, int] = field(default_factory=dict)


def import_file(
    record: Keeper,
    stream: BinaryIO,
    *,
    mapping: Mapping | None = None,
    partial: bool = False,
    now: datetime | None = None,
) -> Imported:
    """Add to a record what a file tells of its person; the same file again adds nothing.

    The form is found by itself: a bundle or a resource of FHIR R4 in JSON, a table in CSV, or an
    export of Apple Health, as it is or in its archive. Bundles and tables have at most 64 MiB, and
    are added as a whole or not at all. Exports of Apple are of any size: they are read once to
    check all of them, and once more to add, a thousand at a time; whoever stops that, by whatever
    means, goes on by importing the file again.

    Where the record has another version of a resource, it stays, unless both are of the same source
    and the file's says that it is newer. The person stays as the record has them.

    Parameters
    ----------
    record : Record
    stream : binary file
        At its beginning; one that can be sought in.
    mapping : Mapping, optional
        What the columns of a table are, if it is not of the plain form.
    partial : bool, default False
        Whether what is wrong is left out and counted. Without it, a file with anything wrong is
        refused as a whole.
    now : datetime, optional
        The present.

    Raises
    ------
    ImportFileError
        If the file is of no known form, damaged, above a limit, or about somebody else. It tells
        the place and what was expected, and never a value.
    """
    now = now or datetime.now(UTC)
    tally = Tally()
    begin = stream.tell()
    head = stream.read(512).removeprefix(b"\xef\xbb\xbf").lstrip()
    stream.seek(begin)
    if head.startswith((b"PK\x03\x04", b"<")):
        return _apple(record, stream, begin, tally, partial=partial, now=now)
    form = "bundle" if head.startswith((b"{", b"[")) else "table"
    source = whole(stream)
    if form == "bundle":
        found = resources_in(source, tally, partial=partial, now=now)
    else:
        found = observations_in(source, tally, mapping=mapping, partial=partial, now=now)
    counts = _Counts(record, tally)
    # The whole file, before anything is added.
    counts.add(list(found))
    return counts.imported(form)


def _apple(
    record: Keeper, stream: BinaryIO, begin: int, tally: Tally, *, partial: bool, now: datetime
) -> Imported:
    reader = AppleReader(Tally(), partial=partial, now=now)
    for _ in reader.samples(xml_in(stream)):
        pass
    counts = _Counts(record, tally)
    born, gender = reader.person
    if born is not None or gender is not None:
        counts.add([patient(born=born, gender=gender)])
    stream.seek(begin)
    again = AppleReader(tally, partial=partial, now=now)
    samples = again.samples(xml_in(stream))
    while batch := [sample.resource() for sample in islice(samples, _BATCH)]:
        counts.add(batch)
    return counts.imported("apple")


class _Counts:
    """Adds to a record, and counts."""

    def __init__(self, record: Keeper, tally: Tally) -> None:
        self._record, self._tally = record, tally
        self._added = self._replaced = self._same = 0

    def add(self, resources: list[Resource]) -> None:
        """Add what the record does not have, all of it or nothing."""
        wanted = list(self._wanted(resources))
        if wanted:
            done = self._record.put_all(wanted)
            self._added += done.new
            self._replaced += done.replaced

    def _wanted(self, resources: list[Resource]) -> Iterator[Resource]:
        seen: dict[str, Resource] = {}
        for resource in resources:
            reference = f"{resource.kind}/{resource.id}"
            stored = seen.get(reference)
            if stored is None and reference in self._record:
                stored = self._record.get(reference)
            if stored is None:
                seen[reference] = resource
                yield resource
            elif stored.json == resource.json:
                self._same += 1
            elif reference == SELF:
                self._check_person(stored.document(), resource.document())
            elif _is_newer(resource, stored):
                seen[reference] = resource
                yield resource
            else:
                self._tally.add("another version is in the record")

    def _check_person(self, own: dict[str, Any], other: dict[str, Any]) -> None:
        for name in ("birthDate", "gender"):
            first, second = own.get(name, ""), other.get(name, "")
            # A year is that of a whole date.
            if not (first.startswith(second) or second.startswith(first)):
                raise ImportFileError(f"Patient.{name}: expected that of the person of the record")
        self._tally.add("the person is in the record")

    def imported(self, form: str) -> Imported:
        """Return what was counted."""
        counts = dict(sorted(self._tally.counts.items()))
        return Imported(form, self._added, self._replaced, self._same, counts)


def _is_newer(one: Resource, other: Resource) -> bool:
    """Tell whether one version of a resource says that it is newer than another of its source."""
    first, second = (each.document().get("meta", {}) for each in (one, other))
    if "source" not in first or first["source"] != second.get("source"):
        return False
    updated = moment_of(first.get("lastUpdated", ""))
    before = moment_of(second.get("lastUpdated", ""))
    return updated is not None and before is not None and updated > before
