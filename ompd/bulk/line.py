"""Whom to ask: parties that are given, or made for one call."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from ompd.bulk.asker import Asker
from ompd.bulk.desk import Desk
from ompd.bulk.meter import Meter
from ompd.datasets import Dataset
from ompd.errors import OutdatedError, ParameterError, UnknownDiseaseError
from ompd.roles import Cloud, Hospital, User, introduce
from ompd.roles.reports import most_rows
from ompd.schema import Schema
from ompd.threads import default_threads

Send = Callable[[bytes], bytes]


class Line(NamedTuple):
    """A way to a hospital's table and back.

    Attributes
    ----------
    asker : Asker
    schema : Schema or None
        The hospital's, if it is known.
    workers : int
        Threads that ask at a time.
    close : callable
        Ends what was made for this call.
    """

    asker: Asker
    schema: Schema | None
    workers: int
    close: Callable[[], None]


def line_of(
    records: Dataset | None,
    disease: str,
    profile: str | None,
    method: str,
    k: int | None,
    hospital: Hospital | str | None,
    cloud: Cloud | str | None,
    user: User | None,
    send: Send | None,
    schema: Schema | None,
    meter: Meter,
) -> Line:
    """Make or find the parties, and publish what there is to be published.

    Parameters and errors are those of `diagnose`.
    """
    if isinstance(hospital, str):
        if records is not None or cloud is not None or profile is not None:
            raise ParameterError("hospital: one elsewhere goes without records, cloud and profile")
        if user is None or send is None:
            raise ParameterError("hospital: one elsewhere goes with user and send")
        with contextlib.suppress(OutdatedError, LookupError):
            schema = schema or user.diseases(hospital)[disease].schema
        asker = Asker(user, hospital, disease, send, schema=schema)
        return Line(asker, schema, default_threads(), _nothing)
    own = hospital is None
    if own:
        if records is None:
            raise ParameterError("records: expected some, or a hospital that has a table")
        if cloud is not None or user is not None or send is not None:
            raise ParameterError("cloud, user, send: go with a hospital")
        if profile == "blind":
            raise ParameterError("profile: 'blind' means something between two parties alone")
        # One user asks for many people.
        hospital = Hospital.create("hospital", profile=profile or "sealed", share=1.0)
        cloud, user = Cloud.create("cloud"), User.create("user")
        introduce(hospital, cloud, user)
    if not isinstance(hospital, Hospital) or user is None:
        raise ParameterError("hospital: expected a Hospital or its id, and a user that it knows")
    if profile is not None and profile != hospital.profile:
        raise ParameterError(f"profile: the hospital's is {hospital.profile}")
    if isinstance(cloud, Cloud) == (send is not None):
        raise ParameterError("cloud: expected a Cloud, or its id and send")
    if records is not None:
        name = cloud.id if isinstance(cloud, Cloud) else cloud
        if name is None:
            raise ParameterError("cloud: expected the id of the one that gets the table")
        upload = hospital.publish(
            disease, records, cloud=name, k=k, method=method, progress=meter.stage("publishing")
        )
        hospital.deliver(upload, cloud.store if isinstance(cloud, Cloud) else send)  # type: ignore[arg-type]
    table = hospital.tables.get(unicodedata.normalize("NFC", disease))
    if table is None:
        raise UnknownDiseaseError("disease: the hospital has no table under this name")
    desk = Desk(hospital, cloud.answer if isinstance(cloud, Cloud) else send)  # type: ignore[arg-type]
    asker = Asker(
        user, hospital.id, disease, desk.answer, schema=table.schema, most=most_rows(table)
    )

    def close() -> None:
        if own:
            hospital.close()

    # Where all is in this process, its kernels use all threads already. Waiting takes none.
    workers = 1 if isinstance(cloud, Cloud) else default_threads()
    return Line(asker, table.schema, workers, close)


def _nothing() -> None:
    """Close nothing: the parties are not of this call."""
