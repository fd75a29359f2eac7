"""A record of 10,000 resources: opening, writing, finding, beside SQLite that is not encrypted.

python -m bench.record [--count 10000] [--rounds 5] [--json]

The same resources go into a record and into two plain tables of SQLite in the same process: one
with an index of words, one with FTS5. All three are asked the same and return references, kinds and
times, newest first; that they agree is checked. Medians of the rounds, by turns.

A password costs scrypt besides, which is told apart: it is meant to take a third of a second.
"""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd.crypto import POST_QUANTUM, Identity
from ompd.record import Direct, Record, backup, restore
from ompd.record.fhir.resource import Resource, resource_of
from ompd.roles import Cloud, Subscriber, introduce
from ompd.schema import Feature, Schema
from ompd.stores import Keeper

_CODES = {
    "8867-4": ("heart rate", "/min", 50, 150),
    "8480-6": ("systolic blood pressure", "mm[Hg]", 90, 180),
    "29463-7": ("body weight", "kg", 50, 110),
    "8310-5": ("body temperature", "Cel", 35, 41),
    "2345-7": ("glucose", "mg/dL", 60, 250),
}
_SCHEMA = Schema(
    tuple(
        Feature(name, "numeric", 0, 300, unit=unit, code=f"loinc|{code}")
        for code, (name, unit, _, _) in _CODES.items()
    ),
    ("no", "yes"),
)
#: Words that one, ten and a hundred in a thousand notes have, and a code that a fifth have.
QUERIES = ("rare", "some", "often", "often some", "8867-4")


def resources(count: int) -> list[Resource]:
    """Return observations with notes of a dozen words, one every two hours."""
    rng = random.Random(7)  # noqa: S311
    start = datetime(2020, 1, 1, tzinfo=UTC)
    made = []
    for number in range(count):
        code = rng.choice(list(_CODES))
        name, unit, low, high = _CODES[code]
        note = [f"word{rng.randrange(5000)}" for _ in range(8)]
        note += [
            word
            for word, share in (("rare", 0.001), ("some", 0.01), ("often", 0.1))
            if rng.random() < share
        ]
        made.append(
            resource_of(
                {
                    "resourceType": "Observation",
                    "id": f"o{number}",
                    "status": "final",
                    "code": {
                        "coding": [{"system": "http://loinc.org", "code": code}],
                        "text": name,
                    },
                    "subject": {"reference": "Patient/self"},
                    "effectiveDateTime": (start + timedelta(hours=2 * number)).isoformat(),
                    "valueQuantity": {
                        "value": rng.randint(low, high),
                        "unit": unit,
                        "system": "http://unitsofmeasure.org",
                        "code": unit,
                    },
                    "note": [{"text": " ".join(note)}],
                }
            )
        )
    return made


class Plain:
    """The same in SQLite, in clear: an index of words and codes."""

    _QUERY = (
        "SELECT id, kind, moment FROM resources WHERE id IN "
        "(SELECT id FROM words WHERE word = ?{}) ORDER BY moment DESC"
    )

    def __init__(self, path: Path, made: list[Resource]) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE resources (id TEXT PRIMARY KEY, kind TEXT, moment TEXT, json BLOB)",
            "CREATE TABLE words (word TEXT, id TEXT, PRIMARY KEY (word, id)) WITHOUT ROWID",
        ):
            self.connection.execute(statement)
        self.add(made)

    def add(self, made: list[Resource]) -> None:
        """Add resources in one transaction."""
        self.connection.execute("BEGIN")
        self.connection.executemany(
            "INSERT INTO resources VALUES (?, ?, ?, ?)",
            ((each.id, each.kind, str(each.when), each.json) for each in made),
        )
        self.connection.executemany(
            "INSERT OR IGNORE INTO words VALUES (?, ?)",
            (
                (word, each.id)
                for each in made
                for word in (*each.words, *(code for _, code in each.codes))
            ),
        )
        self.connection.execute("COMMIT")

    def search(self, query: str) -> list[Any]:
        """Return rows in which all words occur."""
        words = query.split()
        more = " INTERSECT SELECT id FROM words WHERE word = ?" * (len(words) - 1)
        return self.connection.execute(self._QUERY.format(more), words).fetchall()


class FullText:
    """The same in FTS5, in clear."""

    def __init__(self, path: Path, made: list[Resource]) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute(
            "CREATE VIRTUAL TABLE texts USING fts5 (words, id UNINDEXED, kind UNINDEXED, "
            "moment UNINDEXED, tokenize = \"unicode61 tokenchars '-'\")"
        )
        self.connection.executemany(
            "INSERT INTO texts VALUES (?, ?, ?, ?)",
            (
                (
                    " ".join((*each.words, *(code for _, code in each.codes))),
                    each.id,
                    each.kind,
                    str(each.when),
                )
                for each in made
            ),
        )
        self.connection.commit()

    def search(self, query: str) -> list[Any]:
        """Return rows in which all words occur."""
        words = " ".join(f'"{word}"' for word in query.split())
        found = "SELECT id, kind, moment FROM texts WHERE texts MATCH ? ORDER BY moment DESC"
        return self.connection.execute(found, (words,)).fetchall()


def measure(count: int, rounds: int) -> dict[str, Any]:
    """Return all figures: seconds, or microseconds where the name says so."""
    made = resources(count)
    ann = Identity.generate("ann", suite=POST_QUANTUM)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = Record.create(folder / "record", ann)
        plain = Plain(folder / "plain.sqlite", [])
        seconds: dict[str, float] = {
            "add all": _timed(lambda: record.add_all(made)),
            "add all, plain SQLite": _timed(lambda: plain.add(made)),
        }
        with plain.connection:
            text = FullText(folder / "text.sqlite", made)
        seconds |= _opening(folder / "record", record, ann, rounds)
        record = Record.open(folder / "record", ann)
        micro = _finding(record, plain, text, rounds)
        micro |= _writing(record, plain, made, rounds)
        micro["vector of 5 features"] = _median(lambda: record.vector(_SCHEMA), rounds)
        micro["get"] = _median(lambda: record.get("Observation/o7"), rounds)
        seconds |= _keeping(folder, record, ann)
        record.close()
        plain.connection.close()
        text.connection.close()
    return {
        "resources": count,
        "seconds": seconds,
        "microseconds": {key: value * 1e6 for key, value in micro.items()},
    }


def _opening(path: Path, record: Record, ann: Identity, rounds: int) -> dict[str, float]:
    record.protect("password")
    record.close()

    def opened(key: str | Identity) -> None:
        Record.open(path, key).close()

    return {
        "open": _median(lambda: opened(ann), rounds),
        "open by password": _median(lambda: opened("password"), rounds),
    }


def _finding(record: Record, plain: Plain, text: FullText, rounds: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for query in QUERIES:
        ours = [entry.id for entry in record.search(query)]
        for peer in (plain, text):
            assert [row[0] for row in peer.search(query)] == ours
        times = medians(
            {
                "record": lambda query=query: record.search(query),
                "plain SQLite": lambda query=query: plain.search(query),
                "FTS5": lambda query=query: text.search(query),
            },
            rounds,
        )
        found |= {f"search {query!r} ({len(ours)}), {who}": value for who, value in times.items()}
    return found


def _writing(record: Record, plain: Plain, made: list[Resource], rounds: int) -> dict[str, float]:
    numbers = iter(range(10**6))

    def one() -> Resource:
        return resource_of(made[0].document() | {"id": f"new{next(numbers)}"})

    waiting = [one() for _ in range(2 * rounds + 2)]
    return medians(
        {
            "add one, record": lambda: record.add(waiting.pop()),
            "add one, plain SQLite": lambda: plain.add([waiting.pop()]),
        },
        rounds,
    )


def _keeping(folder: Path, record: Record, ann: Identity) -> dict[str, float]:
    cloud = Cloud.create("cloud", keeper=Keeper(folder / "keeper.sqlite"))
    owner = Subscriber(ann, wallet=folder / "wallet.sqlite")
    introduce(cloud, owner)
    person = Direct(owner, ("cloud", cloud.keeping.answer))
    found = {"first backup": _timed(lambda: backup(record, person))}
    record.replace(resource_of(record.get("Observation/o1").document() | {"status": "amended"}))
    found["next backup, one changed"] = _timed(lambda: backup(record, person))
    found["restore"] = _timed(lambda: restore(folder / "new", ann, person).close())
    owner.close()
    return found


def _timed(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _median(action: Callable[[], Any], rounds: int) -> float:
    return medians({"it": action}, rounds)["it"]


@pytest.mark.benchmark(group="record")
@pytest.mark.parametrize("who", ["record", "plain"])
def test_search(benchmark, tmp_path, who):
    made = resources(300)
    ann = Identity.generate("ann", suite=POST_QUANTUM)
    with Record.create(tmp_path / "record", ann) as record:
        record.add_all(made)
        plain = Plain(tmp_path / "plain.sqlite", made)
        found = benchmark(lambda: (record if who == "record" else plain).search("often"))
        plain.connection.close()
    assert len(found) == sum("often" in each.words for each in made)


def main(
    count: Annotated[int, typer.Option(min=20)] = 10_000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print the figures."""
    found = measure(count, rounds)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("what", "time", title=f"A record of {count:,} resources")
    for name, value in found["seconds"].items():
        table.add_row(name, f"{value:.3f} s")
    for name, value in found["microseconds"].items():
        table.add_row(name, f"{value:,.0f} µs")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
