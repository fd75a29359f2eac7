"""Files of any size: read, diagnosed and written piece by piece, from where the last run ended."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ompd.arrays import F64
from ompd.bulk.line import line_of
from ompd.bulk.meter import Meter
from ompd.bulk.partial import Partial
from ompd.bulk.rows import Rows, of_people
from ompd.datasets import Dataset, scan
from ompd.errors import BackendUnavailableError, DatasetError, ParameterError
from ompd.roles import Diagnoses
from ompd.schema import Schema
from ompd.threads import at_most

#: What an output may be, by the end of its name.
FORMS = (".csv", ".parquet")
Judge = Callable[[F64], Diagnoses]


@dataclass(slots=True)
class Scored:
    """What became of a file.

    Attributes
    ----------
    rows, failures, certified, resumed : int
        All rows; those with an error; those whose neighbours are known to be the nearest; those
        that an earlier run had done.
    labels : dict of str to int
        Rows by label.
    """

    rows: int = 0
    failures: int = 0
    certified: int = 0
    resumed: int = 0
    labels: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Diagnoses) -> Scored:
        """Count some rows."""
        labels = Counter(found.labels[found.codes >= 0].tolist())
        return cls(len(found), found.failures, int(found.certified.sum()), 0, dict(labels))

    def add(self, other: Scored) -> None:
        """Count others too."""
        self.rows += other.rows
        self.failures += other.failures
        self.certified += other.certified
        self.resumed += other.resumed
        for name, rows in other.labels.items():
            self.labels[name] = self.labels.get(name, 0) + rows


def score(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    records: Dataset,
    schema: Schema | None = None,
    *,
    profile: str | None = None,
    method: str = "relief-mw",
    k: int | None = None,
    id: str | None = None,
    progress: bool | None = None,
    threads: int | None = None,
) -> Scored:
    """Diagnose all people of a file, and write a file with a row for each.

    Memory is bounded by a piece of the file, not by the file. What is done is kept in
    ``OUT.partial``; after an interruption, a crash or a full disk, the same call goes on there, and
    the result is the same, byte for byte. Two things are drawn anew with each table, and so by each
    call: what decides exact ties under `paper`, and which few rows of `sealed` are not certified.

    Parameters
    ----------
    source : path
        CSV, ARFF, Parquet or Arrow; see `datasets.scan`.
    out : path
        ``.csv`` or ``.parquet``; there must not be one yet. Columns are those of
        `Diagnoses.to_frame`, with `id` first if there is one.
    records : Dataset
    schema : Schema, optional
        How the file is written; by default as the records are.
    profile : {"sealed", "hardened", "paper"}, optional
        Through user, hospital and cloud; by default without them, by a classifier that searches in
        the open.
    method, k
        As for `Hospital.publish`.
    id : str, optional
        Name of the column of ids; by default that of the schema.
    progress : bool, optional
        As for `diagnose`.
    threads : int, optional
        As for `ompd.threads.at_most`.

    Raises
    ------
    ParameterError
        If the output's name ends otherwise.
    DatasetError
        If the file cannot be read, or is changed meanwhile.
    StoreError
        If the output is there already, another process is at it, what is kept belongs to another
        input, schema, records or options, or the disk refuses.
    BackendUnavailableError
        If Parquet needs the extra ``arrow``, or a classifier the extra ``sklearn``.
    OmpdError
        As `diagnose`, for what concerns all rows.
    """
    source, out = Path(source), Path(out)
    form = out.suffix.lower()
    if form not in FORMS:
        raise ParameterError(f"out: expected a name that ends in one of {', '.join(FORMS)}")
    if form == ".parquet":
        _arrow()
    written = schema or records.written
    with at_most(threads), Meter(progress) as meter, ExitStack() as stack:
        before = _state(source)
        lines, digest = _read_through(source)
        job = _job(digest, records, written, [form, profile, method, k, id])
        partial = Partial(out, job)
        stack.callback(partial.close)
        if partial.finished is not None:
            scored = Scored(**json.loads(partial.finished))
            partial.clear()
            return scored
        scored = Scored()
        advance = meter.rows("diagnosing", lines)
        judge: Judge | None = None
        for number, read in enumerate(scan(source, written, id)):
            if number in partial:
                part = Scored(**json.loads(partial.note(number)))
                part.resumed = part.rows
            else:
                if judge is None:
                    judge = _judge(records, profile, method, k, meter, stack)
                found = found_of(of_people(read()), judge, records.schema.classes)
                part = Scored.of(found)
                content = csv_of(found, number) if form == ".csv" else _parquet(found)
                partial.put(number, content, json.dumps(asdict(part)).encode())
            scored.add(part)
            advance(part.rows)
        if _state(source) != before:
            raise DatasetError(f"{source.name}: was changed while it was read")
        with partial.whole(json.dumps(asdict(scored)).encode()) as whole:
            (_join if form == ".csv" else _join_parquet)(partial, whole)
        partial.clear()
    return scored


def _state(path: Path) -> tuple[int, int, int]:
    problem = True
    try:
        status = path.stat()
        problem = False
    except OSError:
        pass
    if problem:
        raise DatasetError(f"{path}: the file cannot be read")
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read_through(path: Path) -> tuple[int, str]:
    """Return how many lines a file has, which for text are about its rows, and its digest."""
    problem = True
    lines, digest = 0, hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                lines += part.count(b"\n")
                digest.update(part)
        problem = False
    except OSError:
        pass
    if problem:
        raise DatasetError(f"{path}: the file cannot be read")
    return lines, digest.hexdigest()


def _job(digest: str, records: Dataset, schema: Schema, options: list[Any]) -> str:
    """Return a digest of all that decides what is written."""
    known = hashlib.sha256(records.schema.to_json())
    for array in (records.features, records.labels):
        known.update(np.ascontiguousarray(array).tobytes())
    told = [digest, known.hexdigest(), schema.to_json().decode(), options]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


# --- rows ----------------------------------------------------------------------------------------


def _judge(
    records: Dataset,
    profile: str | None,
    method: str,
    k: int | None,
    meter: Meter,
    stack: ExitStack,
) -> Judge:
    """Return what diagnoses rows: parties, or a classifier that needs none."""
    if profile is not None:
        line = line_of(
            records, "diagnosis", profile, method, k, None, None, None, None, None, meter
        )
        stack.callback(line.close)
        return line.asker.ask
    try:
        from ompd.bulk.openly import openly
    except ImportError:
        raise BackendUnavailableError("scikit-learn: expected to be installed") from None
    return openly(records, method, k)


def found_of(rows: Rows, judge: Judge, classes: tuple[str, ...]) -> Diagnoses:
    """Diagnose rows; the bad ones have their errors."""
    nobody = Diagnoses(
        classes, (), np.empty(0, np.int64), np.empty((0, len(classes))),
        np.empty((0, len(classes)), np.uint16), np.empty(0, np.bool_), np.empty(0, np.uint16),
    )  # fmt: skip
    parts = [nobody, judge(rows.values)] if len(rows.values) else [nobody]
    return Diagnoses.concatenate(parts).among(rows.good, rows.error, rows.ids)


# --- files ---------------------------------------------------------------------------------------


def csv_of(found: Diagnoses, number: int = 0) -> bytes:
    """Return rows as text, below the names of the columns if they are the first."""
    columns = found.columns()
    if found.ids is not None:
        columns = {"id": found.ids} | columns
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if number == 0:
        writer.writerow(columns)
    # NaN stands where a row has no probability, and an empty cell says so.
    listed = [
        ["" if each != each else each for each in column.tolist()]  # noqa: PLR0124
        for column in columns.values()
    ]
    writer.writerows(zip(*listed, strict=True))
    return text.getvalue().encode("utf-8", "surrogatepass")


def _join(partial: Partial, whole: Path) -> None:
    with whole.open("wb") as out:
        for path in _parts(partial):
            with path.open("rb") as part:
                shutil.copyfileobj(part, out, 1 << 20)


def _parquet(found: Diagnoses) -> bytes:
    pa, pq = _arrow()
    sink = pa.BufferOutputStream()
    pq.write_table(found.to_arrow(), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _join_parquet(partial: Partial, whole: Path) -> None:
    """Make each part a group of rows."""
    _, pq = _arrow()
    paths = list(_parts(partial))
    with whole.open("wb") as out, ExitStack() as stack:
        writer = None
        for path in paths:
            table = pq.read_table(path)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(out, table.schema))
            writer.write_table(table, row_group_size=max(1, len(table)))


def _parts(partial: Partial) -> Iterator[Path]:
    number = 0
    while number in partial:
        yield partial.path(number)
        number += 1


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BackendUnavailableError("parquet: needs pyarrow; install ompd[arrow]") from None
    return pyarrow, pyarrow.parquet
