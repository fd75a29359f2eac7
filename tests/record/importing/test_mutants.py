"""Many files that are nearly right: typed errors, and no more memory than before."""

from __future__ import annotations

import io
import json
import random
import resource
import sys
from datetime import UTC, datetime

import pytest

from ompd.errors import ImportFileError
from ompd.record import fhir
from ompd.record.importing import Mapping, import_file
from tests.record.fhir.examples import EXAMPLES
from tests.record.files import HEAD, RECORDS, TABLE, Box, apple, bundle, zipped
from tests.record.importing.test_tables import GERMAN, MAPPING

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: What elements of any type are put in place of another's value.
STRANGE = [
    *(None, True, 0, -1, 2**31, 10**40, 0.5, 1e300, "", " ", "x", "finall", "\ud7ff\U0001f4a9"),
    *("2024-02-30", "0000", "9999-12-31T23:59:60Z", "a" * 5000, "8867-4", "urn:uuid:", "#"),
    *([], {}, [None], [[]], {"a": {}}, {"resourceType": "Patient"}, {"reference": "Patient/x"}),
    *("Patient/y", "http://loinc.org", {"coding": [{}]}),
]
#: Bytes that mean something in one of the forms.
MARKS = b"\0\n\"',;<>&{}[]:\xff"


def mutated(data, rng):
    """Change some bytes, cut, double or insert."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 | 1:
                data[place : place + 1] = bytes(
                    [rng.choice([0, 10, 34, 39, 44, 60, 62, 123, 255, rng.randrange(256)])]
                )
            case 2:
                del data[place : place + rng.randint(1, 9)]
            case 3:
                data[place:place] = data[place : place + rng.randint(1, 99)]
            case 4:
                data[place:place] = rng.randbytes(rng.randint(1, 9))
            case _:
                if rng.random() < 0.2:
                    del data[place:]
    return bytes(data)


def strange(value, rng):
    """Return a document in which some element is another."""
    places = []

    def walk(inner):
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], (dict, list)):
                walk(inner[key])

    value = json.loads(json.dumps(value))
    walk(value)
    inner, key = rng.choice(places)
    if rng.random() < 0.2:
        del inner[key]
    else:
        inner[key] = rng.choice(STRANGE)
    return value


def files(count, rng):
    """Yield files, mappings for them, and whether to take what is right in them."""
    mapping = Mapping.from_toml(MAPPING)
    xml = apple(RECORDS[:2] + RECORDS[7:8], head=rng.choice([HEAD, ""]))
    archive = zipped(xml)
    for number in range(count):
        partial = rng.random() < 0.5
        match number % 8:
            case 0 | 1 | 2:
                kinds = rng.sample(sorted(EXAMPLES), 2)
                whole = json.loads(bundle([EXAMPLES[kind] for kind in kinds], rng.random() < 0.5))
                yield json.dumps(strange(whole, rng)).encode(), None, partial
            case 3:
                yield mutated(bundle([EXAMPLES[rng.choice(sorted(EXAMPLES))]]), rng), None, partial
            case 4:
                yield mutated(xml, rng), None, partial
            case 5:
                yield mutated(archive, rng), None, partial
            case 6:
                yield mutated(TABLE, rng), None, partial
            case _:
                yield mutated(GERMAN, rng), mapping, partial


def outcome(box, source, **more):
    """Import a file, and return the error, if there is one."""
    try:
        import_file(box, io.BytesIO(source), now=NOW, **more)
    except ImportFileError as error:
        return error
    return None


def run(count, seed, *, again=False):
    refused = 0
    for source, mapping, partial in files(count, random.Random(seed)):  # noqa: S311
        box = Box()
        error = outcome(box, source, mapping=mapping, partial=partial)
        if error is not None:
            # A place and what was expected, but nothing of the file.
            assert len(str(error)) < 400
            assert error.__cause__ is None
            assert not box
            refused += 1
        for each in box.values() if again else ():
            assert fhir.checked(each.json, now=NOW) == each
    # Neither all wrong nor all right, or nothing would have been tried.
    assert count / 10 < refused < count * 0.9


def test_mutated_files():
    run(800, 1, again=True)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_hundred_thousand_mutated_files_in_bounded_memory():
    run(2000, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(98_000, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
