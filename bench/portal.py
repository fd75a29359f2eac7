"""How fast pages come at a record of ten thousand resources, and how the first one looks.

python -m bench.portal [--resources 10000] [--repeats 30] [--picture FILE] [--json]

Each page is asked for over HTTP from a server in this process, as a browser asks; the peer is what
the same server needs for its style sheet, of which nothing is made. `--picture` draws the first
page of a small record by Chromium (bench/results/portal.png).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import typer
from rich.console import Console
from rich.table import Table

from ompd.crypto import Identity
from ompd.portal.app import App
from ompd.portal.door import Door
from ompd.portal.house import House
from ompd.record import Record
from ompd.record.diary import Diary
from ompd.record.fhir import Resource, allergy, condition, medication, note, observation
from ompd.record.questionnaire import Interview, load
from ompd.service.config import Listen
from ompd.service.serving import serve

PAGES = ("/", "/record", "/record?page=100", "/charts", "/diary", "/questions", "/share", "/write")
#: Pixels of the picture.
SIZE = {"width": 900, "height": 815}


def many(number: int) -> Iterator[Resource]:
    """Yield measurements, notes and illnesses, newest first."""
    now = datetime.now(UTC)
    for place in range(number):
        when = now - timedelta(hours=3 * place)
        if place % 10 == 9:
            yield note(f"felt well on day {place}, walked {place % 40} km", when, title="Day")
        elif place % 100 == 50:
            yield condition(None, f"cold number {place}", when)
        else:
            code, value, unit = (
                ("29463-7", 70 + place % 17, "kg"),
                ("8867-4", 60 + place % 31, "/min"),
                ("41653-7", 80 + place % 53, "mg/dL"),
            )[place % 3]
            yield observation(code, value, unit, when, id=f"o{place}")


def few(record: Record) -> None:
    """Fill a record as a person of 58 has it."""
    now = datetime.now(UTC).replace(hour=7, minute=30)
    pressure = [("8480-6", 138, "mm[Hg]"), ("8462-4", 86, "mm[Hg]")]
    record.add_all(
        [
            observation("85354-9", None, None, now - timedelta(days=1), parts=pressure),
            observation("8867-4", 66, "/min", now - timedelta(days=1)),
            observation("29463-7", 82.5, "kg", now - timedelta(days=2)),
            observation("2093-3", 233, "mg/dL", now - timedelta(days=40)),
            condition("I10", "High blood pressure", now - timedelta(days=900)),
            allergy("Penicillin"),
            medication("Ramipril", dose=5, unit="mg", text="in the morning"),
        ]
    )
    interview = Interview.begin(record, load("heart"), "home")
    for question, answer in (("chest_pain", "nonanginal"), ("age", 58.0), ("sex", "male")):
        interview.answer(question, answer)
    interview.finish()
    Diary(record).remind("Blood test", now + timedelta(days=3), "monthly", zone="UTC")
    Diary(record).take("Metformin", 500, "mg", [clock(8), clock(19)], zone="UTC")


@contextmanager
def served(record: Record) -> Iterator[tuple[str, str]]:
    """Serve a record's pages; gives the origin, and the path that opens them."""
    told: list[str] = []
    is_open = threading.Event()
    house = House(record, Door(lambda address: (told.append(address), is_open.set())[0]))
    stops: list[Any] = []

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        listen = Listen(host="127.0.0.1", port=0, metrics_port=0)
        await serve(App(house), listen, stop, started=lambda at: house.door.open(at.service))

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert is_open.wait(60)
        origin, _, key = told[-1].partition("/enter")
        yield origin, f"/enter{key}"
    finally:
        stops[0]()
        thread.join()
        house.leave()


def measured(resources: int, repeats: int) -> dict[str, float]:
    """Return the median of each page, in milliseconds."""
    found = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Record.create(
            Path(folder) / "record", Identity.generate("me", suite="mlkem768x25519")
        ) as record,
    ):
        record.add_all(many(resources))
        with (
            served(record) as (origin, key),
            httpx.Client(base_url=origin, headers={"origin": origin}, timeout=60) as browser,
        ):
            front = browser.get(key, follow_redirects=True)
            base = str(front.url).rstrip("/")
            csrf = front.text.partition('name="csrf" value="')[2].partition('"')[0]
            asked = {page: ("GET", base + page, None) for page in PAGES}
            asked["search: walked 12 km"] = (
                "POST", f"{base}/search", {"csrf": csrf, "words": "walked 12 km"},
            )  # fmt: skip
            asked["style sheet (peer)"] = ("GET", f"{origin}/portal.css", None)
            times: dict[str, list[float]] = {name: [] for name in asked}
            # In turns, so that all meet the same moments of the machine.
            for _ in range(repeats + 1):
                for name, (method, url, data) in asked.items():
                    begin = time.perf_counter()
                    answer = browser.request(method, url, data=data)
                    times[name].append(1000 * (time.perf_counter() - begin))
                    assert answer.status_code == 200, (name, answer.status_code)
            # The first of each also loads what it needs.
            found = {name: statistics.median(each[1:]) for name, each in times.items()}
    return found


def draw(file: Path) -> None:
    """Draw the first page."""
    from tests.portal.browsing import chromium

    with (
        tempfile.TemporaryDirectory() as folder,
        Record.create(
            Path(folder) / "record", Identity.generate("me", suite="mlkem768x25519")
        ) as record,
    ):
        few(record)
        with served(record) as (origin, key), chromium() as browser:
            page = browser.new_page(viewport=SIZE, locale="en-GB")
            page.goto(origin + key)
            page.screenshot(path=file)


def main(
    resources: Annotated[int, typer.Option()] = 10_000,
    repeats: Annotated[int, typer.Option()] = 30,
    picture: Annotated[Path | None, typer.Option()] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure pages, or draw the first one."""
    if picture is not None:
        draw(picture)
        return
    found = measured(resources, repeats)
    if as_json:
        typer.echo(json.dumps({"resources": resources, "repeats": repeats, "ms": found}))
        return
    table = Table(title=f"{resources} resources, median of {repeats}", title_justify="left")
    table.add_column("page")
    table.add_column("ms", justify="right")
    for name, each in found.items():
        table.add_row(name, f"{each:.1f}")
    Console().print(table)


@pytest.mark.benchmark
def test_pages(benchmark: Any) -> None:
    """All pages come, at a record of some resources."""
    found = benchmark.pedantic(measured, args=(200, 2), rounds=1)
    assert set(PAGES) < set(found)


if __name__ == "__main__":
    typer.run(main)
