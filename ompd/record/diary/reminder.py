"""A reminder, and the CarePlan that keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Self
from zoneinfo import ZoneInfo

from ompd.confidential import Confidential
from ompd.params import MAX_TEXT
from ompd.record.diary.recurrence import first_of, occurrences, parts_of, rule_of, zone_of
from ompd.record.errors import DiaryError
from ompd.record.fhir import SELF, Document, Resource, checked, written

#: Extensions of a CarePlan: first time by the clock, rule of RFC 5545, minutes before which to
#: ring, time zone.
START, RULE = "urn:ompd:reminder-start", "urn:ompd:reminder-rule"
ALARM = "urn:ompd:reminder-alarm"
ZONE = "http://hl7.org/fhir/StructureDefinition/timezone"
#: A week before is early enough.
MOST_ALARM = 7 * 24 * 60

_DAYS = {
    "MO": "mon", "TU": "tue", "WE": "wed", "TH": "thu", "FR": "fri", "SA": "sat", "SU": "sun",
}  # fmt: skip
_UNITS = {"DAILY": "d", "WEEKLY": "wk", "MONTHLY": "mo", "YEARLY": "a"}


@dataclass(frozen=True, slots=True, repr=False)
class Reminder(Confidential):
    """Something to be reminded of.

    Attributes
    ----------
    id : str
        Of its CarePlan; random.
    title : str
        What it is about; it does not leave the device.
    start : datetime
        First moment, in the person's time zone. Of a time that clocks show twice the first.
    rule : str
        Of RFC 5545; empty if it does not recur.
    alarm : int or None
        Minutes before which to ring; None for no ring.
    medicine : str
        Id of the MedicationStatement that it belongs to, or empty.
    """

    id: str
    title: str
    start: datetime
    rule: str = ""
    alarm: int | None = 0
    medicine: str = ""

    @classmethod
    def make(
        cls,
        id: str,
        title: str,
        start: datetime,
        every: str = "once",
        *,
        until: datetime | date | None = None,
        alarm: int | None = 0,
        zone: str | None = None,
        medicine: str = "",
    ) -> Self:
        """Check, and return a reminder; `Diary.remind` says what the parameters are.

        Raises
        ------
        DiaryError
        """
        if not isinstance(title, str) or not 0 < len(title.strip()) <= MAX_TEXT:
            raise DiaryError(f"title: expected 1 to {MAX_TEXT} characters")
        if not isinstance(start, datetime) or start.utcoffset() is None:
            raise DiaryError("start: expected a datetime with a zone")
        if zone is None:
            name = start.tzinfo.key if isinstance(start.tzinfo, ZoneInfo) else ""
            zone = name or ("UTC" if start.tzinfo is UTC else "")
            if not zone:
                # An offset does not say when clocks are changed.
                raise DiaryError("zone: expected the name of a zone, or a start that has one")
        clock = zone_of(zone)
        if alarm is not None and not (type(alarm) is int and 0 <= alarm <= MOST_ALARM):
            raise DiaryError(f"alarm: expected 0 to {MOST_ALARM} minutes, or None")
        rule = rule_of(every, until, clock)
        first = first_of(start.astimezone(clock).replace(microsecond=0, fold=0), rule)
        return cls(id, title.strip(), first, rule, alarm, medicine)

    @property
    def zone(self) -> str:
        """Name of the time zone whose clocks it follows."""
        return str(getattr(self.start.tzinfo, "key", "UTC"))

    def occurrences(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield when it comes, from one moment until before another, in order.

        Parameters
        ----------
        since, until : datetime
            With a zone.

        Yields
        ------
        datetime
            In the reminder's zone: at the same time of the clock before and after clocks change.

        Raises
        ------
        DiaryError
            If a moment has no zone.
        """
        if since.utcoffset() is None or until.utcoffset() is None:
            raise DiaryError("since, until: expected datetimes with a zone")
        return occurrences(self.start, self.rule, since, until)

    def to_resource(self) -> Resource:
        """Return the CarePlan that keeps it."""
        extensions: list[Document] = [
            {"url": ZONE, "valueCode": self.zone},
            # A moment would not tell a time that clocks skip on the first day.
            {"url": START, "valueString": self.start.replace(tzinfo=None).isoformat()},
        ]
        if self.rule:
            extensions.append({"url": RULE, "valueString": self.rule})
        if self.alarm is not None:
            extensions.append({"url": ALARM, "valueInteger": self.alarm})
        detail: Document = {
            "status": "scheduled",
            "description": self.title,
            **_schedule(self.rule, self.start),
        }
        document: Document = {
            "resourceType": "CarePlan",
            "id": self.id,
            "extension": extensions,
            "status": "active",
            "intent": "plan",
            "title": self.title,
            "subject": {"reference": SELF},
            "period": {"start": written(self.start)},
            "activity": [{"detail": detail}],
        }
        if self.medicine:
            document["supportingInfo"] = [{"reference": f"MedicationStatement/{self.medicine}"}]
        return checked(document)

    @classmethod
    def from_resource(cls, resource: Resource) -> Self | None:
        """Return the reminder that a CarePlan keeps; None if it is another plan of care."""
        document = resource.document()
        found: dict[str, Any] = {
            extension["url"]: next(
                (value for name, value in extension.items() if name.startswith("value")), None
            )
            for extension in document.get("extension", ())
        }
        if not all(isinstance(found.get(each), str) for each in (ZONE, START)):
            return None
        supporting = document.get("supportingInfo") or [{}]
        kind, _, medicine = supporting[0].get("reference", "").partition("/")
        alarm = found.get(ALARM)
        try:
            local = datetime.fromisoformat(found[START]).replace(tzinfo=zone_of(found[ZONE]))
            return cls.make(
                resource.id, document.get("title", ""), local, found.get(RULE) or "once",
                alarm=None if alarm is None else int(alarm), zone=found[ZONE],
                medicine=medicine if kind == "MedicationStatement" else "",
            )  # fmt: skip
        except ValueError:
            # Somebody else's plan, with the same extensions.
            return None


def _schedule(rule: str, start: datetime) -> Document:
    """Return a rule as FHIR has it; in its own words where FHIR has none."""
    clock = f"{start:%H:%M:%S}"
    if not rule:
        return {"scheduledTiming": {"event": [written(start)]}}
    parts = parts_of(rule)
    days = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    others = set(parts) - {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY"}
    weekly = parts["FREQ"] == "WEEKLY"
    if others or (days and not weekly) or not set(days) <= set(_DAYS):
        return {"scheduledString": f"{clock} {rule}"}
    bounds: Document = {"start": written(start)}
    if "UNTIL" in parts:
        end = datetime.strptime(parts["UNTIL"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if end >= start:
            bounds["end"] = written(end)
    repeat: Document = {
        "boundsPeriod": bounds,
        "frequency": 1,
        "period": int(parts.get("INTERVAL", "1")),
        "periodUnit": _UNITS[parts["FREQ"]],
        "timeOfDay": [clock],
    }
    if "COUNT" in parts:
        repeat["count"] = int(parts["COUNT"])
    if days:
        repeat["dayOfWeek"] = [_DAYS[day] for day in days]
    return {"scheduledTiming": {"repeat": repeat}}
