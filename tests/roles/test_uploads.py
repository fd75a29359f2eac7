"""Uploads in pieces: whatever interrupts them, the table that answers is the one that was sent."""

from __future__ import annotations

import errno
import gc
import os
import random
import stat
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import ompd
from ompd.crypto import Identity, Prekeys
from ompd.errors import (
    ContextMismatchError,
    FramingError,
    OmpdError,
    StoreError,
    StoreWarning,
    TooLargeError,
    UnknownDiseaseError,
    VersionError,
)
from ompd.files import write_private
from ompd.search import LimbTable
from ompd.search.decision import Rule
from ompd.stores import BudgetLedger, FolderTables, MemoryTables
from ompd.wire import Frame, HardenedUpload, Kind, Receipt, SealedUpload
from tests.faults import EVERY, torture
from tests.marks import long, pairs
from tests.places import ROOT
from tests.roles.conftest import Clock, post_of, shelf_of
from tests.roles.test_profiles import population

PROFILES = ("paper", "hardened", "sealed")
PLACES = ("memory", "folder")
#: Enough that there are several pieces, and that a sealed table is not sent whole.
ROWS = {"paper": 1500, "hardened": 1500, "sealed": 3000}
UPLOADS = (Kind.PAPER_UPLOAD, Kind.HARDENED_UPLOAD, Kind.SEALED_UPLOAD)
FULL = pytest.mark.parametrize("full", [False, True], ids=["one step fails", "the disk is full"])
IDENTITIES = {name: Identity.generate(name) for name in ("st-mary", "cloud", "alice")}
PEOPLE = np.random.default_rng(9).integers(0, 13, (20, 3))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """A table of a thousand rows has several pieces."""
    monkeypatch.setattr("ompd.roles.spool.PIECE_BYTES", 14_000)


def records(seed=0, rows=1500):
    """Records of real numbers, since blinding decides ties in `paper` and each time otherwise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    values = np.clip(rng.normal(labels[:, np.newaxis] * 3 + 3, 1.5, (rows, 3)), 0, 12)
    schema = ompd.Schema([ompd.Feature(f"f{j}", "numeric", 0, 13) for j in range(3)], ("no", "yes"))
    features = values + rng.random((rows, 3))
    return SimpleNamespace(schema=schema, features=features, labels=labels)


class Site:
    """A hospital and a cloud that can both be started again on what they left."""

    def __init__(self, folder, profile, place="folder", **hospital):
        self.folder, self.profile, self.place = folder, profile, place
        self.options = hospital
        self.clock = Clock()
        self.prekeys = {name: Prekeys(each, clock=self.clock) for name, each in IDENTITIES.items()}
        self.hospital = self.cloud = None
        self.user = ompd.User(IDENTITIES["alice"], clock=self.clock)
        self.start_hospital()
        self.start_cloud()

    def meet(self):
        parties = (self.hospital, self.cloud, self.user)
        ompd.introduce(*(each for each in parties if each is not None))

    def start_hospital(self, *, crash=False):
        if self.hospital is not None and not crash:
            self.hospital.close()
        self.hospital = None
        gc.collect()
        self.hospital = ompd.Hospital(
            IDENTITIES["st-mary"], profile=self.profile, state=self.folder / "state", share=1.0,
            clock=self.clock, prekeys=self.prekeys["st-mary"], **self.options,
        )  # fmt: skip
        self.meet()

    def start_cloud(self, *, crash=False):
        if self.cloud is not None and not crash:
            self.cloud.close()
        self.cloud = None
        gc.collect()
        tables = FolderTables(self.folder / "tables") if self.place == "folder" else MemoryTables()
        self.cloud = ompd.Cloud(
            IDENTITIES["cloud"], tables=tables, clock=self.clock, prekeys=self.prekeys["cloud"]
        )
        self.meet()

    def publish(self, seed=0, rows=None, disease="flu", **options):
        rows = rows or ROWS[self.profile]
        options = {"k": 5} | options
        if self.profile == "hardened" and seed:
            options["retrain"] = True
        data = records(seed, rows)
        return self.hospital.publish(disease, data, cloud="cloud", **options)

    def told(self, disease="flu"):
        """Labels, votes and probabilities of some people."""
        left = self.hospital.remaining(disease)
        if left is not None and left < 5:
            self.hospital.renewed(self.cloud.answer(self.hospital.renew(disease)))
        query = self.user.ask("st-mary", disease, PEOPLE[:5])
        report = self.hospital.report(self.cloud.answer(self.hospital.forward(query)))
        return [
            (each.label, dict(each.votes), dict(each.probabilities))
            for each in self.user.read(report)
        ]

    def spools(self):
        return sorted((self.folder / "state").glob("*.spool"))

    def staged(self):
        return sorted((self.folder / "tables").glob("staged-*"))


def expected(tmp_path, profile, seed=0, rows=None, **options):
    """What a hospital and a cloud that nothing happens to say of the same records."""
    folder = tmp_path / f"plain-{seed}-{rows}"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ompd.roles.spool.PIECE_BYTES", 8 << 20)
        site = Site(folder, profile, "memory")
        upload = site.publish(seed, rows, **options)
        assert len(upload) == 1
        site.hospital.deliver(upload, site.cloud.store)
        told = site.told()
        site.hospital.close()
    return told


def header(frame):
    return Frame.decode(frame, *UPLOADS).header


class Lost(Exception):  # noqa: N818
    """The line was cut."""


def cut(site, at, *, arrives):
    """A line that is cut at a frame, before the cloud has it or with its answer."""
    left = at

    def send(frame):
        nonlocal left
        left -= 1
        if left < 0 and not arrives:
            raise Lost
        answer = site.cloud.store(frame)
        if left < 0:
            raise Lost
        return answer

    return send


# --- pieces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("profile", PROFILES)
def test_pieces_make_the_same_table_as_one_frame(tmp_path, profile, place):
    site = Site(tmp_path, profile, place)
    upload = site.publish()
    assert len(upload) > 2
    receipts = []

    def send(frame):
        # Nothing answers before the last piece.
        with pytest.raises(UnknownDiseaseError):
            site.hospital.forward(site.user.ask("st-mary", "flu", [1, 2, 3]))
        answer = site.cloud.store(frame)
        receipts.append(post_of(site.hospital).open(Frame.decode(answer, Kind.RECEIPT), Receipt))
        return answer

    last = site.hospital.deliver(upload, send)
    assert [each.have for each in receipts] == sorted({each.have for each in receipts})
    assert len(receipts) == len(upload)
    assert last == receipts[-1]
    assert (last.have, last.erased) == (upload.rows, 0)
    assert not any(each.k for each in receipts[:-1])
    assert site.told() == expected(tmp_path, profile)
    assert not site.spools()
    if place == "folder":
        assert not site.staged()


def test_an_upload_is_a_sequence_of_frames_with_the_present_time(tmp_path):
    site = Site(tmp_path, "paper")
    upload = site.publish()
    assert repr(upload) == f"<Upload of {len(upload)} frames>"
    frames = [header(frame) for frame in upload]
    assert [each.sequence for each in frames] == list(range(len(upload)))
    assert len({each.nonce for each in frames}) == 1
    site.clock.now += 7
    assert header(upload[-1]).timestamp == frames[0].timestamp + 7000
    assert [header(frame).sequence for frame in upload[1:3]] == [1, 2]
    with pytest.raises(IndexError):
        upload[len(upload)]
    site.hospital.deliver(upload, site.cloud.store)
    with pytest.raises(StoreError, match="does not wait any more"):
        upload[0]


@pytest.mark.parametrize("crash", [True, *long(False)])
@pytest.mark.parametrize("arrives", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_an_interrupted_upload_goes_on_where_the_cloud_is(tmp_path, profile, arrives, crash):
    site = Site(tmp_path, profile)
    site.hospital.deliver(site.publish(seed=1), site.cloud.store)
    before = site.told()
    upload = site.publish(seed=2)
    at = len(upload) // 2
    with pytest.raises(Lost):
        site.hospital.deliver(upload, cut(site, at, arrives=arrives))
    assert site.told() == before
    del upload
    site.start_hospital(crash=crash)
    site.start_cloud(crash=crash)
    assert site.told() == before
    sent = []

    def send(frame):
        sent.append(header(frame).sequence)
        return site.cloud.store(frame)

    again = site.hospital.resend("flu")
    site.hospital.deliver(again, send)
    # None is sent twice but the one whose receipt was lost, which asks how far the cloud is.
    assert sent == list(range(at, len(again)))
    assert site.told() == expected(tmp_path, profile, seed=2)
    assert not site.spools()
    assert not site.staged()


@pytest.mark.long
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("place", PLACES)
def test_random_accidents(tmp_path, profile, place):
    """Frames in any order, again and again, between restarts of both: at most the order counts."""
    rng = random.Random(f"{profile} {place}")  # noqa: S311
    wanted = {seed: expected(tmp_path, profile, seed) for seed in (1, 2, 3)}
    site = Site(tmp_path, profile, place)
    asked = None
    for seed in (1, 2, 3):
        upload = site.publish(seed)
        # How many pieces the cloud has, in a row.
        have = 0
        for _ in range(60):
            match rng.choice(["any", "any", "next", "next", "next", "cloud", "hospital"]):
                case "any":
                    place_of = rng.randrange(len(upload))
                case "next":
                    place_of = have
                case "cloud":
                    site.start_cloud(crash=rng.random() < 0.5)
                    if place == "memory":
                        asked, have = None, 0
                    continue
                case "hospital":
                    upload = None
                    site.start_hospital(crash=rng.random() < 0.5)
                    upload = site.hospital.resend("flu")
                    continue
            have += place_of == have
            receipt = site.hospital.confirm(site.cloud.store(upload[place_of]))
            if have == len(upload):
                assert receipt.have == upload.rows
                break
            shape = shelf_of(site.hospital).waiting["flu"].pieces.spool.shape
            assert receipt.have == have * shape.step
            if asked is not None:
                assert site.told() == asked
        else:
            site.hospital.deliver(upload, site.cloud.store)
        asked = site.told()
        assert asked == wanted[seed]
    assert not site.spools()
    site.hospital.close()


def test_a_cloud_that_keeps_losing_pieces_is_given_up(tmp_path):
    site = Site(tmp_path, "paper")
    upload = site.publish()
    sent = []

    def forgets(frame):
        sent.append(frame)
        site.start_cloud()
        for folder in site.staged():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        site.start_cloud(crash=True)
        return site.cloud.store(frame)

    with pytest.raises(ContextMismatchError, match="keeps losing"):
        site.hospital.deliver(upload, forgets)
    assert len(sent) < 30
    site.hospital.deliver(upload, site.cloud.store)
    site.told()


# --- what a hospital can do to a cloud ---------------------------------------------------------


def body(rows=400, first=0, count=100, **changes):
    whole = HardenedUpload(
        b"r" * 16, 1, 2, 2, 3, rows, first, bytes(2 * count),
        np.arange(first, first + 2 * count, dtype="<u8").tobytes(),
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def sent(site, message, nonce=b"n" * 16):
    return post_of(site.hospital).send("cloud", message, nonce=nonce, sequence=0)


def have(site, message, nonce=b"n" * 16):
    answer = site.cloud.store(sent(site, message, nonce))
    return post_of(site.hospital).open(Frame.decode(answer, Kind.RECEIPT), Receipt).have


@pytest.mark.parametrize("place", PLACES)
def test_pieces_come_in_order_and_again(tmp_path, place):
    site = Site(tmp_path, "hardened", place)
    assert have(site, body(first=100)) == 0
    assert have(site, body()) == 100
    assert have(site, body()) == 100
    assert have(site, body(first=200)) == 100
    # Cut otherwise: what overlaps is here already.
    assert have(site, body(first=50, count=100)) == 150
    assert have(site, body(first=150, count=250)) == 400
    assert have(site, body(first=300)) == 400
    (stored,) = next(iter(site.cloud.tables.kept().values()))
    assert stored.stored.rows == 400


@pytest.mark.parametrize("place", PLACES)
def test_another_upload_of_the_table_takes_the_place_of_the_first(tmp_path, place):
    site = Site(tmp_path, "hardened", place)
    assert have(site, body()) == 100
    assert have(site, body(first=100), b"o" * 16) == 0
    assert have(site, body(count=50), b"o" * 16) == 50
    assert have(site, body(first=100)) == 0
    assert have(site, body(first=50, count=350), b"o" * 16) == 400


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"rows": 401}, ContextMismatchError),
        ({"k": 5}, ContextMismatchError),
        ({"classes": 3}, ContextMismatchError),
        ({"version": 2}, ContextMismatchError),
        ({"coordinates": 1, "labels": bytes(400)}, ContextMismatchError),
        ({"first": 350}, FramingError),
        ({"labels": bytes(198)}, FramingError),
        ({"values": b"", "labels": b""}, FramingError),
    ],
)
def test_pieces_that_contradict_the_first_change_nothing(tmp_path, place, change, error):
    site = Site(tmp_path, "hardened", place)
    assert have(site, body()) == 100
    with pytest.raises(error):
        have(site, body(first=100, **change) if "first" not in change else body(**change))
    assert have(site, body(first=100)) == 200


@pytest.mark.parametrize("place", PLACES)
def test_what_is_unfinished_is_bounded_by_what_is_announced(tmp_path, place, monkeypatch):
    site = Site(tmp_path, "hardened", place)
    monkeypatch.setattr(site.cloud.tables._staging, "_most", 10_000)
    with pytest.raises(TooLargeError, match="at most 10000 bytes"):
        have(site, body(rows=626))
    with pytest.raises(TooLargeError):
        have(site, body(rows=2**32))
    assert have(site, body(rows=400)) == 100
    with pytest.raises(TooLargeError):
        have(site, body(rows=400, table_id=b"s" * 16), b"s" * 16)
    # The same table's own place is free again.
    assert have(site, body(rows=625), b"o" * 16) == 100
    if place == "folder":
        assert len(site.staged()) == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_hospital_has_few_unfinished_uploads(tmp_path, place, monkeypatch):
    monkeypatch.setattr("ompd.stores.tables.staging._MOST", 3)
    site = Site(tmp_path, "hardened", place)
    for number in range(3):
        assert have(site, body(table_id=bytes([number]) * 16), bytes([number]) * 16) == 100
    with pytest.raises(TooLargeError, match="at most 3"):
        have(site, body())
    # What is abandoned goes: neither end would take its frames any more.
    site.clock.now += 3 * 86_400
    assert have(site, body()) == 100
    if place == "folder":
        assert len(site.staged()) == 1


@pytest.mark.parametrize("place", PLACES)
def test_pieces_that_are_no_table_together_leave_nothing(tmp_path, place):
    site = Site(tmp_path, "hardened", place)
    assert have(site, body(rows=200)) == 100
    far = np.full(200, 1 << 63, "<u8").tobytes()
    with pytest.raises(OmpdError, match="half of the ring"):
        have(site, body(rows=200, first=100, values=far))
    assert not site.cloud.tables.kept()
    assert have(site, body(rows=200)) == 100
    assert have(site, body(rows=200, first=100)) == 200


def test_an_older_version_does_not_follow_a_newer_one(tmp_path):
    site = Site(tmp_path, "hardened")
    assert have(site, body(version=1)) == 100
    assert have(site, body(version=2, rows=100), b"o" * 16) == 100
    assert not site.staged()
    with pytest.raises(VersionError):
        have(site, body(version=1, first=100))


def test_buckets_come_in_pieces_of_whole_ones(tmp_path):
    site = Site(tmp_path, "sealed")
    buckets = np.random.default_rng(0).integers(0, 256, 16 * 64, dtype=np.uint8).tobytes()
    whole = SealedUpload(b"b" * 16, 1, 64, 4, 4, 1, 0, buckets)

    def piece(first, last):
        return msgspec.structs.replace(whole, first=first, buckets=buckets[64 * first : 64 * last])

    assert have(site, piece(0, 3)) == 3
    with pytest.raises(FramingError):
        have(site, msgspec.structs.replace(whole, first=3, buckets=buckets[: 64 * 2 + 1]))
    assert have(site, piece(3, 16)) == 16
    (version,) = next(iter(site.cloud.tables.kept().values()))
    assert version.stored.buckets.tobytes() == buckets


# --- a hospital that starts again ----------------------------------------------------------------


@pytest.mark.parametrize("crash", [True, *long(False)])
@pytest.mark.parametrize(("profile", "method"), pairs(PROFILES, ("relief-mw", "evidence")))
def test_a_hospital_started_again_asks_its_tables(tmp_path, profile, method, crash):
    site = Site(tmp_path, profile)
    for disease in ("flu", "gout"):
        upload = site.publish(disease=disease, method=method, advice={"yes": "rest"})
        site.hospital.deliver(upload, site.cloud.store)
    told = site.told()
    known = ("ref", "cloud", "rows", "k", "findings", "rule", "epsilon", "method", "schema")
    before = [getattr(site.hospital.tables["flu"], name) for name in known]
    # It refers to the hospital, whose end a crash stands for.
    del upload
    site.start_hospital(crash=crash)
    assert [getattr(site.hospital.tables["flu"], name) for name in known] == before
    assert site.told() == told == site.told("gout")
    # Whoever gets in reads everything, so nobody may.
    for path in (tmp_path / "state").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("decision", ["probability", "majority"])
def test_a_k_that_the_cloud_chooses_after_a_restart(tmp_path, decision):
    site = Site(tmp_path, "paper")
    upload = site.publish(k=None, decision=decision)
    with pytest.raises(Lost):
        site.hospital.deliver(upload, cut(site, 1, arrives=True))
    del upload
    site.start_hospital(crash=True)
    site.hospital.deliver(site.hospital.resend("flu"), site.cloud.store)
    table = site.hospital.tables["flu"]
    data = records()
    vectors = table.encoder.encode(data.features)
    plain = LimbTable.from_prefix_sums(vectors, data.labels, 2)
    assert table.rule == Rule.learn(plain, table.k, decision, "equal")
    site.told()


def test_noise_comes_back_with_the_table(tmp_path):
    with BudgetLedger(tmp_path / "ledger", limit=100) as ledger:
        site = Site(tmp_path, "hardened", epsilon=4.0, ledger=ledger)
        site.hospital.deliver(site.publish(rows=300), site.cloud.store)
        told = site.told()
        spent = ledger.spent("alice")
        site.start_hospital(crash=True)
        # The same noise on the same people, which costs them nothing anew.
        assert site.told() == told
        assert ledger.spent("alice") == spent > 0
        site.hospital.close()
        site.hospital = None
        # Else queries would go out without it.
        site.options = {}
        with pytest.raises(StoreError, match="noisy"):
            site.start_hospital()


def test_a_spool_that_a_crash_left_goes(tmp_path):
    site = Site(tmp_path, "paper")
    site.publish()
    (spool,) = site.spools()
    kept = spool.read_bytes()
    site.hospital.deliver(site.hospital.resend("flu"), site.cloud.store)
    site.hospital.close()
    # Its table is asked by now.
    spool.write_bytes(kept)
    site.start_hospital()
    assert not site.spools()
    site.told()


def test_a_newer_upload_takes_the_place_of_one_that_waits(tmp_path):
    site = Site(tmp_path, "hardened")
    first = site.publish(seed=1)
    assert len(site.spools()) == 1
    second = site.publish(seed=2)
    assert len(site.spools()) == 1
    with pytest.raises(StoreError, match="does not wait"):
        first[0]
    site.start_hospital()
    site.hospital.deliver(site.hospital.resend("flu"), site.cloud.store)
    del second
    assert site.hospital.tables["flu"].ref.version == 2
    assert not site.spools()


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_spool_concerns_one_upload(tmp_path, how):
    site = Site(tmp_path, "paper")
    site.hospital.deliver(site.publish(), site.cloud.store)
    told = site.told()
    site.publish(seed=1)
    site.publish(seed=1, disease="gout")
    ref = shelf_of(site.hospital).waiting["flu"].published.ref
    spool = tmp_path / "state" / f"{ref.table_id.hex()}-{ref.version}.spool"
    site.hospital.close()
    if how == "gone":
        spool.unlink()
    else:
        data = bytearray(spool.read_bytes())
        data[len(data) // 2] ^= 1
        spool.write_bytes(data[: len(data) - (how == "cut")])
    if how == "changed":
        site.start_hospital()
        with pytest.raises(StoreError, match="publish the disease anew"):
            site.hospital.deliver(site.hospital.resend("flu"), site.cloud.store)
    else:
        with pytest.warns(StoreWarning, match="upload of 'flu' that waits"):
            site.start_hospital()
        with pytest.raises(UnknownDiseaseError):
            site.hospital.resend("flu")
    assert not site.hospital.damaged
    assert site.told() == told
    site.hospital.deliver(site.hospital.resend("gout"), site.cloud.store)
    site.hospital.deliver(site.publish(seed=1), site.cloud.store)
    assert site.told() == site.told("gout")
    assert not site.spools()


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
@pytest.mark.parametrize("file", ["values", "head", *long("labels")])
def test_damaged_pieces_at_the_cloud_are_sent_again(tmp_path, file, how):
    site = Site(tmp_path, "paper")
    site.hospital.deliver(site.publish(disease="gout"), site.cloud.store)
    upload = site.publish()
    with pytest.raises(Lost):
        site.hospital.deliver(upload, cut(site, 3, arrives=True))
    site.cloud.close()
    (folder,) = site.staged()
    path = folder / file
    if how == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) - (how == "cut")])
    site.start_cloud()
    try:
        site.hospital.deliver(upload, site.cloud.store)
    except StoreError as error:
        assert "send all of it again" in str(error) or how != "changed"  # noqa: PT017
        site.hospital.deliver(upload, site.cloud.store)
    assert site.told() == expected(tmp_path, "paper")
    assert not site.staged()


# --- disks that refuse, processes that end -------------------------------------------------------


@EVERY
@FULL
@pytest.mark.parametrize("profile", ["paper", *long("hardened", "sealed")])
def test_publishing_on_a_bad_disk(tmp_path, profile, full, every):
    def prepare(at):
        folder = tmp_path / str(at)
        folder.mkdir()
        site = Site(folder, profile, "memory")
        site.hospital.deliver(site.publish(rows=300), site.cloud.store)
        site.before = site.told()
        return site

    def act(site):
        site.upload = site.publish(seed=1, rows=300)

    def check(site, refused):
        assert site.told() == site.before
        if refused and full:
            # What a full disk needs least is half a table.
            assert not site.spools()
            assert not list((site.folder / "state").glob("*-2"))
        site.upload = None
        site.start_hospital(crash=True)
        if refused:
            site.publish(seed=1, rows=300)
        site.hospital.deliver(site.hospital.resend("flu"), site.cloud.store)
        # None was given twice, or else the cloud would have refused it.
        assert site.hospital.tables["flu"].ref.version in {2, 2 + refused}
        assert not site.spools()
        site.told()
        site.hospital.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StoreWarning)
        assert torture(prepare, act, check, full=full, kept=2, every=every) >= {"open", "write"}


@pytest.mark.parametrize("linked", [True, False], ids=["", "copied"])
@EVERY
@FULL
def test_staging_on_a_bad_disk(tmp_path, monkeypatch, full, linked, every):
    def refused(*arguments, **options):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    if not linked:
        monkeypatch.setattr(os, "link", refused)
    source = tmp_path / "hospital"
    source.mkdir()
    world = Site(source, "paper", "memory")
    frames = list(world.publish(rows=60))
    wanted = None

    def prepare(at):
        folder = tmp_path / str(at)
        folder.mkdir()
        tables = FolderTables(folder / "tables")
        cloud = ompd.Cloud(
            IDENTITIES["cloud"], tables=tables, clock=world.clock, prekeys=world.prekeys["cloud"]
        )
        cloud.meet(world.hospital.public, "hospital")
        cloud.folder = folder
        return cloud

    def act(cloud):
        for frame in frames:
            cloud.store(frame)

    def check(cloud, refused):
        nonlocal wanted
        if refused:
            act(cloud)
        (version,) = next(iter(cloud.tables.kept().values()))
        values = version.stored.table.limbs.tobytes()
        wanted = wanted or values
        assert values == wanted
        cloud.close()
        # What could not be removed is at the next opening.
        FolderTables(cloud.folder / "tables").close()
        assert not list(cloud.folder.rglob("staged-*"))
        assert not list(cloud.folder.rglob("*.new"))

    assert torture(prepare, act, check, full=full, kept=8, every=every) >= {"open", "write"}


@pytest.mark.parametrize("number", [errno.EPERM, *long(errno.EXDEV, errno.ENOTSUP)])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_file_system_where_files_have_one_name(tmp_path, monkeypatch, profile, number):
    def refused(*arguments, **options):
        raise OSError(number, os.strerror(number))

    wanted = expected(tmp_path, profile)
    monkeypatch.setattr(os, "link", refused)
    site = Site(tmp_path, profile)
    site.hospital.deliver(site.publish(), site.cloud.store)
    assert site.told() == wanted
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.is_relative_to(
            tmp_path / "plain-0-None"
        )
    site.start_hospital()
    site.start_cloud()
    assert site.told() == wanted
    assert not site.spools()
    assert not site.staged()


def test_a_new_file_takes_no_name_that_is_taken_where_files_have_one(tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    write_private(tmp_path / "file", [b"first"], exclusive=True)
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "file", [b"second"], exclusive=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


KILLED = """
import os, pathlib, shutil, sys
sys.path.insert(0, {root!r})
import ompd.roles.spool
from tests.faults import STEPS
from tests.roles.test_uploads import Site

base, profile, who, growth = pathlib.Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
# Some four pieces.
rows, ompd.roles.spool.PIECE_BYTES = {{
    "paper": (300, 30_000), "hardened": (300, 2500), "sealed": (3000, 8000)
}}[profile]
site = Site(base, profile)
site.hospital.deliver(site.publish(rows=rows), site.cloud.store)
told = site.told()
if who == "cloud":
    assert len(site.publish(seed=1, rows=rows, k=7)) > 2
site.hospital.close()
site.cloud.close()
site.hospital = site.cloud = None
allowed = 0

def dying(function):
    # Every step that reaches the disk may be the last one.
    def wrapped(*arguments, **options):
        global allowed
        if allowed == 0:
            os._exit(9)
        allowed -= 1
        return function(*arguments, **options)
    return wrapped

steps = 0
while True:
    site.folder = base.with_name(f"after-{{steps}}")
    shutil.copytree(base, site.folder)
    child = os.fork()
    if child == 0:
        try:
            site.start_hospital()
            site.start_cloud()
            allowed = steps
            for name in STEPS:
                setattr(os, name, dying(getattr(os, name)))
            if who == "hospital":
                site.publish(seed=1, rows=rows, k=7)
            upload = site.hospital.resend("flu")
            site.hospital.deliver(upload, site.cloud.store)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # What comes after a crash of both.
    site.start_hospital()
    site.start_cloud()
    assert not site.hospital.damaged and not site.cloud.tables.damaged
    now = site.hospital.tables["flu"].ref.version
    if now == 1:
        assert site.told() == told
        try:
            upload = site.hospital.resend("flu")
        except LookupError:
            upload = site.publish(seed=1, rows=rows, k=7)
        site.hospital.deliver(upload, site.cloud.store)
    assert site.told() != told
    assert not site.spools() and not site.staged()
    print(code, now, flush=True)
    site.hospital.close()
    site.cloud.close()
    site.hospital = site.cloud = None
    shutil.rmtree(site.folder)
    if code != 9:
        break
    steps += 1 + steps // growth
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("profile", "who", "growth"),
    [
        # At steps that are ever farther apart: the fewer, the smaller the number.
        (profile, who, 6)
        for profile in PROFILES
        for who in ("hospital", "cloud")
    ],
)
def test_killed_at_any_step(tmp_path, profile, who, growth):
    base = tmp_path / "base"
    base.mkdir()
    done = subprocess.run(
        [
            sys.executable, "-c", KILLED.format(root=str(ROOT)), str(base), profile, who,
            str(growth),
        ],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert lines[-1] == (0, 2), done.stderr
    assert {code for code, _ in lines[:-1]} == {9}
    assert [now for _, now in lines] == sorted(now for _, now in lines)
    assert lines[0][1] == 1


@pytest.mark.parametrize("profile", PROFILES)
def test_stopping_leaves_the_old_table_and_no_files(tmp_path, profile):
    site = Site(tmp_path, profile)
    site.hospital.deliver(site.publish(), site.cloud.store)
    told = site.told()
    files = sorted(path.name for path in (tmp_path / "state").rglob("*"))
    for at in (0.0, 0.3, 0.61, 0.7, 0.94):

        def stop(share, at=at):
            if share >= at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            site.publish(seed=1, progress=stop)
        assert sorted(path.name for path in (tmp_path / "state").rglob("*")) == files
        assert site.told() == told
    site.start_hospital(crash=True)
    assert site.told() == told


@pytest.mark.parametrize("profile", PROFILES)
def test_progress_is_told_from_the_start_in_small_steps(tmp_path, monkeypatch, profile):
    """Whoever waits for a large table sees that it goes on, and can end it between two steps."""
    monkeypatch.setattr("ompd.search.relief._PART", 200)
    site = Site(tmp_path, profile, "memory")
    shares, threads = [], set()

    def told(share):
        shares.append(share)
        threads.add(threading.get_ident())

    data = population(6000)
    site.hospital.publish("flu", data, cloud="cloud", decision="probability", progress=told)
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0, 1)
    assert threads == {threading.get_ident()}
    steps = np.diff(shares)
    assert steps.max() < 0.07
    assert len(steps) > 60


def test_a_withdrawn_table_leaves_no_hints_and_no_folder(tmp_path):
    site = Site(tmp_path, "sealed")
    data = population()
    site.hospital.deliver(site.hospital.publish("flu", data, cloud="cloud", k=5), site.cloud.store)
    assert site.hospital.remaining("flu") < len(data.labels)
    descriptors = len(os.listdir("/proc/self/fd"))
    # One that waits for its receipt ends as well.
    site.hospital.publish("flu", data, cloud="cloud", k=5)
    site.hospital.deliver(site.hospital.withdraw("flu"), site.cloud.store)
    assert len(os.listdir("/proc/self/fd")) < descriptors
    assert not site.hospital.diseases
    names = {path.name for path in (tmp_path / "state").iterdir() if path.is_dir()}
    assert names == {"records"}
    site.start_hospital()
    assert not site.hospital.diseases
    assert not site.hospital.damaged
    site.hospital.deliver(site.publish(), site.cloud.store)
    assert site.hospital.tables["flu"].ref.version == 4
    site.told()


def test_a_newer_upload_lets_go_of_the_sealed_table_before(tmp_path):
    site = Site(tmp_path, "sealed")
    site.publish(seed=1)
    descriptors = len(os.listdir("/proc/self/fd"))
    uploads = [site.publish(seed=seed) for seed in (2, 3)]
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(list((tmp_path / "state").glob("*-?"))) == 1
    del uploads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_sends_and_changes_nothing(tmp_path):
    site = Site(tmp_path, "paper")
    site.hospital.deliver(site.publish(), site.cloud.store)
    site.publish(seed=1)
    upload = site.hospital.resend("flu")
    child = os.fork()
    if child == 0:
        status = 1
        for refused in (
            lambda: site.hospital.resend("flu"),
            lambda: site.publish(seed=2),
            lambda: site.cloud.store(upload[0]),
        ):
            try:
                refused()
            except StoreError as error:
                status *= 2 if "forked" in str(error) else 1
        site.hospital.close()
        site.cloud.close()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 8
    site.hospital.deliver(upload, site.cloud.store)
    site.told()


def test_one_process_has_the_state(tmp_path):
    with Site(tmp_path, "paper").hospital as hospital:
        with pytest.raises(StoreError, match="another process"):
            ompd.Hospital(IDENTITIES["st-mary"], profile="paper", state=tmp_path / "state")
        del hospital
    ompd.Hospital(IDENTITIES["st-mary"], profile="paper", state=tmp_path / "state").close()


def test_a_cloud_is_closed_with_its_block(tmp_path):
    with ompd.Cloud(IDENTITIES["cloud"], tables=FolderTables(tmp_path / "tables")) as cloud:
        assert not cloud.tables.kept()
        with pytest.raises(StoreError):
            FolderTables(tmp_path / "tables")
    FolderTables(tmp_path / "tables").close()
