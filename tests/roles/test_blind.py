"""Profile `blind`: labels as the plain model's, for whoever has the key, and for nobody else."""

from __future__ import annotations

import os

import numpy as np
import pytest

import ompd
from ompd import datasets
from ompd.crypto import Identity
from ompd.encode import AdditiveModel, count_cells, model_of_counts
from ompd.errors import (
    AllowanceError,
    ContextMismatchError,
    DowngradeError,
    FrameError,
    OutdatedError,
    OutdatedRefusalError,
    ParameterError,
    RefusedError,
    ReplayError,
    StoreError,
    TooLargeError,
    UnenrolledError,
    UnknownDiseaseError,
)
from ompd.roles import blind_desk
from ompd.roles.blind_keys import FILE, BlindKeys
from ompd.schema import Bins, Feature, Schema
from tests.marks import long
from tests.roles.conftest import World, instances, keys_of, post_of


def blind_world(data=None, **options):
    """A hospital with a blind model of flu, and a user that has enrolled."""
    world = World(profile="sealed")
    publish(world, data, **options)
    world.user.learn(world.hospital.catalogue())
    world.user.enrolled(world.hospital.answer(world.user.enrol("st-mary")))
    return world


def publish(world, data=None, disease="flu", **options):
    upload = world.hospital.publish(disease, data or instances(), profile="blind", **options)
    assert len(upload) == 0
    return world.hospital.deliver(upload, lambda frame: pytest.fail("there is no cloud"))


def ask(world, features, disease="flu", **options):
    query = world.user.ask("st-mary", disease, features, **options)
    return world.user.read(world.hospital.answer(query))


@pytest.fixture(scope="module")
def enrolled():
    return blind_world(answers=100_000)


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c", "d")])
def test_diagnoses_are_those_of_the_plain_model(classes):
    data = instances(rows=120, classes=classes)
    world = blind_world(data, answers=1000, advice={classes[1]: "see a doctor"})
    model = world.hospital.blind["flu"].model
    rows = data.features[:30]
    found = ask(world, rows)
    codes, probabilities = model.judge(rows)
    assert found.labels.tolist() == [classes[code] for code in codes]
    # Bit for bit: they are functions of whole numbers.
    assert found.probabilities.tobytes() == probabilities.tobytes()
    advised = {each.label: each.advice for each in found}
    assert advised.get(classes[1], "see a doctor") == "see a doctor"
    one = found[0]
    assert (one.profile, one.method, one.k, one.certified) == ("blind", "evidence", 0, True)
    assert set(one.votes.values()) == {0}
    assert world.hospital.left("alice", "flu") == 970


@pytest.mark.parametrize("name", [*long("wbc", "mm")])
def test_every_record_has_the_label_of_the_plain_model(name):
    data = datasets.load(name)
    world = blind_world(data, answers=10_000)
    world.user.learn(world.hospital.catalogue())
    parts = [
        world.user.read(world.hospital.answer(query))
        for query in world.user.ask_all("st-mary", "flu", data.features)
    ]
    found = ompd.Diagnoses.concatenate(parts)
    codes, probabilities = world.hospital.blind["flu"].model.judge(data.features)
    assert found.codes.tolist() == codes.tolist()
    assert found.probabilities.tobytes() == probabilities.tobytes()
    assert len(found) == len(data)


def test_records_of_wbc_one_by_one():
    train, test = datasets.load("wbc").split(seed=3)
    world = blind_world(train)
    rows = test.features[:6]
    codes, probabilities = world.hospital.blind["flu"].model.judge(rows)
    found = [ask(world, row)[0] for row in rows]
    assert [each.label for each in found] == [train.schema.classes[code] for code in codes]
    assert [tuple(each.probabilities.values()) for each in found] == [
        tuple(row) for row in probabilities.tolist()
    ]


def test_missing_values_have_a_cell_of_their_own():
    schema = Schema(
        (
            Feature("dose", "numeric", 0.0, 10.0, missing="median"),
            Feature("shape", "nominal", 1, 3, missing="level"),
        ),
        ("no", "yes"),
    )
    rng = np.random.default_rng(1)
    labels = np.arange(80) % 2
    features = np.column_stack([rng.uniform(0, 5, 80) + 4 * labels, rng.integers(1, 4, 80)])
    features[labels == 1, 1] = np.nan
    data = datasets.Dataset.from_arrays(schema, features, [schema.classes[c] for c in labels])
    world = blind_world(data)
    asked = [[np.nan, np.nan], [9.0, 1], [None, 2]]
    found = ask(world, asked)
    expected = world.hospital.blind["flu"].model.judge(np.array(asked, dtype=float))[1]
    assert found.probabilities.tobytes() == expected.tobytes()
    assert found.filled.tolist() == [2, 0, 1]
    assert found[0].label == "yes"


def test_frames_and_columns_are_read_as_elsewhere(enrolled):
    rows = [{"f1": 3, "f0": 4, "f2": 5, "name": "x"}, {"f0": 99, "f1": 3, "f2": 5}]
    found = ask(enrolled, rows, errors="collect", ids=["p", "q"])
    assert found.ids.tolist() == ["p", "q"]
    assert found[1].error
    assert found[0].probabilities == ask(enrolled, [4, 3, 5])[0].probabilities


def test_all_frames_of_a_disease_have_one_length(enrolled):
    queries = [
        enrolled.user.ask("st-mary", "flu", rows) for rows in ([[0, 0, 0]], [[12, 12, 12]] * 40)
    ]
    reports = [enrolled.hospital.answer(query) for query in queries]
    # But for the count of rows, which may take a byte or two more.
    assert len({len(report) for report in reports}) == 1
    assert abs(len(queries[0]) - len(queries[1])) <= 4
    assert max(len(q) + len(r) for q, r in zip(queries, reports, strict=True)) < 200_000


def test_nobody_is_answered_beyond_the_quota():
    world = blind_world(answers=5)
    ask(world, [[1, 2, 3]] * 3)
    query = world.user.ask("st-mary", "flu", [[1, 2, 3]] * 3)
    with pytest.raises(AllowanceError):
        world.hospital.answer(query)
    refusal = world.hospital.refuse(query)
    with pytest.raises(AllowanceError):
        world.user.read(refusal)
    assert world.user.open_queries == 0
    ask(world, [[1, 2, 3]] * 2)
    assert world.hospital.left("alice", "flu") == 0
    # Each version counts anew, and each user has a count.
    publish(world, answers=5)
    world.user.learn(world.hospital.catalogue())
    assert world.hospital.left("alice", "flu") == world.hospital.left("bob", "flu") == 5
    ask(world, [1, 2, 3])


def test_a_query_is_answered_once_and_the_same_again(enrolled):
    query = enrolled.user.ask("st-mary", "flu", [1, 2, 3])
    before = enrolled.hospital.left("alice", "flu")
    report = enrolled.hospital.answer(query)
    for _ in range(2):
        with pytest.raises(ReplayError):
            enrolled.hospital.answer(query)
    assert enrolled.hospital.left("alice", "flu") == before - 1
    assert enrolled.hospital.answered(query) == report
    assert enrolled.hospital.settle(query) == report
    enrolled.user.read(report)
    with pytest.raises(FrameError):
        enrolled.user.read(report)


def test_a_key_that_was_not_enrolled_gets_nothing():
    world = World(profile="sealed")
    publish(world)
    world.user.learn(world.hospital.catalogue())
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    with pytest.raises(UnenrolledError):
        world.hospital.answer(query)
    with pytest.raises(UnenrolledError):
        world.user.read(world.hospital.refuse(query))
    receipt = world.hospital.answer(world.user.enrol("st-mary"))
    world.user.enrolled(receipt)
    with pytest.raises(FrameError):
        world.user.enrolled(receipt)
    assert ask(world, [1, 2, 3])[0].label


def test_a_key_belongs_to_one_user_and_its_signing_key(enrolled):
    other = ompd.User.create("bob", **enrolled.options)
    ompd.introduce(enrolled.hospital, other)
    other.learn(enrolled.hospital.catalogue())
    # With the key of alice, which bob never enrolled.
    own, other._blind_keys = other._blind_keys, enrolled.user._blind_keys
    with pytest.raises(UnenrolledError):
        enrolled.hospital.answer(other.ask("st-mary", "flu", [1, 2, 3]))
    other._blind_keys = own
    other.enrolled(enrolled.hospital.answer(other.enrol("st-mary")))
    report = enrolled.hospital.answer(other.ask("st-mary", "flu", [1, 2, 3]))
    with pytest.raises(FrameError):
        enrolled.user.read(report)
    assert other.read(report)[0].label


def test_new_signing_keys_enrol_anew():
    world = blind_world()
    store = world.hospital._blind._store
    signer, key_id = store.key_id("alice")
    assert signer == world.user.public.signing_key
    store.keep_key("alice", b"an older signing key", store.key("alice").key)
    with pytest.raises(UnenrolledError):
        world.hospital.answer(world.user.ask("st-mary", "flu", [1, 2, 3]))
    world.user.enrolled(world.hospital.answer(world.user.enrol("st-mary")))
    assert store.key_id("alice") == (signer, key_id)
    assert ask(world, [1, 2, 3])[0].label


def test_altered_frames_get_nothing(enrolled, rng):
    query = enrolled.user.ask("st-mary", "flu", [1, 2, 3])
    report = enrolled.hospital.answer(query)
    for frame, receive in ((query, enrolled.hospital.answer), (report, enrolled.user.read)):
        for place in [*rng.integers(0, len(frame), 6), len(frame) - 1]:
            changed = bytearray(frame)
            changed[place] ^= 1
            with pytest.raises(ompd.OmpdError):
                receive(bytes(changed))
        for cut in (b"", frame[:100], frame[:-1], frame + b"\0"):
            with pytest.raises(FrameError):
                receive(cut)
    assert enrolled.user.read(report)[0].label


def test_a_model_of_another_edition_is_not_asked():
    world = blind_world()
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    late = world.user.ask("st-mary", "flu", [1, 2, 3])
    report = world.hospital.answer(query)
    publish(world)
    with pytest.raises(OutdatedError):
        world.hospital.answer(late)
    with pytest.raises(OutdatedRefusalError):
        world.user.read(world.hospital.refuse(late))
    # What was answered before can still be read.
    assert world.user.read(report)[0].label


def test_more_rows_than_slots_are_several_queries():
    world = blind_world(answers=1000)
    most = world.user.diseases("st-mary")["flu"].most_rows
    rows = np.tile([1.0, 2.0, 3.0], (most + 1, 1))
    with pytest.raises(TooLargeError, match="ask_all"):
        world.user.ask("st-mary", "flu", rows)
    queries = list(world.user.ask_all("st-mary", "flu", rows))
    assert [len(world.user.read(world.hospital.answer(each))) for each in queries] == [most, 1]


def test_who_asks_blindly_sends_nothing_that_could_be_read():
    world = World(profile="sealed")
    publish(world)
    careful = ompd.User.create("carol", least_profile="blind", **world.options)
    ompd.introduce(world.hospital, careful)
    with pytest.raises(OutdatedError, match="blindly"):
        careful.ask("st-mary", "flu", [1, 2, 3])
    world.publish("cold")
    careful.learn(world.hospital.catalogue())
    with pytest.raises(DowngradeError):
        careful.ask("st-mary", "cold", [1, 2, 3])
    assert world.hospital.diseases.keys() == {"flu", "cold"}


def test_what_the_hospital_sees_depends_on_no_feature(enrolled):
    """Two queries differ all over, whether they ask for the same or not."""
    from ompd.wire import BlindQuery, Frame, Kind

    cells = []
    for row in ([1, 2, 3], [1, 2, 3], [9, 9, 9]):
        frame = enrolled.user.ask("st-mary", "flu", row)
        body = post_of(enrolled.hospital).open(Frame.decode(frame, Kind.BLIND_QUERY), BlindQuery)
        cells.append(np.frombuffer(body.cells[52:], np.uint8))
    for other in cells[1:]:
        assert (cells[0] == other).mean() == pytest.approx(1 / 256, abs=0.002)


def test_a_table_and_a_model_do_not_share_a_name():
    world = blind_world()
    with pytest.raises(ParameterError, match="blind model"):
        world.publish("flu")
    world.publish("cold")
    with pytest.raises(ParameterError, match="another profile"):
        publish(world, disease="cold")
    upload = world.hospital.withdraw("flu")
    assert len(upload) == 0
    assert world.hospital.blind == {}
    with pytest.raises(UnknownDiseaseError):
        world.hospital.left("alice", "flu")
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    with pytest.raises(UnknownDiseaseError):
        world.hospital.answer(query)
    with pytest.raises(RefusedError):
        world.user.read(world.hospital.refuse(query))
    world.publish("flu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cloud": "cloud"}, "cloud"),
        ({"k": 3}, "k"),
        ({"decision": "majority"}, "decision"),
        ({"method": "relief-mw"}, "method"),
        ({"answers": 0}, "answers"),
        ({"answers": True}, "answers"),
        ({"priors": "none"}, "priors"),
        ({"advice": {"other": "x"}}, "advice"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    world = World(profile="sealed")
    with pytest.raises(ompd.OmpdError, match=message):
        world.hospital.publish("flu", instances(), profile="blind", **options)
    assert world.hospital.diseases == {}


def test_options_of_blind_models_are_of_no_table():
    world = World(profile="sealed")
    with pytest.raises(ParameterError, match="answers"):
        world.hospital.publish("flu", instances(), cloud="cloud", answers=3)
    with pytest.raises(ParameterError, match="cloud"):
        world.hospital.publish("flu", instances())
    with pytest.raises(ParameterError, match="sealed"):
        world.hospital.publish("flu", instances(), cloud="cloud", profile="paper")
    hospital = ompd.Hospital.create("st-john", profile="blind")
    assert hospital.profile == "blind"
    hospital.publish("flu", instances())
    assert hospital.blind.keys() == {"flu"}


def test_nobody_asks_himself_blindly():
    train, test = datasets.load("wbc").split(seed=1)
    with pytest.raises(ParameterError, match="two parties"):
        ompd.diagnose(test.features[:1], train, profile="blind", progress=False)


def test_a_model_with_too_many_cells_is_refused_before_it_is_trained():
    features = tuple(Feature(f"f{j}", "nominal", 0, 4000) for j in range(3))
    schema = Schema(features, ("no", "yes"))
    data = datasets.Dataset.from_arrays(schema, [[0, 1, 2], [1, 2, 3]] * 2, ["no", "yes"] * 2)
    with pytest.raises(TooLargeError, match="slots"):
        World(profile="sealed").hospital.publish("flu", data, profile="blind")


def test_models_keys_and_counts_outlive_the_process(tmp_path):
    world = World(profile="sealed", state=tmp_path / "state")
    publish(world, answers=5)
    world.user.learn(world.hospital.catalogue())
    world.user.enrolled(world.hospital.answer(world.user.enrol("st-mary")))
    before = ask(world, [[1, 2, 3]] * 3)
    world.hospital.close()
    again = ompd.Hospital(
        **keys_of(world.hospital), clock=world.clock, directory=world.hospital.directory,
        state=tmp_path / "state",
    )  # fmt: skip
    assert again.left("alice", "flu") == 2
    world.user.learn(again.catalogue())
    query = world.user.ask("st-mary", "flu", [[1, 2, 3]] * 2)
    assert world.user.read(again.answer(query)) == before[:2]
    with pytest.raises(AllowanceError):
        again.answer(world.user.ask("st-mary", "flu", [1, 2, 3]))
    again.close()
    (tmp_path / "state" / blind_desk.FILE).write_bytes(bytes(1000))
    with pytest.raises(StoreError):
        ompd.Hospital(
            **keys_of(world.hospital), clock=world.clock, directory=world.hospital.directory,
            state=tmp_path / "state",
        )  # fmt: skip


def test_without_blind_models_there_is_no_file(tmp_path):
    world = World(profile="sealed", state=tmp_path / "state")
    world.publish("flu")
    world.hospital.close()
    assert not (tmp_path / "state" / blind_desk.FILE).exists()


def test_a_users_key_is_kept_for_its_identity_alone(tmp_path):
    identity = Identity.generate("alice")
    key = BlindKeys(identity, tmp_path).get()
    assert BlindKeys(identity, tmp_path).get().key_id == key.key_id
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600 or os.name != "posix"
    assert key.to_bytes()[2:67] not in path.read_bytes()
    assert key.public not in path.read_bytes()
    for other in (Identity.generate("alice"), Identity.generate("bob")):
        with pytest.raises(StoreError, match="other keys"):
            BlindKeys(other, tmp_path).get()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="damaged"):
        BlindKeys(identity, tmp_path).get()
    assert repr(BlindKeys(identity)) == "<BlindKeys>"


@pytest.mark.parametrize("junk", [b"\x00", b"\x01\x0cscores-8192-16", bytes(1000)])
def test_what_is_no_key_is_not_enrolled(enrolled, junk):
    from ompd.wire import BlindKey

    frame = post_of(enrolled.user).send("st-mary", BlindKey(junk), nonce=os.urandom(16), sequence=0)
    before = enrolled.hospital._blind._store.key_id("alice")
    with pytest.raises(ompd.OmpdError):
        enrolled.hospital.answer(frame)
    assert enrolled.hospital._blind._store.key_id("alice") == before


def test_hospitals_and_clouds_do_not_ask(enrolled):
    from ompd.wire import BlindKeyReceipt

    receipt = post_of(enrolled.user).send(
        "st-mary", BlindKeyReceipt(bytes(32)), nonce=os.urandom(16), sequence=0
    )
    with pytest.raises(FrameError):
        enrolled.hospital.answer(receipt)
    with pytest.raises(FrameError):
        enrolled.hospital.forward(enrolled.user.ask("st-mary", "flu", [1, 2, 3]))


def test_reports_of_another_kind_are_refused(enrolled):
    from ompd.wire import BlindReport, Frame, Kind

    query = enrolled.user.ask("st-mary", "flu", [1, 2, 3])
    header = Frame.decode(query, Kind.BLIND_QUERY).header
    found = enrolled.hospital.blind["flu"]

    def report(body):
        waiting = enrolled.user._asked.find(
            type(header)(
                header.version, Kind.BLIND_REPORT, "st-mary", "alice", header.nonce,
                header.timestamp, header.sequence,
            ),
            enrolled.clock.now,
        )  # fmt: skip
        return post_of(enrolled.hospital).send(
            "alice", body, nonce=header.nonce, sequence=header.sequence,
            encrypt_to=waiting.reply_key.public_bytes,
        )  # fmt: skip

    with pytest.raises(ContextMismatchError):
        enrolled.user.read(report(BlindReport(bytes(16), found.findings, b"\x01")))
    with pytest.raises(FrameError):
        enrolled.user.read(report(BlindReport(found.edition, found.findings, b"\x01")))
    with pytest.raises(FrameError):
        enrolled.user.read(report(BlindReport(found.edition, found.findings[::-1], b"\x01")))
    assert enrolled.user.read(enrolled.hospital.answer(query))[0].label


def test_a_model_of_counts_is_asked_like_any_other():
    """Counts of several hospitals, of which nobody saw the others' records."""
    train, test = datasets.load("wbc").split(40, seed=2)
    bins = Bins.even(train.schema)
    parts = [train.take(np.arange(start, len(train), 5)) for start in range(5)]
    counts = sum(count_cells(bins, part.features, part.labels) for part in parts)
    model = model_of_counts(bins, counts)
    world = World(profile="sealed")
    world.hospital.publish_model("flu", model, rows=len(train), advice={"benign": "rest"})
    world.user.learn(world.hospital.catalogue())
    world.user.enrolled(world.hospital.answer(world.user.enrol("st-mary")))
    found = ask(world, test.features[:12])
    labels, probabilities = model.judge(test.features[:12])
    assert [each.label for each in found] == list(train.schema.names(labels))
    assert np.array([list(each.probabilities.values()) for each in found]).tolist() == (
        probabilities.tolist()
    )
    assert world.hospital.blind["flu"].rows == len(train)


def test_models_that_cannot_be_asked():
    world = World(profile="sealed")
    data = instances()
    bins = Bins.even(data.schema)
    counts = count_cells(bins, data.features, data.labels)
    model = model_of_counts(bins, counts)
    for bad in (None, counts, "model"):
        with pytest.raises(ParameterError, match="model"):
            world.hospital.publish_model("flu", bad, rows=9)
    for rows in (0, -1, 1.5, True, None):
        with pytest.raises(ParameterError, match="rows"):
            world.hospital.publish_model("flu", model, rows=rows)
    with pytest.raises(ParameterError, match="answers"):
        world.hospital.publish_model("flu", model, rows=9, answers=0)
    large = AdditiveModel(bins, model.weights * 10**6, model.bits)
    with pytest.raises(TooLargeError, match="scores"):
        world.hospital.publish_model("flu", large, rows=9)
    world.publish("cold")
    with pytest.raises(ParameterError, match="another profile"):
        world.hospital.publish_model("cold", model, rows=9)
    assert not world.hospital.blind
