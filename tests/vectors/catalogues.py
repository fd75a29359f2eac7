"""Catalogues of the test hospital: one that everybody accepts, and those that nobody may."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ompd.schema import Feature, Schema
from ompd.wire import Entry

LABEL = b"ompd/catalogue/3\x00"
TAG = "ompd-catalogue-3"
DAY = 86_400_000
SCHEMA = Schema(
    (
        Feature("age", "numeric", 0, 120, unit="years", about="at admission", code="loinc|30525-0"),
        Feature("sex", "nominal", 0, 1, levels=("female", "male")),
        Feature("stage", "ordinal", 1, 4),
        Feature("smoker", "nominal", 0, 1, levels=("False", "True"), missing="level"),
        Feature("since surgery", "ordinal", 0, 20_000, since="1990-01-01", missing="median"),
    ),
    ("healthy", "ill"),
)
ENTRIES = [
    Entry.of(
        "flu", SCHEMA, profile="sealed", method="evidence", k=31, most_rows=1024, epsilon=None
    ),
    Entry.of(
        "fièvre", SCHEMA, profile="hardened", method="relief-mw", k=9, most_rows=100_000,
        epsilon=0.5,
    ),
]  # fmt: skip


def plain(entry: Entry) -> list[object]:
    """An entry as lists, which a test may spoil."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(entry))


def crafted(key, content, *, hospital, made_at, valid_until=None, label=LABEL, tag=TAG, more=()):
    """Any content under a good signature: written out here, as PROTOCOL.md says it."""
    data = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
    until = made_at + DAY if valid_until is None else valid_until
    signed = msgspec.msgpack.encode([tag, hospital, made_at, until, data, *more])
    return signed + key.sign(label + signed)


def spoiled(place: int, value: object) -> list[object]:
    """The content with another value in its first entry."""
    entry = plain(ENTRIES[0])
    entry[place] = value
    return [entry]


def column(place: int, value: object) -> list[object]:
    """The content with another value in the first feature of its first entry."""
    entry = plain(ENTRIES[0])
    entry[1][0][place] = value
    return [entry]


def failures(people, key_of, now: int) -> Iterator[tuple[str, str, bytes]]:
    """Name, error and bytes of catalogues that a user must refuse.

    Parameters
    ----------
    people : iterable of str
        Names of the parties; "mallory" is not registered.
    key_of : callable
        From a name to a signing key.
    now : int
        Milliseconds since the epoch.
    """
    assert "mallory" in people
    key = key_of("hospital")
    content = [plain(ENTRIES[1]), plain(ENTRIES[0])]

    def by(content, **options):
        options = {"hospital": "hospital", "made_at": now} | options
        return crafted(options.pop("key", key), content, **options)

    good = by(content)
    yield "empty", "FramingError", b""
    yield "signature alone", "FramingError", good[-96:]
    yield "last byte missing", "FramingError", good[:-1]
    yield "byte behind it", "FramingError", good + b"\0"
    yield "another version", "FramingError", by(content, tag="ompd-catalogue-2")
    yield "field too many", "FramingError", by(content, more=[0])
    yield "valid for too long", "FramingError", by(content, valid_until=now + 90 * DAY + 1)
    yield "valid never", "FramingError", by(content, valid_until=now)
    yield "stranger", "UnknownKeyError", by(content, hospital="mallory", key=key_of("mallory"))
    yield "of a cloud", "RoleError", by(content, hospital="cloud", key=key_of("cloud"))
    yield "expired", "ExpiredError", by(content, made_at=now - DAY)
    yield "from the future", "ExpiredError", by(content, made_at=now + 300_001)
    yield "signed by another", "SignatureError", by(content, key=key_of("mallory"))
    yield "signed as a frame", "SignatureError", by(content, label=b"ompd frame v1\x00")
    yield "changed", "SignatureError", good.replace(b"flu", b"flv")
    yield "of another time", "SignatureError", by(content, made_at=now + 1)[:-96] + good[-96:]
    yield "signature at infinity", "SignatureError", good[:-96] + b"\xc0" + bytes(95)
    yield "no list", "FramingError", by(7)
    yield "content cut", "FramingError", by(msgspec.msgpack.encode(content)[:-1])
    yield "content longer", "FramingError", by(msgspec.msgpack.encode(content) + b"\0")
    long = msgspec.msgpack.encode([plain(ENTRIES[0])])
    yield "length in two bytes", "NonCanonicalError", by(long.replace(b"\xa3flu", b"\xd9\3flu"))
    yield "disease twice", "FramingError", by([content[1], content[1]])
    yield "order of diseases", "FramingError", by(content[::-1])
    yield "disease in NFD", "NonCanonicalError", by(spoiled(0, "fie\u0300vre"))
    yield "disease of another direction", "SchemaError", by(spoiled(0, "flu\u202e"))
    yield "no features", "FramingError", by(spoiled(1, []))
    yield "class twice", "SchemaError", by(spoiled(2, ["ill", "ill"]))
    yield "class twice in NFC", "SchemaError", by(spoiled(2, ["\u00e9", "e\u0301"]))
    yield "no such profile", "FramingError", by(spoiled(3, "open"))
    yield "no such method", "FramingError", by(spoiled(4, "guess"))
    yield "no neighbours", "FramingError", by(spoiled(5, 0))
    yield "no rows", "FramingError", by(spoiled(6, 0))
    yield "blind without cells", "FramingError", by(spoiled(3, "blind"))
    yield "cells of a table", "FramingError", by(spoiled(8, [bytes(16), [[]] * 5, 8, 20]))
    yield "noise that is no number", "FramingError", by(spoiled(7, float("nan")))
    yield "name with a line break", "SchemaError", by(column(0, "age\n"))
    yield "name too long", "FramingError", by(column(0, "a" * 256))
    yield "domain upside down", "SchemaError", by(column(2, 121.0))
    yield "domain without end", "SchemaError", by(column(3, float("inf")))
    yield "whole number as domain", "NonCanonicalError", by(column(2, 0))
    yield "levels of a number", "SchemaError", by(column(6, ["a", "b"]))
    yield "no such day", "SchemaError", by(column(7, "1990-02-30"))
    yield "no such rule", "FramingError", by(column(8, "guess"))
    yield "level of a number", "SchemaError", by(column(8, "level"))
    yield "code without terminology", "SchemaError", by(column(9, "30525-0"))
    yield "feature of version 2", "FramingError", by(spoiled(1, [plain(ENTRIES[0])[1][0][:-1]]))
