from __future__ import annotations

import logging
import traceback
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ompd
from ompd.blind import blind_queries
from ompd.encode import ReliefEncoder
from ompd.errors import (
    ContextMismatchError,
    DatasetError,
    DomainError,
    ExpiredError,
    FeatureError,
    FramingError,
    LabelError,
    NeighborsError,
    NoAnswerError,
    OmpdError,
    ParameterError,
    RangeError,
    ReflectionError,
    ReplayError,
    SignatureError,
    TooLargeError,
    TrainingError,
    UnknownDiseaseError,
    UnknownKeyError,
    VersionError,
    WrongRecipientError,
)
from ompd.params import PAPER
from ompd.wire import Frame, Kind, PaperJob, PaperUpload, Receipt, Verdict
from tests import naive
from tests.roles.conftest import World, instances, post_of, shelf_of

STATIONS = ("query", "job", "verdict", "report")
KINDS = dict(zip(STATIONS, (Kind.QUERY, Kind.PAPER_JOB, Kind.VERDICT, Kind.REPORT), strict=True))


def receivers(world):
    return {
        "query": world.hospital.forward,
        "job": world.cloud.answer,
        "verdict": world.hospital.report,
        "report": world.user.read,
    }


def expected_labels(data, features, k):
    """Labels by the oracle, and whether a tie leaves the choice to the noise."""
    encoder = ReliefEncoder.fit(data.schema, data.features, data.labels)
    table = encoder.encode(data.features).tolist()
    for query in encoder.encode(features).tolist():
        near = naive.nearest(table, query, k)
        sums = {code: [0, 0] for code in data.labels.tolist()}
        for distance, row in near:
            sums[data.labels[row]][0] += 1
            sums[data.labels[row]][1] += distance
        best = max(sums.values(), key=lambda pair: (pair[0], -pair[1]))
        ambiguous = list(sums.values()).count(best) > 1 or naive.straddles(table, query, k)
        yield data.schema.classes[naive.vote(near, data.labels)], ambiguous


@pytest.mark.parametrize("suite", ["x25519", "mlkem768x25519"])
@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c", "d")])
def test_batch_gets_the_oracles_labels(suite, classes, rng):
    world = World(suite=suite)
    data = instances(classes=classes)
    world.publish("flu", data, k=5, advice={classes[0]: "rest"})
    features = rng.integers(0, 13, (40, 3)).astype(float)
    diagnoses = world.user.read(world.frames(features)[-1])
    assert len(diagnoses) == 40
    sure = 0
    for diagnosis, (label, ambiguous) in zip(
        diagnoses, expected_labels(data, features, 5), strict=True
    ):
        assert diagnosis.k == 5
        assert diagnosis.advice == ("rest" if diagnosis.label == classes[0] else "")
        if not ambiguous:
            sure += 1
            assert diagnosis.label == label
    assert sure > 5


@pytest.mark.parametrize("signatures", ["pyblst", pytest.param("py_ecc", marks=pytest.mark.long)])
def test_one_query_with_either_signature_backend(signatures):
    world = World(signatures=signatures)
    world.publish()
    (diagnosis,) = world.user.read(world.frames([6, 6, 6])[-1])
    assert diagnosis.label == "yes"
    assert world.user.signature_backend == signatures
    assert (world.hospital.signatures_made, world.hospital.signatures_verified) == (3, 3)


def test_many_diseases_many_hospitals_one_cloud(world):
    other = ompd.Hospital.create("st-john", profile="paper", **world.options)
    ompd.introduce(other, world.cloud)
    ompd.introduce(other, world.user)
    world.publish("flu", instances(seed=1))
    world.publish("gout", instances(seed=2, classes=("a", "b", "c"), features=5))
    other.deliver(other.publish("flu", instances(seed=3), cloud="cloud", k=1), world.cloud.store)
    assert set(world.hospital.diseases) == {"flu", "gout"}
    assert len(world.hospital.diseases["gout"].features) == 5
    assert world.user.read(world.frames([6, 6, 6])[-1])[0].label in {"no", "yes"}
    assert world.user.read(world.frames([3] * 5, "gout")[-1])[0].label in {"a", "b", "c"}
    query = world.user.ask("st-john", "flu", [0, 0, 0])
    report = other.report(world.cloud.answer(other.forward(query)))
    assert world.user.read(report)[0].label == "no"


def test_cloud_chooses_k_on_blinded_data(world):
    data = instances()
    world.publish("flu", data, k=None)
    (diagnosis,) = world.user.read(world.frames()[-1])
    encoder = ReliefEncoder.fit(data.schema, data.features, data.labels)
    table = encoder.encode(data.features).tolist()
    # Blinding breaks exact ties at random, so the choice can differ from the oracle's a little;
    # it is never a K that the oracle finds clearly worse.
    right = {
        k: sum(
            naive.vote(naive.nearest(table, row, k, exclude=i), data.labels) == data.labels[i]
            for i, row in enumerate(table)
        )
        for k in range(1, 32, 2)
    }
    assert right[diagnosis.k] >= max(right.values()) - 4


def test_answers_may_come_in_any_order(world):
    world.publish()
    queries = [world.user.ask("st-mary", "flu", [v, v, v]) for v in (1, 6, 1, 6)]
    jobs = [world.hospital.forward(query) for query in queries]
    verdicts = [world.cloud.answer(job) for job in reversed(jobs)]
    reports = [world.hospital.report(verdict) for verdict in verdicts]
    labels = [world.user.read(report)[0].label for report in reports]
    assert labels == ["yes", "no", "yes", "no"]


def test_reports_do_not_tell_the_diagnosis_by_their_length(world):
    world.publish(advice={"yes": "word " * 100})
    lengths = {len(world.frames([v, v, v])[-1]) for v in (1, 6)}
    assert len(lengths) == 1
    # MessagePack's own headers grow at 32 and 256 bytes.
    for short in (31, 255):
        world.publish(advice={"no": "n" * (short + 1), "yes": "y" * short})
        assert len({len(world.frames([v, v, v])[-1]) for v in (1, 6)}) == 1
    world.publish(advice={"yes": "word " * 100})
    batches = ([[1] * 3] * 4, [[6] * 3] * 4, [[1] * 3, [6] * 3] * 2)
    assert len({len(world.frames(batch)[-1]) for batch in batches}) == 1


# Sevenths are of all eight places in a byte.
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("station", STATIONS)
def test_every_flipped_bit_is_refused(world, station, step):
    world.publish()
    frame = intercept(world, station)
    receive = receivers(world)[station]
    state = state_of(world)
    for bit in range(0, 8 * len(frame), step):
        changed = bytearray(frame)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(OmpdError):
            receive(bytes(changed))
    assert state_of(world) == state
    receive(frame)  # none of it kept the true frame from being accepted


def intercept(world, station):
    """A frame on its way to the receiver of `station`."""
    frame = world.user.ask("st-mary", "flu", [3, 4, 5])
    for name, step in zip(STATIONS, list(receivers(world).values())[:3], strict=False):
        if name == station:
            return frame
        frame = step(frame)
    return frame


def state_of(world):
    return (
        sorted(world.hospital.tables),
        world.hospital.open_jobs,
        len(post_of(world.hospital).replays._seen),
        sorted(shelf_of(world.hospital).waiting),
        sorted(world.cloud.tables.kept()),
        len(post_of(world.cloud).replays._seen),
        world.user.open_queries,
        len(post_of(world.user).replays._seen),
    )


def refuse(world, error, receive, frame, match=None):
    """Assert a typed refusal that changes nothing."""
    state = state_of(world)
    with pytest.raises(error, match=match):
        receive(frame)
    assert state_of(world) == state


def unchanged(world, receive, frame):
    """Assert that a frame is answered and changes nothing; return the answer."""
    state = state_of(world)
    answer = receive(frame)
    assert state_of(world) == state
    return answer


@pytest.mark.parametrize("station", STATIONS)
def test_damaged_or_misdirected_frames_are_refused(world, station):
    world.publish()
    frame = intercept(world, station)
    receive = receivers(world)[station]
    for cut in range(0, len(frame), 7):
        refuse(world, FramingError, receive, frame[:cut])
    refuse(world, FramingError, receive, frame[:-96] + b"\x00" + frame[-96:])
    other = post_of(world.user).identity.signing_key.sign(b"")
    refuse(world, SignatureError, receive, frame[:-96] + other)
    # Everybody else refuses it, the sender its own included.
    bystander = ompd.Cloud.create("bystander", **world.options)
    for party in {world.user, world.hospital, world.cloud, bystander} - {receive.__self__}:
        with pytest.raises((WrongRecipientError, ReflectionError)):
            post_of(party).authenticate(frame, Frame.decode(frame, KINDS[station]).header.kind)
    first = receive(frame)
    if station == "job":
        assert unchanged(world, receive, frame) == first
    else:
        with pytest.raises((ReplayError, ContextMismatchError)):
            receive(frame)


def test_replays_are_refused(world):
    world.publish()
    query, _, verdict, report = world.frames()
    refuse(world, ReplayError, world.hospital.forward, query)
    refuse(world, ReplayError, world.hospital.report, verdict)
    world.user.read(report)
    refuse(world, ReplayError, world.user.read, report)


def test_old_and_future_frames_are_refused(world):
    world.publish()
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    now = world.clock.now
    for offset in (-121, 121):
        world.clock.now = now + offset
        refuse(world, ExpiredError, world.hospital.forward, query, "within 120 s")
    world.clock.now = now + 119
    job = world.hospital.forward(query)
    world.clock.now += 2
    report = world.hospital.report(world.cloud.answer(job))
    # Every frame was fresh, but the user has stopped waiting.
    with pytest.raises(ContextMismatchError):
        world.user.read(report)
    assert world.user.open_queries == 0


def test_reflected_and_foreign_frames_are_refused(world):
    world.publish()
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    job = world.hospital.forward(query)
    other = ompd.Hospital.create("st-john", profile="paper", **world.options)
    ompd.introduce(other, world.user)
    refuse(world, WrongRecipientError, other.forward, query)
    stranger = ompd.User.create("mallory", **world.options)
    ompd.introduce(stranger, ompd.Hospital.create("st-mary", profile="paper", **world.options))
    refuse(world, UnknownKeyError, world.hospital.forward, stranger.ask("st-mary", "flu", [1] * 3))
    verdict = world.cloud.answer(job)
    with pytest.raises(FramingError, match="expected a paper job, got a verdict"):
        world.cloud.answer(verdict)
    own = post_of(world.hospital).send(
        "cloud", Verdict(b"t" * 16, 1, 3, b"\0\0", b"\3\0\0\0"), nonce=b"n" * 16, sequence=0
    )
    refuse(world, ReflectionError, world.hospital.report, own)


def test_another_users_or_clouds_frame_under_a_known_id_is_refused(world):
    """Knowing all public keys is not enough to speak for somebody."""
    world.publish()
    impostor = ompd.User.create("alice", **world.options)
    impostor.meet(world.hospital.public)
    frame = impostor.ask("st-mary", "flu", [1, 2, 3])
    refuse(world, SignatureError, world.hospital.forward, frame)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ([13, 1, 1], DomainError, "feature 'f0': expected a value from 0 to 12"),
        ([1, 1.5, 1], DomainError, "feature 'f1': expected a whole number"),
        ([1, 1], FeatureError, "expected 3 per row"),
        ([1, 1, 1, 1], FeatureError, "expected 3 per row"),
        ([[1, 1, 1], [1, -1, 1]], DomainError, "row 1, feature 'f1'"),
    ],
)
def test_hospital_refuses_features_out_of_schema(world, features, error, message):
    world.publish()
    query = world.user.ask("st-mary", "flu", features)
    refuse(world, error, world.hospital.forward, query, message)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ([float("nan"), 1, 1], FeatureError, "row 0, feature 0: expected a finite number"),
        ([1, 1, None], FeatureError, "got NoneType"),
        ([1, 1, "1"], FeatureError, "got str"),
        ([], FeatureError, "at least one"),
        (np.empty((0, 3)), FeatureError, "at least one"),
        (np.zeros((100_001, 1)), TooLargeError, "at most 100000 rows"),
    ],
)
def test_user_refuses_what_is_no_vector_of_numbers(world, features, error, message):
    refuse(world, error, lambda x: world.user.ask("st-mary", "flu", x), features, message)


def test_unknown_names_are_refused(world):
    world.publish()
    query = world.user.ask("st-mary", "gout", [1, 2, 3])
    refuse(world, UnknownDiseaseError, world.hospital.forward, query, "no table")
    refuse(world, UnknownKeyError, lambda h: world.user.ask(h, "flu", [1]), "st-john")
    for name in ("", "x" * 256, "\ud800", 5):
        refuse(world, ParameterError, lambda d: world.user.ask("st-mary", d, [1]), name)
    with pytest.raises(UnknownKeyError):
        world.hospital.publish("flu", instances(), cloud="elsewhere", k=3)
    with pytest.raises(ParameterError, match="profile: expected one of"):
        ompd.Hospital.create("h", profile="none")
    assert ompd.Hospital.create("h").profile == "sealed"
    for method, priors in (("knn", "equal"), ("relief-mw", "none")):
        with pytest.raises(ParameterError, match="expected"):
            world.publish(method=method, priors=priors)


@pytest.mark.parametrize("k", [0, 2, 61, -1, 3.0])
def test_hospital_refuses_an_impossible_k(world, k):
    publish = lambda value: world.hospital.publish("flu", instances(), cloud="cloud", k=value)  # noqa: E731
    refuse(world, NeighborsError, publish, k, "expected an odd integer")


def test_hospital_refuses_instances_that_cannot_train(world):
    publish = lambda data: world.hospital.publish("flu", data, cloud="cloud", k=1)  # noqa: E731
    data = instances(rows=5)
    data.labels = np.array([0, 0, 0, 0, 1])
    refuse(world, TrainingError, publish, data, "class 'yes': expected at least two instances")
    data.labels = np.array([0, 0, 0, 1, 2])
    refuse(world, LabelError, publish, data)
    data = instances(rows=6)
    data.features[3, 1] = 55
    refuse(world, DomainError, publish, data, "row 3, feature 'f1'")
    advise = lambda advice: world.publish(advice=advice)  # noqa: E731
    refuse(world, LabelError, advise, {"maybe": "?"})
    refuse(world, ParameterError, advise, {"yes": "x" * 65_537})
    refuse(world, ParameterError, advise, {"yes": "\ud800"})
    refuse(world, ParameterError, advise, ["yes"])
    refuse(world, ParameterError, publish, (data.features, data.labels), "see Dataset.from_arrays")


def test_tables_follow_one_another_without_a_pause(world):
    ask = lambda: world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3]))  # noqa: E731
    first = world.publish(data=instances(seed=1))
    stale = ask()
    (second,) = world.hospital.publish("flu", instances(seed=2), cloud="cloud", k=3)
    (third,) = world.hospital.publish("flu", instances(seed=3), cloud="cloud", k=3)
    # Neither lost uploads nor one on its way hold up the old version.
    assert world.user.read(world.frames()[-1])
    receipt = world.cloud.store(third)
    refuse(world, VersionError, world.cloud.store, second, "above 3")
    unchanged(world, world.cloud.store, first)
    waiting = ask()
    world.cloud.answer(waiting)
    late = ask()
    world.hospital.confirm(receipt)
    assert world.user.read(world.frames()[-1])
    # What left before the receipt came is still answered, for as long as frames live.
    world.cloud.answer(late)
    world.clock.now += 100
    assert world.user.read(world.frames()[-1])
    world.clock.now += 19
    world.cloud.answer(stale)
    forged = PaperJob(next(iter(world.cloud.tables.kept())), 1, 1, bytes(5 * 64), b"\1" + bytes(63))
    world.clock.now += 2
    refuse(world, VersionError, world.cloud.answer, send(world.hospital, "cloud", forged), "3")


def test_receipts_that_fit_no_upload_are_refused(world):
    other = ompd.Cloud.create("cloud-2", **world.options)
    ompd.introduce(other, world.hospital)
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    refuse(world, UnknownDiseaseError, world.hospital.forward, query)
    receipt = world.cloud.store(upload)
    (table_id,) = world.cloud.tables.kept()
    for cloud, body, error in (
        (world.cloud, Receipt(b"x" * 16, 1, 3, 60), ContextMismatchError),
        (world.cloud, Receipt(table_id, 2, 3, 60), ContextMismatchError),
        (world.cloud, Receipt(table_id, 1, 5, 60), NeighborsError),
        (other, Receipt(table_id, 1, 3, 60), ContextMismatchError),
    ):
        refuse(world, error, world.hospital.confirm, send(cloud, "st-mary", body))
    world.hospital.confirm(receipt)
    refuse(world, ContextMismatchError, world.hospital.confirm, receipt)
    again = send(world.cloud, "st-mary", Receipt(table_id, 1, 3, 60))
    refuse(world, ContextMismatchError, world.hospital.confirm, again)
    world.hospital.forward(query)


def test_a_cloud_cannot_choose_an_impossible_k(world):
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud")
    world.cloud.store(upload)
    (table_id,) = world.cloud.tables.kept()
    for k in (0, 2, 61):
        frame = send(world.cloud, "st-mary", Receipt(table_id, 1, k, 60))
        refuse(world, NeighborsError, world.hospital.confirm, frame)


def test_reports_show_votes_and_probabilities(world):
    data = instances(classes=("a", "b", "c"))
    for k in (1, 7):
        world.publish("flu", data, k=k)
        features = np.clip(data.features[:20] + 1, 0, 12)
        for diagnosis in world.user.read(world.frames(features)[-1]):
            assert list(diagnosis.votes) == list(diagnosis.probabilities) == ["a", "b", "c"]
            assert sum(diagnosis.votes.values()) == k
            assert diagnosis.votes[diagnosis.label] == max(diagnosis.votes.values())
            assert sum(diagnosis.probabilities.values()) == pytest.approx(1)
            # It is the cloud that found them.
            assert not diagnosis.certified


def send(sender, recipient, body, like=None):
    """A frame with a body of the test's choosing, properly signed and sealed."""
    nonce, sequence = (like.nonce, like.sequence) if like else (b"n" * 16, 5)
    return post_of(sender).send(recipient, body, nonce=nonce, sequence=sequence)


def test_cloud_refuses_jobs_that_do_not_fit_its_table(world):
    world.publish()
    (table_id,) = world.cloud.tables.kept()
    modulus = world.cloud.tables.kept()[table_id][0].stored.modulus.value
    good = {
        "table_id": table_id,
        "version": 1,
        "rows": 1,
        "points": bytes(5 * 64),
        "tokens": b"\1" + bytes(63),
    }
    full = modulus.to_bytes(64, "little")
    for changes, error in (
        ({"table_id": b"x" * 16}, ContextMismatchError),
        ({"version": 2}, VersionError),
        ({"rows": 2}, FramingError),
        ({"points": bytes(4 * 64)}, FramingError),
        ({"tokens": bytes(65)}, FramingError),
        ({"points": bytes(4 * 64) + full}, RangeError),
        ({"tokens": full}, RangeError),
        ({"tokens": bytes(64)}, RangeError),
    ):
        frame = send(world.hospital, "cloud", PaperJob(**(good | changes)))
        refuse(world, error, world.cloud.answer, frame)
    other = ompd.Hospital.create("st-john", profile="paper", **world.options)
    ompd.introduce(other, world.cloud)
    refuse(world, ContextMismatchError, world.cloud.answer, send(other, "cloud", PaperJob(**good)))


def test_cloud_refuses_impossible_tables(world):
    world.publish()
    (table_id,) = world.cloud.tables.kept()
    modulus = (2**511 + 111).to_bytes(64, "little")
    good = {
        "table_id": b"y" * 16,
        "version": 1,
        "modulus": modulus,
        "coordinates": 3,
        "limbs": 8,
        "classes": 2,
        "k": 1,
        "rows": 2,
        "first": 0,
        "labels": b"\0\0\1\0",
        "values": bytes(2 * 3 * 64),
    }
    for changes, error in (
        ({"modulus": modulus + b"\0"}, OmpdError),
        ({"modulus": b""}, OmpdError),
        ({"modulus": (2**511).to_bytes(64, "little")}, ParameterError),
        ({"limbs": 9}, ParameterError),
        ({"coordinates": 4}, FramingError),
        ({"values": b""}, OmpdError),
        ({"values": bytes(5 * 64) + b"\xff" * 64}, RangeError),
        ({"values": bytes(5 * 64) + modulus}, RangeError),
        ({"labels": b"\0\0"}, FramingError),
        ({"labels": b"\0\0\2\0"}, LabelError),
        ({"k": 2}, NeighborsError),
        ({"k": 3}, NeighborsError),
        ({"k": 0, "rows": 1, "labels": b"\0\0", "values": bytes(3 * 64)}, NeighborsError),
        ({"rows": 1}, FramingError),
        ({"first": 1}, FramingError),
    ):
        frame = send(world.hospital, "cloud", PaperUpload(**(good | changes)))
        refuse(world, error, world.cloud.store, frame)
    other = ompd.Hospital.create("st-john", profile="paper", **world.options)
    ompd.introduce(other, world.cloud)
    theft = PaperUpload(**(good | {"table_id": table_id, "version": 9}))
    refuse(world, ContextMismatchError, world.cloud.store, send(other, "cloud", theft))
    world.cloud.store(send(world.hospital, "cloud", PaperUpload(**good)))


def test_hospital_refuses_verdicts_that_do_not_fit_the_job(world, caplog):
    """Only the user can tell the report on such a verdict from any other."""
    caplog.set_level(logging.WARNING)
    world.publish()
    (table_id,) = world.cloud.tables.kept()
    length = len(world.frames()[-1])

    def forged(nonce, changes):
        good = {"table_id": table_id, "version": 1, "k": 3}
        good |= {"codes": b"\0\0", "votes": b"\2\0\1\0"}
        body = Verdict(**(good | changes))
        return post_of(world.cloud).send("st-mary", body, nonce=nonce, sequence=0)

    world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3]))
    refuse(world, ContextMismatchError, world.hospital.report, forged(b"q" * 16, {}))
    for changes, reason in (
        ({"table_id": b"x" * 16}, "another table"),
        ({"version": 2}, "another version"),
        ({"k": 2}, "k: expected"),
        ({"k": 61}, "k: expected"),
        ({"k": 5}, "k: expected"),
        ({"codes": b""}, "expected codes"),
        ({"codes": b"\0\0\0\0"}, "expected codes"),
        ({"codes": b"\2\0"}, "class code"),
        ({"codes": b"\1\0"}, "class code"),
        ({"votes": b"\2\0"}, "expected codes"),
        ({"votes": b"\2\0\2\0"}, "K votes"),
    ):
        job = world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3]))
        frame = forged(Frame.decode(job, Kind.PAPER_JOB).header.nonce, changes)
        report = world.hospital.report(frame)
        assert len(report) == length
        with pytest.raises(NoAnswerError):
            world.user.read(report)
        assert reason in caplog.records[-1].getMessage()
        # An answer is tried once.
        refuse(world, ReplayError, world.hospital.report, frame)
        refuse(world, ReplayError, world.hospital.report, world.cloud.answer(job))


MARK = 7.0625


def test_secrets_and_patient_values_stay_out_of_sight(world, caplog):
    """Plant a recognisable value and look for it, and for the key, in everything printable."""
    caplog.set_level(logging.DEBUG)
    data = instances()
    schema = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(3)), ("no", "yes")
    )
    data.schema = schema
    data.features[5, 1] = MARK
    world.publish("flu", data)
    query = world.user.ask("st-mary", "flu", [MARK, 1, 1])
    job = world.hospital.forward(query)
    verdict = world.cloud.answer(job)
    report = world.hospital.report(verdict)
    diagnoses = world.user.read(report)
    table = world.hospital.tables["flu"]
    texts = [repr(o) + str(o) for o in (world.user, world.hospital, world.cloud, diagnoses[0])]
    key = table.retrieval.key
    texts += [repr(table), repr(table.retrieval), repr(key), repr(world.cloud.tables.kept())]
    sums = table.encoder.encode([MARK, 1, 1])
    texts += [repr(table.encoder), repr(blind_queries(key, sums)), repr(world.user._asked)]
    for features in ([MARK + 100, 1, 1], [1, MARK, 1, 1], [[1, 1, 1], [MARK * 100, 1, 1]]):
        frame = world.user.ask("st-mary", "flu", features)
        try:
            world.hospital.forward(frame)
        except OmpdError:
            # Source lines are not data; all messages of the chain are.
            lines = traceback.format_exc().splitlines()
            texts.append("\n".join(line for line in lines if not line.startswith(" ")))
    texts.append(caplog.text)
    hidden = [key.scalar, key.multiplier, *table.encoder.weights, *sums[0].tolist()]
    secrets = [str(MARK), "7.06", "107.06", "706.25", *map(str, hidden), *map(hex, hidden)]
    for text in texts:
        assert not any(secret in text for secret in secrets)
    assert len(texts) == 4 + 4 + 3 + 3 + 1


def test_datasets_and_protocol_fit_together(world):
    from ompd import datasets

    train, test = datasets.load("mm").split(seed=3)
    world.publish(train.info.disease, train, k=11)
    diagnoses = world.user.read(world.frames(test.features, train.info.disease)[-1])
    right = [d.label == test.schema.classes[c] for d, c in zip(diagnoses, test.labels, strict=True)]
    assert sum(right) > 0.75 * len(test)
    with pytest.raises(DatasetError):
        datasets.load("flu")


def test_paper_parameters_are_the_hospitals(world):
    world.publish()
    assert world.hospital.tables["flu"].retrieval.key.parameters is PAPER


def test_a_frame_above_the_receivers_cap_is_not_sent(world):
    world.publish()
    ask = lambda x: world.user.ask("st-mary", "flu", x)  # noqa: E731
    refuse(world, TooLargeError, ask, np.ones((100_000, 30)), "above the cap")


def test_a_full_hospital_does_not_use_up_the_query(world, monkeypatch):
    world.publish()
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    monkeypatch.setattr("ompd.roles.turns.CAPACITY", 0)
    refuse(world, TooLargeError, world.hospital.forward, query, "open at once")
    monkeypatch.undo()
    world.hospital.forward(query)


def test_two_threads_with_one_frame_get_one_answer(world):
    world.publish()
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    job = world.hospital.forward(query)

    def answer(_):
        try:
            return world.cloud.answer(job)
        except ReplayError:
            return None

    with ThreadPoolExecutor(4) as pool:
        answers = {frame for frame in pool.map(answer, range(12)) if frame}
    assert len(answers) == 1


def test_uploads_of_two_hospitals_may_arrive_together(world):
    world.publish()
    upload = world.hospital.publish("gout", instances(seed=1), cloud="cloud", k=3)
    found = world.cloud.tables.kept()
    for _ in found.values():
        # While one upload looks at the tables of all, another one adds its own.
        world.hospital.deliver(upload, world.cloud.store)
    assert (len(found), len(world.cloud.tables.kept())) == (1, 2)


def test_frames_of_one_query_differ_little_between_diseases(world):
    lengths = {len(world.user.ask("st-mary", name, [1, 2, 3])) for name in ("gout", "asthma")}
    assert len(lengths) == 1


def test_senseless_arguments_are_refused(world):
    with pytest.raises(ParameterError, match="each as an argument"):
        ompd.introduce([world.hospital, world.cloud])
    for window in (float("nan"), 0, -1, float("inf")):
        with pytest.raises(ParameterError, match="window"):
            ompd.User.create("bob", window=window)


def test_a_disease_is_found_however_its_letters_are_composed(world):
    composed, apart = "Z\u00f6kum", "Zo\u0308kum"
    world.publish(apart, instances(), k=3)
    assert set(world.hospital.diseases) >= {composed}
    job = world.hospital.forward(world.user.ask("st-mary", apart, [1, 2, 3]))
    assert world.user.read(world.hospital.report(world.cloud.answer(job)))
    assert world.hospital.remaining(apart) == world.hospital.remaining(composed)
