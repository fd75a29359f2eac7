"""What a frame may cost its recipient, whoever sent it."""

from __future__ import annotations

import os
import tracemalloc
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    FramingError,
    OmpdError,
    TooLargeError,
    UnknownKeyError,
)
from ompd.roles.reports import longest
from ompd.roles.retrieval import Way
from ompd.search import ballots
from ompd.stores import FolderTables, MemoryTables
from ompd.stores.tables.sealed import SealedStored
from ompd.wire import (
    CAPS,
    MAX_BATCH,
    SIGNATURE_BYTES,
    Frame,
    HardenedUpload,
    Header,
    Kind,
    Query,
    Receipt,
    Report,
    SealedJob,
    SealedUpload,
    decode_body,
    encode_body,
    encode_signed_part,
    sums_cap,
)
from tests.roles.conftest import World, instances, post_of
from tests.roles.test_profiles import population

MIB = 1 << 20
#: Long enough to show in any copy; what is measured does not depend on it.
LONG = 32 * MIB


def unsigned(world, which, who, whom, size, **changes):
    """A well-formed frame of so many bytes under no good signature."""
    header = Header(1, which, who, whom, b"n" * 16, int(world.clock.now * 1000), 1)
    header = msgspec.structs.replace(header, **changes)
    start = encode_signed_part(header, b"")[0][:-2]
    if size < 1 << 16:
        ciphertext = bytes(size - len(start) - 3 - SIGNATURE_BYTES)
        return encode_signed_part(header, ciphertext)[0] + bytes(SIGNATURE_BYTES)
    length = size - len(start) - 5 - SIGNATURE_BYTES
    return b"".join((start, b"\xc6", length.to_bytes(4, "big"), bytes(size - len(start) - 5)))


def cost(action, *arguments):
    """Bytes that a refusal took at its peak, and what was raised."""
    tracemalloc.start()
    try:
        with pytest.raises(OmpdError) as caught:
            action(*arguments)
        return tracemalloc.get_traced_memory()[1], caught.value
    finally:
        tracemalloc.stop()


def stations(world):
    """Every method that takes a frame off the network, with a kind of frame that it takes."""
    hospital, cloud, user = world.hospital, world.cloud, world.user
    return [
        (cloud.store, Kind.PAPER_UPLOAD),
        (cloud.store, Kind.HARDENED_UPLOAD),
        (cloud.store, Kind.SEALED_UPLOAD),
        (cloud.answer, Kind.PAPER_JOB),
        (cloud.answer, Kind.HARDENED_JOB),
        (cloud.answer, Kind.SEALED_JOB),
        (cloud.refuse, Kind.SEALED_JOB),
        (hospital.forward, Kind.QUERY),
        (hospital.refuse, Kind.QUERY),
        (hospital.report, Kind.VERDICT),
        (hospital.report, Kind.SEALED_ANSWER),
        (hospital.report_batch, Kind.SEALED_ANSWER),
        (hospital.renewed, Kind.SEALED_ANSWER),
        (hospital.confirm, Kind.RECEIPT),
        (user.read, Kind.REPORT),
    ]


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_a_strangers_largest_frame_costs_less_than_a_mebibyte(world, form):
    for station, kind in stations(world):
        size = min(CAPS[kind], LONG)
        data = form(unsigned(world, kind, "nobody", station.__self__.id, size))
        spent, error = cost(station, data)
        assert isinstance(error, UnknownKeyError), station
        assert spent < MIB, station


def test_so_does_a_frame_that_is_late_misdirected_or_by_the_wrong_party(world):
    now = int(world.clock.now * 1000)
    for changes in (
        {"timestamp": now - 10**9},
        {"timestamp": now + 10**9},
        {"recipient": "st-john"},
        {"sender": "cloud"},
        {"version": 2},
        {"kind": Kind.QUERY},
    ):
        data = unsigned(world, Kind.SEALED_UPLOAD, "st-mary", "cloud", LONG, **changes)
        assert cost(world.cloud.store, data)[0] < MIB, changes


def test_an_answer_that_nobody_waits_for_is_not_read():
    """Not even under a known party's name, for which a signature would have to be verified."""
    world = World(profile="sealed")
    for station, kind, sender in (
        (world.hospital.report, Kind.SEALED_ANSWER, "cloud"),
        (world.hospital.report_batch, Kind.SEALED_ANSWER, "cloud"),
        (world.hospital.renewed, Kind.SEALED_ANSWER, "cloud"),
        (world.user.read, Kind.REPORT, "st-mary"),
    ):
        data = unsigned(world, kind, sender, station.__self__.id, min(CAPS[kind], LONG))
        spent, error = cost(station, data)
        assert isinstance(error, ContextMismatchError)
        assert spent < MIB


@pytest.mark.parametrize("profile", ["sealed", "hardened", "paper"])
def test_an_answer_longer_than_any_to_its_job_is_not_read(profile):
    world = World(profile=profile)
    world.publish("flu", population() if profile == "sealed" else None, k=5)
    job = world.hospital.forward(world.user.ask("st-mary", "flu", [5, 5, 5]))
    nonce = Frame.decode(job, Kind.SEALED_JOB, Kind.PAPER_JOB, Kind.HARDENED_JOB).header.nonce
    kind = Kind.SEALED_ANSWER if profile == "sealed" else Kind.VERDICT
    size = min(CAPS[kind], LONG)
    data = unsigned(world, kind, "cloud", "st-mary", size, nonce=nonce, sequence=0)
    for station in (world.hospital.report, world.hospital.report_batch):
        spent, error = cost(station, data)
        assert isinstance(error, TooLargeError)
        assert spent < MIB
    # It changed nothing: the true answer is still read.
    assert world.user.read(world.hospital.report(world.cloud.answer(job)))
    # Nor is one that comes after its job was given up, while the reports on that are still here.
    job = world.hospital.forward(world.user.ask("st-mary", "flu", [5, 5, 5]))
    nonce = Frame.decode(job, Kind.SEALED_JOB, Kind.PAPER_JOB, Kind.HARDENED_JOB).header.nonce
    world.clock.now += 100
    world.hospital.forward(world.user.ask("st-mary", "flu", [5, 5, 5]))
    data = unsigned(world, kind, "cloud", "st-mary", size, nonce=nonce, sequence=0)
    for station in (world.hospital.report, world.hospital.report_batch):
        spent, error = cost(station, data)
        assert isinstance(error, TooLargeError)
        assert spent < MIB
    assert len(world.hospital.collect()) == 1


def test_a_window_longer_than_the_table_is_not_read():
    world = World(profile="sealed")
    world.publish("flu", population(), k=5)
    request = world.hospital.renew("flu")
    nonce = Frame.decode(request, Kind.SEALED_JOB).header.nonce
    data = unsigned(world, Kind.SEALED_ANSWER, "cloud", "st-mary", LONG, nonce=nonce, sequence=0)
    spent, error = cost(world.hospital.renewed, data)
    assert isinstance(error, TooLargeError)
    assert spent < MIB
    world.hospital.renewed(world.cloud.answer(request))


def test_a_frame_that_changes_while_it_is_read_is_refused(world):
    data = bytearray(world.user.ask("st-mary", "flu", [1, 2, 3]))
    place = data.index(b"st-mary")

    def admit(_header, _size):
        data[place] ^= 1

    with pytest.raises(FramingError, match="was changed"):
        Frame.decode(data, Kind.QUERY, admit=admit)


def test_a_frame_may_be_any_buffer_that_is_in_one_piece(world):
    data = world.user.ask("st-mary", "flu", [1, 2, 3])
    for form in (bytes, bytearray, memoryview, lambda raw: memoryview(np.frombuffer(raw, "u1"))):
        assert Frame.decode(form(data), Kind.QUERY) == Frame.decode(data, Kind.QUERY)
    with pytest.raises(FramingError, match="follow one another"):
        Frame.decode(memoryview(data)[::2], Kind.QUERY)


def test_the_length_of_reports_takes_one_of_them_however_many_classes(monkeypatch):
    """It took one per class: a query of 2000 rows on 1000 classes cost 20 seconds."""
    made = []

    def counted(body, *arguments):
        made.append(body)
        return encode_body(body, *arguments)

    world = World(profile="hardened")
    classes = [f"{'c' * (9 * i % 40)} {i}" for i in range(30)]
    advice = {name: "a" * (37 * i % 300) for i, name in enumerate(classes)}
    world.publish(data=instances(rows=120, classes=classes), advice=advice)
    table = world.hospital.tables["flu"]
    monkeypatch.setattr("ompd.roles.reports.encode_body", counted)
    for rows in (1, 2):
        found = longest(table, rows)
        (body,) = made
        made.clear()
        tried = [
            len(encode_body(msgspec.structs.replace(body, findings=findings)))
            for findings in combinations(table.findings, rows)
        ]
        assert found == max(tried) > min(tried)


def upload(fetches, bucket_bytes=MIB, chunk=4):
    size = bucket_bytes * chunk
    return SealedUpload(b"t" * 16, 1, bucket_bytes, 1, chunk, fetches, 0, bytes(size))


def test_a_short_request_gets_no_answer_of_gigabytes():
    """2046 sums of 1 MiB were asked for by 4.3 KB and took 10 GB."""
    body = upload(1)
    values = np.frombuffer(body.buckets, np.uint8)
    stored = SealedStored.of(body, values, np.empty(0, np.uint16), ballots)
    most = sums_cap(4 * MIB) // MIB
    assert most == 16
    each = stored.layout.request_bytes
    assert stored.prepare(SealedJob(b"t" * 16, 1, False, bytes(each * most)))
    for sums in (most + 1, 256, 2046):
        with pytest.raises(TooLargeError, match="answer"):
            stored.prepare(SealedJob(b"t" * 16, 1, False, bytes(each * sums)))


@pytest.mark.parametrize("fetches", [16 * MIB // 64 + 1, (2**31 - 2**20) // 64, 2**32])
def test_a_layout_whose_single_answer_costs_too_much_is_not_stored(fetches):
    with pytest.raises(TooLargeError):
        SealedStored.piece(upload(fetches, bucket_bytes=64, chunk=1))
    assert SealedStored.piece(upload(16 * MIB // 64, bucket_bytes=64, chunk=1))


def test_a_large_table_may_be_fetched_to_its_own_size():
    assert sums_cap(0) == 16 * MIB
    assert sums_cap(300 * MIB) == 300 * MIB
    assert sums_cap(1 << 40) < CAPS[Kind.SEALED_ANSWER]


def test_hospitals_ask_for_no_more_than_clouds_answer():
    world = World(profile="sealed")
    world.publish("flu", population(), k=5)
    retrieval = world.hospital.tables["flu"].retrieval
    layout = retrieval.table.layout
    assert layout.fetches
    assert retrieval.most == MAX_BATCH
    # What goes through hints is shorter than the table, and that can be had in any case.
    most = max(rows for rows in range(1, 100) if retrieval.way(rows) is Way.SHARED)
    assert most * layout.answer_bytes <= layout.table_bytes <= sums_cap(layout.table_bytes)
    for rows in (layout.window + 1, 10 * layout.window):
        query = world.user.ask("st-mary", "flu", [[5, 5, 5]] * rows)
        job = world.hospital.forward(query)
        found = world.user.read(world.hospital.report(world.cloud.answer(job)))
        assert len(found) == rows


def piece(rows, count, first=0, coordinates=64, **changes):
    """A part of a table that announces so many rows of 64 numbers."""
    body = HardenedUpload(
        b"t" * 16, 1, coordinates, 2, 3, rows, first, bytes(2 * count),
        bytes(8 * coordinates * count),
    )  # fmt: skip
    return msgspec.structs.replace(body, **changes)


@pytest.fixture(params=["memory", "folder"])
def lent(request, tmp_path):
    """A hospital that the cloud knows, with what it says to the cloud, and the cloud's folder."""
    folder = tmp_path / "tables"
    world = World(profile="hardened")
    tables = FolderTables(folder) if request.param == "folder" else MemoryTables()
    cloud = ompd.Cloud.create("lender", tables=tables, clock=world.clock)
    ompd.introduce(cloud, world.hospital)

    def store(body, nonce=b"n" * 16):
        frame = post_of(world.hospital).send("lender", body, nonce=nonce, sequence=0)
        answer = Frame.decode(cloud.store(frame), Kind.RECEIPT)
        return post_of(world.hospital).open(answer, Receipt).have

    yield store, folder
    cloud.close()


def occupied(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))


@pytest.mark.parametrize("rows", [1 << 28, 2**32 - 1])
def test_a_table_that_is_announced_too_large_costs_nothing(lent, rows):
    store, folder = lent
    before = occupied(folder)
    spent, error = cost(store, piece(rows, 100))
    assert isinstance(error, TooLargeError)
    assert spent < MIB
    assert occupied(folder) == before


def resident():
    """Bytes of memory that are in use, without what was only asked for."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_what_is_announced_takes_no_room_before_it_is_there(lent):
    store, folder = lent
    # 1.5 GiB are announced, and 50 KB come, and again what is there or has no place yet.
    rows = 3 << 20
    before = resident()
    assert store(piece(rows, 100)) == 100
    for first in (0, 0, 200, rows - 100):
        assert store(piece(rows, 100, first)) == 100
    assert resident() - before < 32 * MIB
    assert occupied(folder) < MIB


def test_another_table_in_the_same_place_frees_what_was_there(lent):
    store, folder = lent
    body = piece(3 << 20, 20_000)
    store(body)
    before = resident()
    for number in range(10):
        assert store(body, bytes([number]) * 16) == 20_000
    # Ten times 10 MB came.
    assert resident() - before < 64 * MIB
    assert occupied(folder) < 16 * MIB


def test_a_table_does_not_come_in_crumbs(lent, monkeypatch):
    """Each piece costs a look at all before: a million of one row would rewrite terabytes."""
    monkeypatch.setattr("ompd.stores.tables.staging._FEW_PIECES", 5)
    store, _ = lent
    for first in range(5):
        assert store(piece(1 << 20, 1, first)) == first + 1
    # Nor by pieces that overlap nearly as a whole.
    for body in (piece(1 << 20, 1, 5), piece(1 << 20, 6)):
        with pytest.raises(TooLargeError, match="a MiB or more"):
            store(body)
    assert store(piece(1 << 20, 1, 4)) == 5
    # What comes in proper pieces may be as long as it likes.
    assert store(piece(1 << 20, 6000), b"o" * 16) == 6000
    for turn in range(1, 8):
        assert (
            store(piece(1 << 20, 2500, 6000 + 2500 * (turn - 1)), b"o" * 16) == 6000 + 2500 * turn
        )


def claimed(prefix, count):
    """A list that says it is long."""
    return prefix + b"\xdd" + count.to_bytes(4, "big")


def test_lists_in_a_report_cost_no_more_than_their_bytes():
    """A name of one letter takes two bytes on the wire and sixty in memory."""
    letters = claimed(b"\x99\x01", 1 << 20) + b"\xa1a" * (1 << 20) + b"\x80"
    for data in (letters, claimed(b"\x99\x01", 2**32 - 1) + b"\x80"):
        spent, error = cost(decode_body, Report, data)
        assert isinstance(error, FramingError)
        assert spent < len(data) + MIB


def test_a_report_on_many_classes_takes_a_small_multiple_of_its_bytes(world):
    rows, classes = 100, 3000
    query = world.user.ask("st-mary", "flu", [[1.0]] * rows)
    sent = Frame.decode(query, Kind.QUERY)
    asked = post_of(world.hospital).open(sent, Query)
    votes = np.zeros((rows, classes), "<u2")
    votes[:, 1] = 3
    body = Report(
        3, tuple(f"c{i}" for i in range(classes)), (("c1", ""),), bytes(2 * rows),
        votes.tobytes(), bytes(8 * rows * classes), bytes(rows), bytes(2 * rows),
    )  # fmt: skip
    report = post_of(world.hospital).send(
        "alice", body, nonce=sent.header.nonce, sequence=sent.header.sequence,
        encrypt_to=asked.reply_key,
    )  # fmt: skip
    tracemalloc.start()
    diagnoses = world.user.read(report)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2 * len(report)
    assert peak < 8 * len(report)
    assert diagnoses[99].votes["c1"] == 3
    assert dict(diagnoses[0].votes) == {f"c{i}": 3 * (i == 1) for i in range(classes)}


def test_votes_read_like_a_dictionary(world):
    world.publish()
    (diagnosis,) = world.user.read(world.frames()[-1])
    assert set(diagnosis.votes) == {"no", "yes"}
    assert diagnosis.votes == dict(diagnosis.votes)
    assert repr(diagnosis.votes) == repr(dict(diagnosis.votes))
    assert all(type(votes) is int for votes in diagnosis.votes.values())
    assert all(type(share) is float for share in diagnosis.probabilities.values())
    with pytest.raises(KeyError):
        diagnosis.votes["perhaps"]
    assert isinstance(diagnosis, ompd.Diagnosis)
