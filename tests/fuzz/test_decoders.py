"""Every decoder and every station under mutated real inputs; replays the kept corpus.

See `targets` for what is asserted. `fuzz_decoders.py` does the same guided by coverage.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ompd.errors import OmpdError
from ompd.schema import Schema
from tests.fuzz import targets

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())
SEEDS = {path.name.removeprefix("seed-"): path.read_bytes() for path in CORPUS if path.is_file()}
SEEDS = {name: data for name, data in SEEDS.items() if name in targets.NAMES}
#: What a length, a sign, a flag or a cap turns on.
BYTES = st.one_of(
    st.integers(0, 255), st.sampled_from([0, 1, 0x1F, 0x20, 0x7F, 0x80, 0xC0, 0xE0, 0xFF])
)
#: Those of a station cost some signatures each.
COSTLY = ("hospital-", "cloud-", "user-", "lying-")
#: Authentic frames of another run's session or table: decoded, verified, and then refused.
STALE = {
    "cloud-answer",
    "hospital-confirm",
    "hospital-report",
    "hospital-report-batch",
    "user-read",
}


@pytest.fixture(autouse=True)
def fresh_world(monkeypatch):
    """No test sees the tables and replays of another."""
    monkeypatch.setattr(targets, "_world", [])
    monkeypatch.setattr(targets, "_uses", 0)


@st.composite
def mutants(draw, name):
    """Change a real input here and there: bytes, cuts, doublings, insertions."""
    data = bytearray(SEEDS[name][1:])
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["set", "set", "set", "bit", "cut", "drop", "insert", "double"]))
        if how == "set" and place < len(data):
            data[place] = draw(BYTES)
        elif how == "bit" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[place:]
        elif how == "drop":
            del data[place : place + draw(st.integers(1, 9))]
        elif how == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=9))
        elif how == "double":
            data[place:place] = data[place : place + draw(st.integers(1, 99))]
    return bytes([targets.NAMES.index(name)]) + bytes(data)


def test_every_target_has_a_seed():
    assert set(SEEDS) == set(targets.NAMES)
    assert len(set(targets.NAMES)) == len(targets.NAMES) <= 256


def test_seeds_are_made_as_the_kept_ones_were():
    """A changed format shows here; then write the seeds anew."""
    assert {f"seed-{name}" for name in SEEDS} == set(targets.seeds())
    for name, data in targets.seeds().items():
        assert len(data) == len(SEEDS[name.removeprefix("seed-")])


@pytest.mark.parametrize("name", targets.NAMES)
def test_seeds_are_accepted(name):
    if name == "lying-nobody":
        # A token that was bought is another in each run.
        with pytest.raises(OmpdError, match=r"not registered"):
            targets.TARGETS[SEEDS[name][0]][1](SEEDS[name][1:])
    elif name in STALE:
        with pytest.raises(OmpdError, match=r"open request|no table under this id|no such upload"):
            targets.TARGETS[SEEDS[name][0]][1](SEEDS[name][1:])
    else:
        assert targets.feed(SEEDS[name])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path):
    """Also what once crashed a decoder."""
    targets.feed(path.read_bytes())


@pytest.mark.parametrize("name", [n for n in targets.NAMES if not n.startswith(COSTLY)])
@given(data=st.data())
def test_mutants_of_decoders(name, data):
    targets.feed(data.draw(mutants(name)))


@pytest.mark.parametrize("name", [n for n in targets.NAMES if n.startswith(COSTLY)])
@settings(max_examples=25)
@given(data=st.data())
def test_mutants_at_the_stations(name, data):
    targets.feed(data.draw(mutants(name)))


@given(name=st.sampled_from(targets.NAMES), data=st.binary(max_size=400))
def test_noise(name, data):
    targets.feed(bytes([targets.NAMES.index(name)]) + data)


@pytest.mark.parametrize("name", ["hospital-forward", "cloud-store", "lying-user", "lying-cloud"])
def test_a_refused_frame_leaves_the_station_at_work(name):
    """After a hundred bad frames, a good exchange still goes through."""
    world = targets.world()
    for place in range(0, len(SEEDS[name]) - 1, 1 + len(SEEDS[name]) // 100):
        changed = bytearray(SEEDS[name])
        changed[place + 1] ^= 0x55
        targets.feed(bytes(changed))
    assert targets.world() is world
    world.ask()
    *_, report = world.frames()
    assert len(world.user.read(report)) == 2


@given(st.one_of(st.text(), st.from_type(type(None)), st.integers(), st.lists(st.text())))
@example("\ud800")
@example(None)
def test_schema_refuses_whatever_is_no_schema(value):
    with pytest.raises(OmpdError):
        Schema.from_json(value)
