"""Events that signals of a device showed, as resources."""

from __future__ import annotations

from datetime import UTC, datetime

from ompd.record.fhir import OWN, Resource, observation
from ompd.signals import Event


def event_resource(event: Event) -> Resource:
    """Return an event as an Observation; the same event is the same resource.

    What was measured of it is a component with its code of LOINC, if there is one, so that it
    counts as a value of that code.

    Parameters
    ----------
    event : Event

    Raises
    ------
    ResourceError
        If it lies in the future, or something of it is not of its form.
    BackendUnavailableError
        Without the extra `care`.
    """
    start, end = (datetime.fromtimestamp(each, UTC) for each in (event.start, event.end))
    coded = bool(event.code)
    return observation(
        event.kind,
        True if coded else event.value,
        None if coded else event.unit,
        start,
        until=end,
        system=OWN,
        display=event.kind.replace("-", " "),
        category="activity",
        parts=[(event.code, event.value, event.unit)] if coded else (),
    )
