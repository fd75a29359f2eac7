"""What differs between the profiles, and what must not."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import ompd
from ompd._kernels.retrieval import DEAD
from ompd.errors import (
    BucketAuthError,
    BudgetExceededError,
    ContextMismatchError,
    FramingError,
    HintStateError,
    NoAnswerError,
    OmpdError,
    ParameterError,
    PrivacyParameterError,
    RangeError,
    RefusedError,
    ReplayError,
    StoreError,
    TooLargeError,
    VersionError,
)
from ompd.stores import BudgetLedger
from ompd.wire import (
    Frame,
    HardenedJob,
    HardenedUpload,
    Kind,
    Refusal,
    SealedAnswer,
    SealedJob,
    SealedUpload,
)
from tests import naive
from tests.roles.conftest import World, instances, post_of

PROFILES = ("sealed", "hardened", "paper")


def population(rows=3000, seed=0, features=3):
    """Enough rows that a sealed table is not sent whole, in a schema of real numbers."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    values = np.clip(rng.normal(labels[:, None] * 3 + 4, 2, (rows, features)), 0, 12)
    schema = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(features)), ("no", "yes")
    )
    return SimpleNamespace(schema=schema, features=values, labels=labels)


def opened(party, frame, body):
    """The body of a frame as its recipient sees it."""
    (kind,) = (kind for kind in Kind if _is(frame, kind))
    return post_of(party).open(Frame.decode(frame, kind), body)


def _is(frame, kind):
    try:
        Frame.decode(frame, kind)
    except OmpdError:
        return False
    return True


def answered(world, query):
    report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
    return world.user.read(report)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_user_code_gets_the_oracles_votes(profile, rng):
    world = World(profile=profile)
    data = instances(classes=("a", "b", "c"), rows=90)
    world.publish("flu", data, k=7, advice={"a": "rest"})
    features = rng.integers(0, 13, (25, 3)).astype(float)
    diagnoses = world.user.read(world.frames(features)[-1])
    encoder = world.hospital.tables["flu"].encoder
    table = encoder.encode(data.features).tolist()
    sure = 0
    for diagnosis, point in zip(diagnoses, encoder.encode(features).tolist(), strict=True):
        assert sum(diagnosis.votes.values()) == diagnosis.k == 7
        assert sum(diagnosis.probabilities.values()) == pytest.approx(1)
        assert diagnosis.certified == (profile == "sealed")
        assert diagnosis.advice == ("rest" if diagnosis.label == "a" else "")
        near = naive.nearest(table, point, 7)
        if not naive.straddles(table, point, 7):
            sure += 1
            codes = [int(data.labels[row]) for _, row in near]
            assert list(diagnosis.votes.values()) == [codes.count(c) for c in range(3)]
    assert sure > 3


@pytest.mark.parametrize("profile", PROFILES)
def test_the_learned_method_decides_by_probability(profile):
    world = World(profile=profile)
    data = instances(rows=80)
    world.publish("flu", data, k=None, method="evidence")
    right = 0
    for diagnosis, truth in zip(
        world.user.read(world.frames(data.features)[-1]), data.labels, strict=True
    ):
        most = max(diagnosis.probabilities, key=diagnosis.probabilities.get)
        assert diagnosis.label == most
        right += diagnosis.label == ("no", "yes")[truth]
    assert right > 60


@pytest.mark.parametrize("profile", PROFILES)
def test_priors_move_probabilities_and_no_votes(profile):
    data = instances(rows=80)
    few = np.flatnonzero((np.arange(80) % 2 == 0) | (np.arange(80) < 21))
    data.features, data.labels = data.features[few], data.labels[few]
    shown = {}
    for priors in ("equal", "training"):
        world = World(profile=profile)
        world.publish("flu", data, k=5, priors=priors, decision="probability")
        (shown[priors],) = world.user.read(world.frames([6, 6, 6])[-1])
    assert shown["equal"].votes == shown["training"].votes
    # "yes" is rare among the instances.
    assert shown["equal"].probabilities["yes"] > shown["training"].probabilities["yes"]


@pytest.mark.parametrize("profile", PROFILES)
def test_jobs_on_tables_of_another_profile_are_refused(profile):
    world = World(profile=profile)
    world.publish()
    (table_id,) = world.cloud.tables.kept()
    for body in (HardenedJob(table_id, 1, 1, bytes(24)), SealedJob(table_id, 1, True, b"")):
        if isinstance(body, world.cloud.tables.kept()[table_id][0].stored.job):
            continue
        frame = post_of(world.hospital).send("cloud", body, nonce=b"n" * 16, sequence=0)
        with pytest.raises(ContextMismatchError, match="another profile"):
            world.cloud.answer(frame)
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    head = Frame.decode(
        world.hospital.forward(query), Kind.PAPER_JOB, Kind.HARDENED_JOB, Kind.SEALED_JOB
    ).header
    other = SealedAnswer(table_id, 1, b"") if profile != "sealed" else None
    if other is not None:
        cloud = post_of(world.cloud)
        frame = cloud.send("st-mary", other, nonce=head.nonce, sequence=head.sequence)
        with pytest.raises(NoAnswerError):
            world.user.read(world.hospital.report(frame))


@pytest.mark.parametrize("profile", ["sealed", "hardened"])
def test_secrets_stay_out_of_sight(profile):
    world = World(profile=profile)
    world.publish("flu", population(), k=5)
    table = world.hospital.tables["flu"]
    # Coarse vectors have numbers so small that any text holds them.
    hidden = [str(value) for value in table.encoder.encode([5, 5, 5])[0] if value > 999]
    hidden += ["array", "weights", "[["]
    for thing in (table, table.retrieval, world.cloud.tables.kept(), world.hospital):
        assert not any(each in repr(thing) for each in hidden)
    secret = table.retrieval.key if profile == "hardened" else table.retrieval.table
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)


# --- hardened ------------------------------------------------------------------------------------


def test_hardened_uploads_are_ring_values_of_coarse_vectors():
    world = World(profile="hardened")
    data = population()
    upload = world.publish("flu", data, k=5)
    body = opened(world.cloud, upload, HardenedUpload)
    values = np.frombuffer(body.values, "<u8").reshape(len(data.labels), -1)
    encoder = world.hospital.tables["flu"].encoder
    assert encoder.step > 1
    # Columns keep their number of levels, and nothing else that a single column could tell.
    levels = sorted(len(np.unique(column)) for column in encoder.encode(data.features).T)
    assert sorted(len(np.unique(column)) for column in values.T) == levels


def test_noise_is_charged_once_per_release():
    ledger = BudgetLedger(None, limit=40)
    world = World(profile="hardened", epsilon=16, ledger=ledger)
    world.publish("flu", population(), k=5)
    first = answered(world, world.user.ask("st-mary", "flu", [5, 5, 5]))
    for _ in range(3):
        assert answered(world, world.user.ask("st-mary", "flu", [5, 5, 5])) == first
    assert ledger.spent("alice") == 16
    # A batch is released as a whole or not at all.
    over = world.user.ask("st-mary", "flu", [[1, 1, 1], [2, 2, 2]])
    with pytest.raises(BudgetExceededError):
        world.hospital.forward(over)
    assert ledger.spent("alice") == 16
    answered(world, world.user.ask("st-mary", "flu", [1, 1, 1]))
    assert ledger.spent("alice") == 32
    batch = world.hospital.forward_batch([world.user.ask("st-mary", "flu", [9, 9, 9])])
    assert isinstance(batch.refused[0], BudgetExceededError)
    # Whose budget is spent holds up nobody else, and may ask again what was released before.
    bob = ompd.User.create("bob", **world.options)
    ompd.introduce(world.hospital, bob)
    rows = [(world.user, [9, 9, 9]), (bob, [9, 9, 9]), (world.user, [5, 5, 5]), (bob, [1, 1, 1])]
    batch = world.hospital.forward_batch([user.ask("st-mary", "flu", row) for user, row in rows])
    assert list(map(type, batch.refused.values())) == [BudgetExceededError]
    assert batch.jobs[0].places == (1, 2, 3)
    assert (ledger.spent("alice"), ledger.spent("bob")) == (32, 32)
    world.hospital.report_batch(world.cloud.answer(batch.jobs[0].frame))
    with ledger._database.writing() as connection:
        connection.execute("UPDATE totals SET spent = 'x'")
    batch = world.hospital.forward_batch([bob.ask("st-mary", "flu", [2, 2, 2]) for _ in range(2)])
    assert list(map(type, batch.refused.values())) == [StoreError] * 2
    assert not batch.jobs


def test_an_unchanged_table_keeps_its_noise():
    """Or else publishing it again and again would average the noise away."""
    world = World(profile="hardened", epsilon=16, ledger=BudgetLedger(None, limit=40))
    data = population(rows=200)
    views = []
    for _ in range(2):
        body = opened(world.cloud, world.publish("flu", data, k=5), HardenedUpload)
        values = np.frombuffer(body.values, "<u8").reshape(200, -1)
        # Up to order, sign and shift of the columns.
        steps = (values - values[0]).view(np.int64)
        signs = [np.sign(column[column != 0][0]) for column in steps.T]
        views.append(
            sorted(tuple(sign * column) for sign, column in zip(signs, steps.T, strict=True))
        )
    assert views[0] == views[1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"profile": "paper", "epsilon": 3.0}, ParameterError),
        ({"profile": "hardened", "epsilon": 3.0}, ParameterError),
        ({"profile": "hardened", "ledger": True}, ParameterError),
        ({"profile": "sealed", "epsilon": 3.0, "ledger": True}, ParameterError),
    ],
)
def test_epsilon_and_ledger_belong_together_and_to_hardened(options, error):
    if "ledger" in options:
        options["ledger"] = BudgetLedger(None, limit=1)
    with pytest.raises(error, match="epsilon"):
        ompd.Hospital.create("h", **options)


@pytest.mark.parametrize("epsilon", [0, -1, float("nan"), float("inf"), True])
def test_epsilon_must_mean_something(epsilon):
    world = World(profile="hardened", epsilon=epsilon, ledger=BudgetLedger(None, limit=1))
    with pytest.raises(PrivacyParameterError):
        world.publish("flu", population(rows=50), k=5)


# --- sealed --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed():
    """A world with a sealed table of several hundred buckets."""
    # Some tests leave jobs unanswered.
    world = World(profile="sealed", patience=0)
    world.publish("flu", population(), k=5)
    assert world.hospital.tables["flu"].retrieval.table.layout.fetches
    return world


def ready(world, rows=1):
    """Make sure that the window still has so many queries."""
    if world.hospital.remaining("flu") < rows:
        world.hospital.renewed(world.cloud.answer(world.hospital.renew("flu")))


def test_sealed_is_the_default():
    assert ompd.Hospital.create("h").profile == "sealed"


def test_all_frames_of_one_kind_have_one_length(sealed, rng):
    lengths = set()
    for features in ([0, 0, 0], [12, 12, 12], [5.5, 5.25, 5.125], [5.5, 5.25, 5.125]):
        ready(sealed)
        lengths.add(tuple(len(frame) for frame in sealed.frames(features)))
    assert len(lengths) == 1


def test_the_cloud_sees_neither_rows_nor_labels(sealed):
    data = population()
    upload = sealed.publish("flu", data, k=5)
    body = opened(sealed.cloud, upload, SealedUpload)
    octets = np.frombuffer(body.buckets, np.uint8)
    # Every octet is as frequent as any other; five standard deviations.
    counts = np.bincount(octets, minlength=256)
    mean = len(octets) / 256
    assert np.abs(counts - mean).max() < 5 * mean**0.5 + 5


def test_each_version_has_a_key_of_its_own(sealed):
    data = population()
    seen = set()
    for _ in range(3):
        body = opened(sealed.cloud, sealed.publish("flu", data, k=5), SealedUpload)
        size = body.bucket_bytes
        buckets = {
            body.buckets[first : first + size] for first in range(0, len(body.buckets), size)
        }
        assert not buckets & seen
        seen |= buckets


def lying(sealed, change):
    """The answer of a cloud that changes its buckets, properly signed."""
    query = sealed.user.ask("st-mary", "flu", [5, 5, 5])
    job = sealed.hospital.forward(query)
    header = Frame.decode(job, Kind.SEALED_JOB).header
    body = opened(sealed.hospital, sealed.cloud.answer(job), SealedAnswer)
    changed = msgspec.structs.replace(body, buckets=change(body.buckets))
    cloud = post_of(sealed.cloud)
    return cloud.send("st-mary", changed, nonce=header.nonce, sequence=header.sequence)


def test_a_wrong_answer_is_noticed_and_stays_in_the_hospital(sealed):
    ready(sealed, 9)
    size = sealed.hospital.tables["flu"].retrieval.table.layout.bucket_bytes
    for place in (0, 1, size - 1):
        # A wrong answer can end the window.
        ready(sealed)
        usual = len(sealed.frames((5, 5, 5))[-1])
        ready(sealed)

        def flipped(buckets, place=place):
            changed = bytearray(buckets)
            changed[place] ^= 1
            return bytes(changed)

        verdict = lying(sealed, flipped)
        report = sealed.hospital.report(verdict)
        # As long as any other, and the same answer cannot be tried again.
        assert len(report) == usual
        with pytest.raises(NoAnswerError):
            sealed.user.read(report)
        with pytest.raises(ReplayError):
            sealed.hospital.report(verdict)
    for change in (lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""):
        ready(sealed)
        with pytest.raises(NoAnswerError):
            sealed.user.read(sealed.hospital.report(lying(sealed, change)))
    ready(sealed)
    assert answered(sealed, sealed.user.ask("st-mary", "flu", [5, 5, 5]))[0].votes


def test_the_cloud_refuses_requests_of_the_wrong_shape(sealed):
    ready(sealed)
    layout = sealed.hospital.tables["flu"].retrieval.table.layout
    ref = sealed.hospital.tables["flu"].ref
    good = {"table_id": ref.table_id, "version": ref.version, "whole": False}
    request = bytes(layout.request_bytes)
    for changes, error in (
        ({"request": request[:-2]}, FramingError),
        ({"request": b""}, FramingError),
        ({"request": b"\xff" * len(request)}, RangeError),
        ({"request": request, "whole": True}, FramingError),
        ({"request": request, "version": 99}, VersionError),
        ({"request": request, "table_id": b"x" * 16}, ContextMismatchError),
    ):
        frame = post_of(sealed.hospital).send(
            "cloud", SealedJob(**(good | changes)), nonce=b"w" * 16, sequence=1
        )
        with pytest.raises(error):
            sealed.cloud.answer(frame)


def test_a_new_window_needs_the_table_that_was_stored(sealed):
    sealed.publish("flu", population(), k=5)
    request = sealed.hospital.renew("flu")
    header = Frame.decode(request, Kind.SEALED_JOB).header
    body = opened(sealed.hospital, sealed.cloud.answer(request), SealedAnswer)
    changed = bytearray(body.buckets)
    changed[-1] ^= 1
    frame = post_of(sealed.cloud).send(
        "st-mary",
        msgspec.structs.replace(body, buckets=bytes(changed)),
        nonce=header.nonce,
        sequence=header.sequence,
    )
    before = sealed.hospital.remaining("flu")
    with pytest.raises(BucketAuthError):
        sealed.hospital.renewed(frame)
    assert sealed.hospital.remaining("flu") == before
    assert answered(sealed, sealed.user.ask("st-mary", "flu", [5, 5, 5]))


def test_only_sealed_tables_have_windows(world):
    world.publish()
    assert world.hospital.remaining("flu") is None
    with pytest.raises(ParameterError, match="only sealed"):
        world.hospital.renew("flu")


def test_a_small_sealed_table_is_sent_whole():
    world = World(profile="sealed")
    world.publish()
    assert world.hospital.remaining("flu") is None
    frames = world.frames([[1, 2, 3], [4, 5, 6]])
    assert opened(world.cloud, frames[1], SealedJob).request == b""
    assert all(diagnosis.certified for diagnosis in world.user.read(frames[-1]))


def test_a_ticket_is_read_once(sealed):
    table = sealed.hospital.tables["flu"].retrieval.table
    ready(sealed)
    request, ticket = table.ask(sealed.hospital.tables["flu"].encoder.encode([5, 5, 5]))
    ref = sealed.hospital.tables["flu"].ref
    stored = next(
        found.stored
        for found in sealed.cloud.tables.kept()[ref.table_id]
        if found.version == ref.version
    )
    answer = stored.prepare(SealedJob(ref.table_id, ref.version, False, request))().buckets
    table.read(ticket, answer)
    with pytest.raises(HintStateError):
        table.read(ticket, answer)


def test_lost_answers_let_their_buckets_be_asked_for_again(sealed):
    sealed.publish("flu", population(), k=5)
    table = sealed.hospital.tables["flu"].retrieval.table
    query = sealed.user.ask("st-mary", "flu", [5, 5, 5])
    sealed.hospital.forward(query)
    owed = lambda: int(table._window.hints.owed.sum())  # noqa: E731
    given_up = lambda: int((table._window.hints.states == DEAD).sum())  # noqa: E731
    assert given_up() == owed() == 0
    sealed.clock.now += 121
    # Expiry is noticed before the next request's buckets are asked for, some of them once more.
    answered(sealed, sealed.user.ask("st-mary", "flu", [12, 0, 12]))
    assert given_up() > 0
    # A refusal and a job that is given up are noticed at once.
    for give_up in (
        lambda job: sealed.hospital.report(sealed.cloud.refuse(job)),
        sealed.hospital.fail,
    ):
        ready(sealed)
        job = sealed.hospital.forward(sealed.user.ask("st-mary", "flu", [1, 9, 1]))
        before = owed()
        give_up(job)
        assert owed() > before


def test_requests_are_decodable_and_nothing_else(sealed):
    ready(sealed)
    job = sealed.hospital.forward(sealed.user.ask("st-mary", "flu", [5, 5, 5]))
    body = opened(sealed.cloud, job, SealedJob)
    layout = sealed.hospital.tables["flu"].retrieval.table.layout
    offsets = np.frombuffer(body.request, layout.offset_type)
    assert offsets.shape == (layout.fetches * layout.chunks,)
    assert offsets.max() < layout.chunk


# --- what a hospital can do to a cloud ---------------------------------------------------------


def crafted(world, body, sequence):
    nonce = sequence.to_bytes(16, "big")
    return post_of(world.hospital).send("cloud", body, nonce=nonce, sequence=sequence)


def test_a_small_request_for_a_huge_answer_is_refused():
    world = World(profile="sealed")
    wide = SealedUpload(b"w" * 16, 1, 1 << 20, 1, 1, 1, 0, bytes(1 << 20))
    world.cloud.store(crafted(world, wide, 0))
    fetch = SealedJob(b"w" * 16, 1, False, bytes(2 * 3000))
    with pytest.raises(TooLargeError):
        world.cloud.answer(crafted(world, fetch, 1))
    few = crafted(world, SealedJob(b"w" * 16, 1, False, bytes(4)), 2)
    world.cloud.answer(few)


def test_a_small_job_for_a_huge_verdict_is_refused():
    world = World(profile="hardened")
    many = HardenedUpload(b"r" * 16, 1, 1, 65_536, 1, 1, 0, b"\0\0", bytes(8))
    world.cloud.store(crafted(world, many, 0))
    with pytest.raises(TooLargeError):
        world.cloud.answer(crafted(world, HardenedJob(b"r" * 16, 1, 100_000, bytes(800_000)), 1))
    world.cloud.answer(crafted(world, HardenedJob(b"r" * 16, 1, 3, bytes(24)), 2))


def test_a_hospital_has_so_many_tables_and_no_more(monkeypatch):
    world = World(profile="hardened")
    monkeypatch.setattr("ompd.roles.cloud._MOST_TABLES", 3)
    small = HardenedUpload(b"r" * 16, 1, 1, 2, 1, 1, 0, b"\0\0", bytes(8))
    for number in range(3):
        body = msgspec.structs.replace(small, table_id=bytes([number]) * 16)
        world.cloud.store(crafted(world, body, number))
    with pytest.raises(TooLargeError, match="at most 3"):
        world.cloud.store(crafted(world, small, 3))
    # New versions of what is there are welcome.
    again = msgspec.structs.replace(small, table_id=bytes(16), version=2)
    world.cloud.store(crafted(world, again, 4))


def test_queries_that_no_report_could_answer_are_refused_unused(monkeypatch):
    world = World(profile="hardened")
    world.publish()
    monkeypatch.setattr("ompd.roles.queries.most_rows", lambda table: 2)
    query = world.user.ask("st-mary", "flu", [[1, 2, 3]] * 3)
    with pytest.raises(TooLargeError, match="at most 2 rows"):
        world.hospital.forward(query)
    monkeypatch.undo()
    assert len(answered(world, query)) == 3


# --- rotation with losses ------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_lost_receipts_do_not_interrupt(profile):
    world = World(profile=profile)
    world.publish()
    query = lambda: answered(world, world.user.ask("st-mary", "flu", [1, 2, 3]))  # noqa: E731
    query()
    for seed in (1, 2, 3):
        # Stored, but the receipts are lost.
        world.cloud.store(*world.hospital.publish("flu", instances(seed=seed), cloud="cloud", k=3))
        query()
    world.publish()
    query()
    (versions,) = world.cloud.tables.kept().values()
    assert [each.version for each in versions if each.expires is None] == [5]
    world.clock.now += 121
    query()
    (versions,) = world.cloud.tables.kept().values()
    assert [each.version for each in versions] == [5]


def test_a_late_receipt_does_not_roll_back(world):
    (first,) = world.hospital.publish("flu", instances(seed=1), cloud="cloud", k=3)
    receipt = world.cloud.store(first)
    world.publish("flu", instances(seed=2))
    with pytest.raises(ContextMismatchError):
        world.hospital.confirm(receipt)
    assert world.hospital.tables["flu"].ref.version == 2


def test_a_refused_renewal_is_over(sealed):
    request = sealed.hospital.renew("flu")
    refusal = sealed.cloud.refuse(request)
    with pytest.raises(RefusedError):
        sealed.hospital.renewed(refusal)
    nonce = Frame.decode(request, Kind.SEALED_JOB).header.nonce
    again = post_of(sealed.cloud).send("st-mary", Refusal(), nonce=nonce, sequence=0)
    with pytest.raises((ContextMismatchError, ReplayError)):
        sealed.hospital.renewed(again)


def test_a_short_answer_strands_nothing(sealed):
    sealed.publish("flu", population(), k=5)
    with pytest.raises(NoAnswerError):
        sealed.user.read(sealed.hospital.report(lying(sealed, lambda buckets: b"")))
    # One fetch in 21 hangs on the lost answer; asking for the same buckets again mends that.
    found = [answered(sealed, sealed.user.ask("st-mary", "flu", [5, 5, 5]))[0] for _ in range(4)]
    assert found[-1].certified


def test_noise_outlives_the_process(tmp_path):
    data = population(rows=100)
    views = []
    for _ in range(2):
        with BudgetLedger(tmp_path / "ledger", limit=100) as ledger:
            world = World(profile="hardened", epsilon=16, ledger=ledger)
            world.publish("flu", data, k=5)
            answered(world, world.user.ask("st-mary", "flu", [5, 5, 5]))
            views.append(ledger.spent("alice"))
    assert views == [16, 16]
