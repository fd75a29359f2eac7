"""A person's diary: what the record plans, lists and measures from day to day."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from ompd.confidential import Confidential
from ompd.record.diary.body import BodyMass, body_mass
from ompd.record.diary.export import calendar_file
from ompd.record.diary.medicine import Medicine, statement
from ompd.record.diary.reminder import Reminder
from ompd.record.errors import DiaryError
from ompd.record.fhir import LOINC, Resource, checked, observation, written
from ompd.record.record import Record
from ompd.record.vector import AGE, vector
from ompd.schema import Feature, Schema

#: LOINC codes of body weight, height and mass index.
WEIGHT, HEIGHT, INDEX = "29463-7", "8302-2", "39156-5"
#: Longest time that an agenda is asked for.
MOST_DAYS = 3660

# What is read, changed and written again must not be written by somebody else in between.
_writing = threading.RLock()
_AGE = Schema((Feature("age", "numeric", 0, 150, unit="a", code=f"loinc|{AGE}"),), ("a", "b"))


class Due(NamedTuple):
    """A reminder at one of its times."""

    when: datetime
    reminder: Reminder


class Diary(Confidential):
    """Reminders, medicines and body mass in a record.

    Everything is a resource of FHIR in the record: CarePlan, MedicationStatement, Observation. What
    a call has written is on the disk when it returns.

    Parameters
    ----------
    record : Record

    Raises
    ------
    StoreError
        From every method that writes, if the disk is full or refuses; nothing has changed then.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    # --- reminders ----------------------------------------------------------------------------

    def reminders(self) -> list[Reminder]:
        """Return all reminders, by the time of their first ones."""
        found = [
            Reminder.from_resource(self._record.get(entry.reference))
            for entry in self._record.list("CarePlan")
        ]
        return sorted((each for each in found if each), key=lambda each: (each.start, each.id))

    def remind(
        self,
        title: str,
        start: datetime,
        every: str = "once",
        *,
        until: datetime | date | None = None,
        alarm: int | None = 0,
        zone: str | None = None,
    ) -> Reminder:
        """Add a reminder.

        Parameters
        ----------
        title : str
            What it is about; it does not leave the device.
        start : datetime
            The first one, with a zone. One that the rule leaves out is moved to the next it has.
        every : str, default "once"
            Also ``"daily"``, ``"weekly"``, ``"monthly"``, ``"yearly"``, or a rule of RFC 5545 of
            days and longer times, such as ``"FREQ=WEEKLY;BYDAY=MO,TH"``.
        until : datetime or date, optional
            The last moment or day.
        alarm : int or None, default 0
            Minutes before which a calendar rings, up to a week; None for no ring.
        zone : str, optional
            Name of the time zone whose clocks it follows, such as ``"Europe/Berlin"``; that of
            `start`, if it has a name.

        Raises
        ------
        DiaryError
            If these contradict one another, or the rule or zone is none.
        """
        reminder = Reminder.make(
            str(uuid.uuid4()), title, start, every, until=until, alarm=alarm, zone=zone
        )
        self._record.add(reminder.to_resource())
        return reminder

    def change(self, reminder: Reminder) -> None:
        """Put a reminder in place of that of the same id.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        self._record.replace(reminder.to_resource())

    def remove(self, id: str) -> None:
        """Remove a reminder.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        self._record.remove(f"CarePlan/{id}")

    def agenda(self, since: datetime, until: datetime) -> list[Due]:
        """Return what is due from one moment until before another, in order.

        Raises
        ------
        DiaryError
            If a moment has no zone, or they are more than ten years apart.
        """
        if since.utcoffset() is None or until.utcoffset() is None:
            raise DiaryError("since, until: expected datetimes with a zone")
        if until - since > timedelta(days=MOST_DAYS):
            raise DiaryError(f"until: expected at most {MOST_DAYS} days behind since")
        found = [
            Due(when, each) for each in self.reminders() for when in each.occurrences(since, until)
        ]
        return sorted(found, key=lambda due: (due.when, due.reminder.id))

    def calendar(self, title: str = "Reminder", *, when: datetime | None = None) -> bytes:
        """Return all reminders as a calendar file that does not say what they are about.

        Parameters and errors as of `calendar_file`.
        """
        return calendar_file(self.reminders(), title, when=when)

    # --- medicines ----------------------------------------------------------------------------

    def medicines(self, *, all: bool = False) -> list[Medicine]:
        """Return what is taken, by name.

        Parameters
        ----------
        all : bool, default False
            Whether what is not taken any more is listed, too.
        """
        found = [
            Medicine.from_resource(self._record.get(entry.reference))
            for entry in self._record.list("MedicationStatement")
        ]
        kept = [each for each in found if all or each.active]
        return sorted(kept, key=lambda each: (each.name.casefold(), each.id))

    def take(
        self,
        name: str,
        dose: float | None = None,
        unit: str | None = None,
        times: Sequence[time] = (),
        *,
        zone: str | None = None,
        since: datetime | None = None,
        code: str | None = None,
        text: str | None = None,
        alarm: int | None = 0,
    ) -> Medicine:
        """Add a medicine, and a daily reminder for each of its times, all at once.

        Parameters
        ----------
        name : str
        dose : float, optional
            How much at a time.
        unit : str, optional
            Of UCUM: ``"mg"``, ``"{tablet}"``.
        times : sequence of time
            Of every day, by the clocks of `zone`; without any there are no reminders.
        zone : str, optional
            As of `remind`; that of `since`.
        since : datetime, optional
            With a zone; now.
        code : str, optional
            Of ATC.
        text : str, optional
            How it is taken, in words.
        alarm : int or None, default 0
            As of `remind`.

        Raises
        ------
        DiaryError
            If something contradicts itself, or times come without a zone.
        ResourceError
            If a code or unit is none.
        """
        id = str(uuid.uuid4())
        begin = (since or datetime.now(UTC)).replace(microsecond=0)
        resource = statement(id, name, dose, unit, tuple(times), code=code, text=text, since=begin)
        if times and zone is None and since is None:
            raise DiaryError("zone: expected the name of the zone that times are of")
        plans = []
        for clock in times:
            first = Reminder.make("x", name, begin, zone=zone).start
            start = datetime.combine(first.date(), clock, first.tzinfo)
            # Today's time may be over.
            if start < begin:
                start = datetime.combine(first.date() + timedelta(days=1), clock, first.tzinfo)
            plans.append(
                Reminder.make(
                    str(uuid.uuid4()), name, start, "daily", alarm=alarm, zone=zone, medicine=id
                ).to_resource()
            )
        self._record.put_all([resource, *plans])
        return Medicine.from_resource(resource)

    def stop(self, id: str, *, when: datetime | None = None) -> Medicine:
        """End a medicine; it stays in the record, and its reminders are removed.

        Raises
        ------
        UnknownResourceError
            If there is none of this id.
        DiaryError
            If it ended before, or had not begun.
        """
        with _writing:
            document = self._record.get(f"MedicationStatement/{id}").document()
            old = Medicine.from_resource(checked(document))
            end = when or datetime.now(UTC)
            if end.utcoffset() is None:
                raise DiaryError("when: expected a datetime with a zone")
            if not old.active:
                raise DiaryError("medicine: expected one that is taken")
            if old.since is not None and end < old.since:
                raise DiaryError("when: expected a moment that is not before its beginning")
            period = document.get("effectivePeriod", {})
            if "effectiveDateTime" in document:
                period = {"start": document.pop("effectiveDateTime")}
            document["effectivePeriod"] = period | {"end": written(end)}
            document["status"] = "stopped"
            stopped = checked(document)
            theirs = [f"CarePlan/{each.id}" for each in self.reminders() if each.medicine == id]
            self._record.put_all([stopped], remove=theirs)
            return Medicine.from_resource(stopped)

    # --- body ---------------------------------------------------------------------------------

    def weigh(
        self,
        mass: float,
        height: float,
        mass_unit: str = "kg",
        height_unit: str = "cm",
        *,
        age: int | None = None,
        when: datetime | None = None,
    ) -> BodyMass:
        """Note weight and height of an adult, and the body mass index that follows.

        Parameters
        ----------
        mass, height, mass_unit, height_unit
            As of `body_mass`.
        age : int, optional
            In whole years; that which the record knows, by a date of birth or by an answer.
        when : datetime, optional
            With a zone; now.

        Raises
        ------
        ChildError, UnitError
            As `body_mass`.
        DiaryError
            If a measure is not one of an adult's body, or the age is not known.
        """
        moment = when or datetime.now(UTC)
        years = self._age(moment) if age is None else age
        if years is None:
            raise DiaryError("age: expected the person's, which the record does not know")
        found = body_mass(mass, height, years, mass_unit, height_unit)
        self._record.add_all(
            [
                _measured(WEIGHT, mass, mass_unit, moment),
                _measured(HEIGHT, height, height_unit, moment),
                _measured(INDEX, found.index, "kg/m2", moment),
            ]
        )
        return found

    def _age(self, at: datetime) -> int | None:
        value = vector(self._record, _AGE, at).values["age"]
        return None if value is None else int(float(value))


def _measured(code: str, value: float, unit: str, when: datetime) -> Resource:
    return observation(code, round(value, 3), unit, when, system=LOINC, id=str(uuid.uuid4()))
