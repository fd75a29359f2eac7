"""The one call: a table of people in, their diagnoses out."""

from __future__ import annotations

import os
import warnings
from typing import Any

from ompd.bulk.line import Line, Send, line_of
from ompd.bulk.meter import Meter
from ompd.bulk.rows import Rows, rows_of
from ompd.bulk.work import in_parts
from ompd.datasets import Dataset, load, read_schema
from ompd.errors import FeatureError, InterruptedWarning, ParameterError
from ompd.roles import Cloud, Diagnoses, Hospital, User
from ompd.schema import Schema
from ompd.schema.rows import check_errors
from ompd.threads import at_most

INTERRUPTED = "interrupted"


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

    All three are in this process, unless others are given. Rows are asked about in parts, and what
    is lost is asked for again.

    Parameters
    ----------
    queries : path, array-like of shape (m, n), data frame, or mapping of columns
        Those to be diagnosed. Columns with names are found by them, others are let be: the file or
        frame may be written as the records are, with or without label. A file is CSV, ARFF, Parquet
        or Arrow, as for `datasets.load`.
    records : Dataset, frame, path, or the name of a built-in data set, optional
        What the hospital knows; a frame or path needs `schema`. Needed unless a hospital is given
        that has a table of the disease.
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
        form = None if schema is None else read_schema(schema)
        known = _records(records, form)
        rows = None
        if known is not None:
            # Before a table is made, which takes longer.
            rows = _rows(queries, form or known.written, how)
        line = line_of(known, disease, profile, method, k, hospital, cloud, user, send, form, meter)
        try:
            if rows is None:
                rows = _rows(queries, form or line.schema, how)
            found = _ask(line, rows, meter)
        finally:
            line.close()
    return found.among(rows.good, rows.error, rows.ids)


def _ask(line: Line, rows: Rows, meter: Meter) -> Diagnoses:
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


def _records(records: Any, schema: Schema | None) -> Dataset | None:
    if records is None or isinstance(records, Dataset):
        return records
    if isinstance(records, (str, os.PathLike)):
        return load(records, schema)
    if schema is None:
        raise ParameterError("schema: needed where records are a frame")
    return Dataset.from_frame(schema, records)


def _rows(queries: Any, schema: Schema | None, errors: Any) -> Rows:
    rows = rows_of(queries, schema, errors)
    if not len(rows.error):
        raise FeatureError("queries: expected at least one row")
    return rows
