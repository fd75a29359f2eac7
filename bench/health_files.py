"""Files of 10,000 measurements into a record and out of it, beside readers that check less.

python -m bench.health_files [--count 10000] [--rounds 3] [--json]

The same heart rates come as an export of Apple Health, as a bundle and as a table, each into an
empty record. Peers in the same process read the same file and keep nothing: the archive by
ElementTree, the bundle's resources by fhir.resources alone, the table by csv. Medians of processor
time, by turns.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree as ET

import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd.crypto import POST_QUANTUM, Identity
from ompd.record import Record
from ompd.record.exporting import everything, pdf, summary, table
from ompd.record.importing import import_file

_START = datetime(2024, 1, 1, tzinfo=UTC)


def files(count: int) -> dict[str, bytes]:
    """Return the same heart rates as an export of Apple Health, and as a table."""
    rows = ["when,code,value,unit"]
    records = []
    for number in range(count):
        when, value = _START + timedelta(minutes=number), 50 + number % 90
        stamp = when.strftime("%Y-%m-%d %H:%M:%S +0000")
        rows.append(f"{when.isoformat()},8867-4,{value},/min")
        records.append(
            f'<Record type="HKQuantityTypeIdentifierHeartRate" sourceName="Watch" '
            f'unit="count/min" creationDate="{stamp}" startDate="{stamp}" endDate="{stamp}" '
            f'value="{value}"/>'
        )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        xml = "\n".join(records)
        archive.writestr("apple_health_export/export.xml", f"<HealthData>{xml}</HealthData>")
    return {"apple": stream.getvalue(), "table": "\n".join(rows).encode()}


def read_xml(source: bytes) -> int:
    """Return how many records ElementTree finds in an archive."""
    found = 0
    with (
        zipfile.ZipFile(io.BytesIO(source)) as archive,
        archive.open("apple_health_export/export.xml") as stream,
    ):
        for _, element in ET.iterparse(stream):  # noqa: S314
            found += element.tag == "Record"
            element.clear()
    return found


def read_bundle(source: bytes) -> int:
    """Return how many resources of a bundle fhir.resources accepts."""
    from fhir.resources.R4B import get_fhir_model_class

    entries = json.loads(source)["entry"]
    for entry in entries:
        resource = entry["resource"]
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return len(entries)


def read_table(source: bytes) -> int:
    """Return how many rows a table has."""
    return sum(1 for _ in csv.DictReader(io.StringIO(source.decode())))


_PEERS: dict[str, Callable[[bytes], int]] = {
    "apple": read_xml,
    "bundle": read_bundle,
    "table": read_table,
}


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Return sizes in bytes, and seconds of processor time."""
    ann = Identity.generate("ann", suite=POST_QUANTUM)
    found: dict[str, Any] = {"measurements": count, "bytes": {}, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:

        def imported(source: bytes) -> int:
            with Record.create(Path(tempfile.mkdtemp(dir=folder)) / "record", ann) as record:
                done = import_file(record, io.BytesIO(source))
                return done.added

        sources = files(count)
        with Record.create(Path(folder) / "record", ann) as record:
            import_file(record, io.BytesIO(sources["table"]))
            sources["bundle"] = everything(record)
            exports = {
                "bundle": lambda: everything(record),
                "summary": lambda: summary(record),
                "table": lambda: table(record),
                "pdf": lambda: pdf(record),
            }
            written = medians(exports, rounds, clock=time.process_time)
        for form, source in sources.items():
            peer = _PEERS[form]
            # Both read all of it.
            assert imported(source) == peer(source) == count
            times = medians(
                {"ours": lambda s=source: imported(s), "peer": lambda s=source, p=peer: p(s)},
                rounds,
                clock=time.process_time,
            )
            found["bytes"][form] = len(source)
            found["seconds"][f"import {form}"] = times["ours"]
            found["seconds"][f"peer {form}"] = times["peer"]
    found["seconds"] |= {f"export {form}": value for form, value in written.items()}
    return found


@pytest.mark.benchmark(group="health-files")
@pytest.mark.parametrize("form", ["apple", "table"])
def test_import(benchmark, tmp_path, form):
    source = files(100)[form]
    with Record.create(tmp_path / "record", Identity.generate("ann", suite=POST_QUANTUM)) as record:
        benchmark(lambda: import_file(record, io.BytesIO(source)))
        assert len(record) == 100


def main(
    count: Annotated[int, typer.Option(min=20)] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print the figures."""
    found = measure(count, rounds)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    shown = Table("what", "seconds", "µs each", title=f"Files of {count:,} measurements")
    for name, value in found["seconds"].items():
        shown.add_row(name, f"{value:.3f}", f"{value / count * 1e6:,.0f}")
    Console().print(shown)


if __name__ == "__main__":
    typer.run(main)
