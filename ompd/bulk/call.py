"""The one call: a table of people in, their diagnoses out."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from ompd.bulk.asker import Asker
from ompd.bulk.desk import Desk
from ompd.bulk.meter import Meter
from ompd.bulk.rows import Rows, rows_of
from ompd.bulk.work import in_parts
from ompd.datasets import Dataset, load
from ompd.errors import FeatureError, InterruptedWarning, ParameterError, UnknownDiseaseError
from ompd.roles import Cloud, Diagnoses, Hospital, User, introduce
from ompd.roles.reports import most_rows
from ompd.schema import Schema
from ompd.schema.rows import check_errors
from ompd.threads import at_most, default_threads

Send = Callable[[bytes], bytes]
INTERRUPTED = "interrupted"


class _Line(NamedTuple):
    """Whom to ask."""

    asker: Asker
    schema: Schema | None
    workers: int
    close: Callable[[], None]


def diagnose(
    queries: Any,
    records: Any = None,
    *,
    disease: str = "diagnosis",
    schema: Schema | str | os.PathLike[str] | None = None,
    profile: str | None = None,
    method: str = "relief-mw",
    k: int | None = None,
    hospital: Hospital | str | None = None,
    cloud: Cloud | str | None = None,
    user: User | None = None,
    send: Send | None = None,
    errors: str = "collect",
    progress: bool | None = None,
    threads: int | None = None,
) -> Diagnoses:
    """Diagnose a table of people by a table of records, through user, hospital and cloud.

    All three are in this process, unless others are given. Rows are asked about in parts; lost
    answers are asked for again, and windows of sealed tables are renewed on the way.

    Parameters
    ----------
    queries : path, array-like of shape (m, n), data frame, or mapping of columns
        Those to be diagnosed. Columns with names are found by them, others are let be; so the
        file or frame may be written as the records are. A CSV file is read as `schema` says;
        Parquet (``.parquet``) needs pyarrow.
    records : Dataset, path, or the name of a built-in data set, optional
        What the hospital knows; a path needs `schema`. Needed unless a hospital is given that
        has a table of the disease.
    disease : str
        As the hospital names it.
    schema : Schema or its path, optional
        How `records` and `queries` are written; by default the records' own.
    profile : {"sealed", "hardened", "paper"}, optional
        What the hospital's table tells the cloud; `sealed` by default.
    method, k
        As for `Hospital.publish`.
    hospital : Hospital or str, optional
        A hospital in this process, which then publishes the records, if there are any, to `cloud`;
        or the id of one elsewhere. Either goes with a `user` that knows it and, if it is here,
        that it knows.
    cloud : Cloud or str, optional
        With a hospital in this process: the cloud, or the id of one that `send` reaches.
    user : User, optional
    send : callable, optional
        Takes a frame over the network and returns the answer: to the hospital's cloud, if the
        hospital is here, else to the hospital.
    errors : {"collect", "raise", "skip"}
        What becomes of a row that does not fit the schema: it has an error in what is returned; it
        is an error at once; it is left out.
    progress : bool, optional
        Whether to show how far it is, on standard error; by default only on a terminal.
    threads : int, optional
        As for `ompd.threads.at_most`; nothing but time depends on it.

    Returns
    -------
    Diagnoses
        In the order of the rows, with their ids: of the schema's id column, or the frame's index.
        A row without diagnosis has an error that says why.

    Raises
    ------
    ParameterError
        If it is not clear whom to ask.
    UnknownDiseaseError
        If the hospital has no table of the disease.
    OmpdError
        As `Hospital.publish`, `User.ask` and `Schema.check`, for what concerns all rows.
    Exception
        Whatever else than `OSError` or `OmpdError` `send` raises.

    Warns
    -----
    InterruptedWarning
        If it is interrupted (Ctrl-C) while rows are asked about: what was done by then is returned,
        the other rows have the error "interrupted". A second interruption is a `KeyboardInterrupt`.

    Examples
    --------
    >>> import ompd
    >>> from ompd import datasets
    >>> train, test = datasets.load("wbc").split(seed=1)
    >>> found = ompd.diagnose(test.features, train, progress=False)
    >>> print(found)
    <Diagnoses: 200 rows, 2 classes>
    """
    how = check_errors(errors)
    with at_most(threads), Meter(progress) as meter:
        known = _records(records, schema)
        rows = None
        if known is not None:
            # Before a table is made, which takes longer.
            rows = _rows(queries, _schema(schema, known), how)
        line = _line(known, disease, profile, method, k, hospital, cloud, user, send, meter)
        try:
            if rows is None:
                rows = _rows(queries, _schema(schema, None) or line.schema, how)
            found = _ask(line, rows, meter)
        finally:
            line.close()
    return found.among(rows.good, rows.error, rows.ids)


def _ask(line: _Line, rows: Rows, meter: Meter) -> Diagnoses:
    """Diagnose the good rows."""
    count = len(rows.values)
    if not count:
        return Diagnoses.failed("", 0)
    done = in_parts(
        lambda first, last: line.asker.ask(rows.values[first:last]),
        count,
        line.asker.size,
        line.workers,
        meter.rows("diagnosing", count),
    )
    parts, first = [], 0
    for (begin, end), found in sorted(done.items()):
        parts.append(Diagnoses.failed(INTERRUPTED, begin - first))
        parts.append(found)
        first = end
    parts.append(Diagnoses.failed(INTERRUPTED, count - first))
    whole = Diagnoses.concatenate([part for part in parts if len(part)])
    if missing := sum(len(part) for part in parts[::2]):
        warnings.warn(
            f"interrupted: {missing} of {count} rows were not asked about; "
            f"they have the error {INTERRUPTED!r}",
            InterruptedWarning,
            stacklevel=3,
        )
    return whole


def _records(records: Any, schema: Any) -> Dataset | None:
    if records is None or isinstance(records, Dataset):
        return records
    return load(records, schema)


def _schema(given: Any, records: Dataset | None) -> Schema | None:
    """How queries are written."""
    if isinstance(given, Schema):
        return given
    if given is not None:
        raise ParameterError(f"schema: expected a Schema, got {type(given).__name__}")
    return None if records is None else records.schema


def _rows(queries: Any, schema: Schema | None, errors: Any) -> Rows:
    rows = rows_of(queries, schema, errors)
    if not len(rows.error):
        raise FeatureError("queries: expected at least one row")
    return rows


def _line(
    records: Dataset | None,
    disease: str,
    profile: str | None,
    method: str,
    k: int | None,
    hospital: Hospital | str | None,
    cloud: Cloud | str | None,
    user: User | None,
    send: Send | None,
    meter: Meter,
) -> _Line:
    """Make or find the parties, and publish what there is to be published."""
    if isinstance(hospital, str):
        if records is not None or cloud is not None or profile is not None:
            raise ParameterError("hospital: one elsewhere goes without records, cloud and profile")
        if user is None or send is None:
            raise ParameterError("hospital: one elsewhere goes with user and send")
        return _Line(Asker(user, hospital, disease, send), None, default_threads(), _nothing)
    own = hospital is None
    if own:
        if records is None:
            raise ParameterError("records: expected some, or a hospital that has a table")
        if cloud is not None or user is not None or send is not None:
            raise ParameterError("cloud, user, send: go with a hospital")
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
    asker = Asker(user, hospital.id, disease, desk.answer, most=most_rows(table))

    def close() -> None:
        if own:
            hospital.close()

    # Where all is in this process, its kernels use all threads already. Waiting takes none.
    workers = 1 if isinstance(cloud, Cloud) else default_threads()
    return _Line(asker, table.encoder.schema, workers, close)


def _nothing() -> None:
    """Close nothing: the parties are not of this call."""
