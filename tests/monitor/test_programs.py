"""Programs: what is refused, and that encrypted ones advise as plain ones do."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import random
import secrets

import msgspec
import numpy as np
import pytest

from ompd.errors import (
    ContextMismatchError,
    DomainError,
    FeatureError,
    FramingError,
    ProgramError,
)
from ompd.monitor import BITS, Attribute, Card, Program, ProgramSecret, encrypt, walk
from ompd.monitor import encrypted as walked
from ompd.monitor.encrypted import NODE_BYTES, inputs
from tests.marks import long
from tests.monitor import programs

PARTIES = {"company": "acme", "authority": "ta", "cloud": "cloud", "tokens": bytes(48)}


def encrypted(program):
    secret = ProgramSecret(secrets.token_bytes(32), secrets.token_bytes(16), 7)
    content, card = encrypt(program, secret, **PARTIES)
    return secret, content, card


def asked(secret, content, card, values):
    """Walk with the function's outputs, as if they had been bought."""
    outputs = {}
    while True:
        advice, attribute = walk(card, content, outputs)
        if advice is not None:
            return advice, outputs
        index = card.attributes[attribute].index(values[card.attributes[attribute].name])
        outputs[attribute] = [secret.evaluator.output(m) for m in inputs(card, attribute, index)]


def outputs(secret, card, attribute, index):
    return [secret.evaluator.output(each) for each in inputs(card, attribute, index)]


class Remembered:
    """An evaluator that computes each value once."""

    def __init__(self, evaluator):
        self.public = evaluator.public
        self.output = functools.cache(evaluator.output)


@pytest.mark.parametrize("seed", [0, *long(*range(1, 11))])
def test_random_programs_advise_as_plain_ones(seed):
    """Sixty, and in the long run ten thousand."""
    rng = random.Random(seed)  # noqa: S311
    secret = ProgramSecret(secrets.token_bytes(32), secrets.token_bytes(16), 7)
    secret.evaluator = Remembered(secret.evaluator)
    depths = set()
    for number in range(1000 if seed else 60):
        depth = rng.choice([0, 1, 2, 2, 3, 4]) if number % 20 else rng.randint(5, 10)
        tops = [rng.choice([programs.TOP, 1, 2, 255]) for _ in range(4)]
        source = programs.random_program(rng, depth, tops=tops)
        program = Program.from_json(programs.text(source))
        content, card = encrypt(program, secret, **PARTIES)
        for _ in range(2):
            values = programs.random_values(rng, source)
            expected = programs.plain(source, values)
            assert program.advise(values) == expected
            assert asked(secret, content, card, values)[0] == expected
        depths.add(depth)
    assert 0 in depths
    assert max(depths) > 5 or not seed


def chain(depth):
    """A program of that many comparisons in a row, all on one attribute."""
    nodes = {f"n{k}": {"attribute": "a0", "at_most": k, "then": f"l{k}", "else": f"n{k + 1}"}
             for k in range(depth)}  # fmt: skip
    nodes |= {f"l{k}": {"advice": f"{k}"} for k in range(depth)}
    nodes[f"n{depth}"] = {"advice": "last"}
    return {"name": "chain", "attributes": programs.attributes(1), "root": "n0", "nodes": nodes}


def test_a_chain_asks_for_its_attribute_once():
    program = Program.from_json(programs.text(chain(10)))
    for value, advice in ((0, "0"), (9, "9"), (10, "last"), (65_535, "last")):
        found, outputs = asked(*encrypted(program), {"a0": value})
        assert found == advice
        assert list(outputs) == [0]


def test_one_leaf_needs_nothing():
    source = {"name": "x", "attributes": programs.attributes(1), "root": "r",
              "nodes": {"r": {"advice": "see a doctor"}}}  # fmt: skip
    _, content, card = encrypted(Program.from_json(programs.text(source)))
    assert walk(card, content, {}) == ("see a doctor", -1)
    assert len(content) == 16 * NODE_BYTES


def small(**changes):
    source = {
        "name": "small",
        "attributes": [{"name": "rate", "low": 20, "high": 300, "unit": "1/min"},
                       {"name": "temperature", "low": 30, "high": 45, "step": 0.1}],
        "root": "r",
        "nodes": {"r": {"attribute": "rate", "at_most": 100, "then": "a", "else": "b"},
                  "a": {"advice": "calm"},
                  "b": {"attribute": "temperature", "at_most": 38.5, "then": "c", "else": "d"},
                  "c": {"advice": "rest"}, "d": {"advice": "doctor"}},
    }  # fmt: skip
    for path, value in changes.items():
        place = source
        *keys, last = path.split("__")
        for key in keys:
            place = place[int(key) if isinstance(place, list) else key]
        if value is None:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value
    return source


BAD = {
    "no name": {"name": None},
    "empty name": {"name": ""},
    "unknown field": {"extra": 1},
    "no attributes": {"attributes": []},
    "two attributes of a name": {"attributes__1__name": "rate"},
    "low above high": {"attributes__0__low": 301},
    "low is a text": {"attributes__0__low": "20"},
    "no step": {"attributes__0__step": 0},
    "step does not divide": {"attributes__0__step": 0.3},
    "too many steps": {"attributes__0__high": 70_000},
    "unknown root": {"root": "z"},
    "missing node": {"nodes__a": None},
    "node without parent": {"nodes__z": {"advice": "never"}},
    "cycle": {"nodes__b__else": "r"},
    "own child": {"nodes__b__else": "b"},
    "two parents": {"nodes__b__else": "c"},
    "both branches alike": {"nodes__r__else": "a", "nodes__b": None},
    "unknown attribute": {"nodes__r__attribute": "age"},
    "threshold off the grid": {"nodes__r__at_most": 100.5},
    "threshold below": {"nodes__r__at_most": 19},
    "threshold above": {"nodes__r__at_most": 301},
    "threshold is a text": {"nodes__r__at_most": "100"},
    "threshold is true": {"nodes__r__at_most": True},
    "else cannot be reached": {"nodes__r__at_most": 300},
    "contradiction": {"nodes__b__attribute": "rate", "nodes__b__at_most": 90},
    "same comparison twice": {"nodes__b__attribute": "rate", "nodes__b__at_most": 100},
    "no else": {"nodes__r__else": None},
    "advice and comparison": {"nodes__r__advice": "x"},
    "advice is a number": {"nodes__a__advice": 5},
    "empty advice": {"nodes__a__advice": ""},
    "long advice": {"nodes__a__advice": "x" * 577},
    "advice long in bytes": {"nodes__a__advice": "é" * 300},
    "node is a list": {"nodes__a": []},
    "advice moves the cursor": {"nodes__a__advice": "calm\x1b[2J"},
    "advice with half a character": {"nodes__a__advice": "calm\ud800"},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_bad_programs_are_refused(changes):
    if "nodes__r__else" in changes and changes.get("nodes__b", 0) is None:
        source = small(nodes__r__else="a")
        for name in "bcd":
            del source["nodes"][name]
    else:
        source = small(**changes)
    with pytest.raises(ProgramError):
        Program.from_json(programs.text(source))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        "null",
        b"\xff",
        5,
        None,
        "[" * 100_000,
        '{"nodes":' * 100_000,
        '{"nodes":{"a":' + "[" * 100_000,
        '{"name":"' + "[" * 100_000,
        "]" * 10,
        '"' + "\\" * 99,
    ],
)
def test_what_is_no_program_is_refused(data):
    with pytest.raises(ProgramError):
        Program.from_json(data)


@pytest.mark.parametrize(
    ("once", "twice"),
    [
        ('"a":{"advice":"calm"}', '"a":{"advice":"calm"},"a":{"advice":"rest"}'),
        ('"at_most":100', '"at_most":100,"at_most":101'),
        ('"root":"r"', '"root":"a","root":"r"'),
        # Longer than Python makes an integer of.
        ('"at_most":100', '"at_most":1' + "0" * 5000),
    ],
)
def test_a_name_that_is_there_twice_is_refused(once, twice):
    """One of them would count, silently."""
    text = json.dumps(small(), separators=(",", ":"))
    Program.from_json(text)
    assert once in text
    with pytest.raises(ProgramError):
        Program.from_json(text.replace(once, twice))


def test_a_dishonest_company_moves_no_cursor():
    program = Program.from_json(programs.text(small()))
    nodes = tuple("calm\x1b[2J" if node == "calm" else node for node in program.nodes)
    forged = dataclasses.replace(program, nodes=nodes)
    with pytest.raises(ProgramError):
        asked(*encrypted(forged), {"rate": 70, "temperature": 37})


def test_numbers_of_numpy_count_as_others():
    program = Program.from_json(programs.text(small()))
    for number in (np.float64(120.0), np.float32(120), np.int64(120), np.uint8(120), 120):
        assert program.advise({"rate": number, "temperature": np.float64(38.5)}) == "rest"


def test_depth_is_bounded():
    Program.from_json(programs.text(chain(64)))
    with pytest.raises(ProgramError):
        Program.from_json(programs.text(chain(65)))


def test_values_count_as_the_decimals_they_print_as():
    program = Program.from_json(programs.text(small()))
    for temperature, advice in ((38.5, "rest"), (38.500001, "doctor"), (38.6, "doctor")):
        values = {"rate": 120, "temperature": temperature}
        assert program.advise(values) == advice
        assert asked(*encrypted(program), values)[0] == advice
    assert program.advise({"rate": 100.0}) == "calm"
    assert program.advise({"rate": 100.5, "temperature": 30}) == "rest"


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, FeatureError),
        ({"rate": "71"}, FeatureError),
        ({"rate": True}, FeatureError),
        ({"rate": float("nan")}, FeatureError),
        ({"rate": float("inf")}, FeatureError),
        ({"rate": 10**400}, FeatureError),
        ({"rate": np.True_}, FeatureError),
        ({"rate": 70j}, FeatureError),
        ({"rate": 19.9}, DomainError),
        ({"rate": 301}, DomainError),
    ],
)
def test_bad_values(values, error):
    with pytest.raises(error):
        Program.from_json(programs.text(small())).advise(values)


def test_all_nodes_look_alike():
    content = encrypted(Program.from_json(programs.text(small())))[1]
    assert len(content) == 16 * NODE_BYTES
    nodes = {content[k : k + NODE_BYTES] for k in range(0, len(content), NODE_BYTES)}
    assert len(nodes) == 16
    for text in (b"calm", b"doctor", b"rate"):
        assert text not in content


def test_places_tell_nothing():
    """Neither which node comes first, nor which row is which, is the same each time."""
    program = Program.from_json(programs.text(small()))
    firsts, rows = set(), set()
    for _ in range(12):
        secret, content, card = encrypted(program)
        firsts.add(card.first)
        plain = walked._opened(card, content, card.first, card.root)
        found = [
            walked._mark_and_pad(output, card.first)[0] for output in outputs(secret, card, 0, 51)
        ]
        marks = [plain[3 + 34 * k : 19 + 34 * k] for k in range(BITS + 1)]
        (place,) = [marks.index(mark) for mark in found if mark in marks]
        rows.add(place)
    # Of 16 places and 17 rows; all alike once in 10**13 runs.
    assert len(firsts) > 1
    assert len(rows) > 1


def test_two_nodes_have_no_row_in_common():
    """Else who has opened both would see which bits their thresholds share, and use a pad twice."""
    source = small(
        nodes__b__attribute="rate", nodes__b__at_most=101,
    )  # fmt: skip
    secret, content, card = encrypted(Program.from_json(programs.text(source)))
    place, key = card.first, card.root
    seen = []
    values = outputs(secret, card, 0, 81)
    for _ in range(2):
        rows = walked._opened(card, content, place, key)[3:]
        seen += [rows[34 * k : 34 * k + 16] for k in range(BITS + 1)]
        place, key = walked._next(rows, place, values)
    assert len(set(seen)) == 2 * (BITS + 1)


def test_damage_is_found():
    program = Program.from_json(programs.text(small()))
    _, content, card = encrypted(program)
    for other in (content[:-1] + b"\0", b"", content + content):
        with pytest.raises(ContextMismatchError):
            walk(card, other, {})
    # A dishonest company signs another digest: what does not open is refused.
    spoiled = bytes(len(content))
    bad = msgspec.structs.replace(card, digest=hashlib.sha256(spoiled).digest())
    with pytest.raises(ProgramError):
        walk(bad, spoiled, {})
    # Outputs of another value of another program have no row.
    advice, attribute = walk(card, content, {})
    assert advice is None
    with pytest.raises(ProgramError):
        walk(card, content, {attribute: [bytes(64)] * BITS})


def test_cards_have_one_encoding():
    card = encrypted(Program.from_json(programs.text(small())))[2]
    assert Card.from_bytes(card.to_bytes()) == card
    assert repr(card) == "<Card>"
    for wrong in (b"", card.to_bytes()[:-1], card.to_bytes() + b"\0", "card"):
        with pytest.raises(FramingError):
            Card.from_bytes(wrong)


def test_another_epoch_or_program_is_another_function():
    program = Program.from_json(programs.text(small()))
    seed, name = secrets.token_bytes(32), secrets.token_bytes(16)
    first = encrypt(program, ProgramSecret(seed, name, 7), **PARTIES)
    again = encrypt(program, ProgramSecret(secrets.token_bytes(32), name, 8), **PARTIES)
    secret = ProgramSecret(seed, name, 7)
    outputs = {0: [secret.evaluator.output(m) for m in inputs(first[1], 0, 71)]}
    assert walk(first[1], first[0], outputs)[0] == "calm"
    with pytest.raises(ProgramError):
        walk(again[1], again[0], outputs)


@pytest.mark.parametrize(
    "attribute",
    [
        Attribute("a", 0, 65_535),
        Attribute("a", -1, 1, 0.5),
        Attribute("a", 5, 5),
        Attribute("a", 0, 6553.5, 0.1),
    ],
    ids=str,
)
def test_numbers_of_values_and_thresholds_agree(attribute):
    attribute.check()
    assert attribute.index(attribute.low) == 0
    assert attribute.index(attribute.high) == attribute.last == attribute.threshold(attribute.high)
