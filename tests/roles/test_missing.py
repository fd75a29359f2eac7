"""Missing values from the record to the report: the hospital fills them, and says how many."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ompd
from ompd.encode import CoarseEncoder, Filling, coarsen
from ompd.errors import FeatureError, FramingError, ParameterError, StoreError, TrainingError
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.params import METHODS
from ompd.roles.encoders import restored_filling, stored_filling
from ompd.roles.frozen import Frozen, noise_key_of, record_names
from ompd.roles.reports import longest
from ompd.search import LimbTable, choose_k
from ompd.search.decision import Rule
from ompd.stores import BudgetLedger
from ompd.wire import Frame, Kind, Query, Report
from tests import naive
from tests.roles.conftest import World, keys_of, post_of, shelf_of
from tests.roles.test_profiles import PROFILES, opened

FEATURES = (
    ompd.Feature("age", "numeric", 0, 12),
    ompd.Feature("sugar", "numeric", 0, 12, missing="median"),
    ompd.Feature("grade", "ordinal", 0, 12, missing="median"),
    ompd.Feature("smoker", "nominal", 0, 2, missing="level"),
    ompd.Feature("side", "nominal", 0, 2, missing="median"),
)
SCHEMA = ompd.Schema(FEATURES, ("no", "yes"))
GAPPY = np.array([each.missing != "refuse" for each in FEATURES])
NOTHING = [5.0, *[np.nan] * 4]


def gappy(rows=60, seed=0, rate=0.25):
    """Records of two classes with values that are missing at random."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    numbers = np.clip(np.rint(rng.normal(labels[:, None] * 3 + 4, 2, (rows, 3))), 0, 12)
    levels = (rng.integers(0, 3, (rows, 2)) + labels[:, None] * rng.integers(0, 2, (rows, 2))) % 3
    values = np.concatenate([numbers, levels], axis=1).astype(np.float64)
    values[(rng.random(values.shape) < rate) & GAPPY] = np.nan
    return SimpleNamespace(schema=SCHEMA, features=values, labels=labels)


def told(world, values, schema=SCHEMA, disease="flu"):
    query = world.user.ask("st-mary", disease, values, schema=schema)
    return world.user.read(world.hospital.report(world.cloud.answer(world.hospital.forward(query))))


def classifier(method, data, k, **options):
    kind = ReliefMWClassifier if method == "relief-mw" else EvidenceClassifier
    model = kind(k, schema=data.schema, **options)
    return model.fit(data.features, np.array(data.schema.classes)[data.labels])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", PROFILES)
def test_hospital_and_classifier_fill_alike(profile, method):
    data, asked = gappy(90), gappy(60, seed=1, rate=0.5).features
    asked[0] = NOTHING
    world = World(profile=profile)
    world.publish(data=data, k=5, method=method, decision="probability")
    published = world.hospital.tables["flu"]
    model = classifier(method, data, 5)
    assert published.filling == model.filling_
    assert published.encoder.schema == model.filling_.inner
    if isinstance(published.encoder, CoarseEncoder):
        # The same table, whose coordinates are coarse.
        step = published.encoder.step
        fine = model.encoder_.encode(model.filling_.fill(data.features)[0])
        if method == "evidence":
            fine = model.encoder_.instances
        model.encoder_ = CoarseEncoder(model.encoder_, step)
        model.table_ = LimbTable.from_prefix_sums(coarsen(fine, step), data.labels, 2)
        model.rule_ = Rule.learn(model.table_, 5, "probability", "equal")
    assert published.rule == model.rule_
    found = told(world, asked)
    votes = np.array([list(each.votes.values()) for each in found])
    # Blinded tables break equal distances at random, and coarse ones have many.
    same = (model.votes(asked) == votes).all(axis=1)
    assert same.mean() >= (1 if profile == "sealed" else 0.5)
    chances = np.array([list(each.probabilities.values()) for each in found])
    assert (model.predict_proba(asked) == chances)[same].all()
    assert (model.predict(asked) == np.array([each.label for each in found]))[same].all()
    assert [each.filled for each in found] == np.isnan(asked).sum(axis=1).tolist()
    assert found[0].filled == 4


@pytest.mark.parametrize("method", METHODS)
def test_k_is_chosen_among_all_records_filled(method):
    data = gappy(80, rate=0.4)
    world = World(profile="sealed")
    world.publish(data=data, k=None, method=method)
    model = classifier(method, data, 9 if method == "relief-mw" else None)
    chosen = choose_k(model.table_) if method == "relief-mw" else model.n_neighbors_
    assert world.hospital.tables["flu"].k == chosen
    assert world.hospital.tables["flu"].rows == 80


@st.composite
def small_tables(draw):
    """Records and queries with gaps of any pattern; None is missing."""
    cells = [st.integers(0, 4).map(float)]
    cells += [st.none() | st.integers(0, 2).map(float)] * 4
    labels = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), max_size=8))]
    rows = draw(st.lists(st.tuples(*cells), min_size=len(labels), max_size=len(labels)))
    rows = [list(row) for row in rows]
    for j in (1, 2, 4):
        if all(row[j] is None for row in rows):
            rows[0][j] = 1.0
    return rows, labels, draw(st.lists(st.tuples(*cells), min_size=1, max_size=4))


@settings(max_examples=12, deadline=None)
@given(small_tables(), st.sampled_from(PROFILES))
@pytest.mark.filterwarnings("ignore::ompd.errors.TrainingWarning")
def test_a_table_with_gaps_is_the_table_that_was_filled_by_hand(table, profile):
    rows, labels, queries = table
    columns = [[row[j] for row in rows] for j in range(5)]
    stand = [
        None
        if feature.missing == "refuse"
        else naive.stand_in(column, feature.kind, feature.missing, 2)
        for feature, column in zip(FEATURES, columns, strict=True)
    ]

    def by_hand(values):
        return np.array(
            [[s if v is None else v for v, s in zip(row, stand, strict=True)] for row in values]
        )

    def with_gaps(values):
        return np.array([[np.nan if v is None else v for v in row] for row in values])

    complete = ompd.Schema(
        tuple(
            ompd.Feature(each.name, each.kind, 0, max(each.high, value or 0))
            for each, value in zip(FEATURES, stand, strict=True)
        ),
        SCHEMA.classes,
    )
    world = World(profile=profile)
    for disease, schema, values in (
        ("gaps", SCHEMA, with_gaps(rows)),
        ("whole", complete, by_hand(rows)),
    ):
        data = SimpleNamespace(schema=schema, features=values, labels=np.array(labels))
        world.publish(disease, data, k=3, decision="probability")
    gaps, whole = (world.hospital.tables[each] for each in ("gaps", "whole"))
    assert gaps.encoder == whole.encoder
    assert gaps.rule == whole.rule
    filled, counts = gaps.filling.fill(with_gaps(queries))
    assert filled.tolist() == by_hand(queries).tolist()
    found = told(world, with_gaps(queries), disease="gaps")
    assert [each.filled for each in found] == counts.tolist() == [q.count(None) for q in queries]


def test_users_are_told_the_declared_schema():
    world = World(profile="sealed")
    world.publish(data=gappy())
    assert world.hospital.diseases == {"flu": SCHEMA}
    assert world.hospital.tables["flu"].encoder.schema.features[3].high == 3


def test_a_value_is_missing_only_where_the_schema_says_so(world):
    world.publish(data=gappy())
    refused = [np.nan, 5, 5, 1, 1]
    with pytest.raises(FeatureError, match="'age'"):
        told(world, refused)
    # Who does not know the schema does not know what the hospital makes of a gap.
    for values in (refused, NOTHING):
        with pytest.raises(FeatureError, match="finite"):
            told(world, values, schema=None)
    hostile = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "numeric", -99, 99, missing="median") for j in range(5)),
        ("no", "yes"),
    )
    for values in (refused, [5, 5, 5, 3, 1], [5, 5, np.nan, 0.5, 1]):
        query = world.user.ask("st-mary", "flu", values, schema=hostile)
        with pytest.raises(ompd.OmpdError) as caught:
            world.hospital.forward(query)
        assert "nan" not in str(caught.value)


def test_a_gap_travels_as_one_number_and_leaves_no_trace_in_lengths(world):
    world.publish(data=gappy())
    # Bits of a number that is none may say what it was made of.
    other = np.array([0x7FF8000000C0FFEE], dtype="<u8").view("<f8")[0]
    values = np.array([[5, other, 5, 1, 1], [5, 5, 5, 1, 1]])
    before = values.tobytes()
    query = world.user.ask("st-mary", "flu", values, schema=SCHEMA)
    assert values.tobytes() == before
    sent = np.frombuffer(opened(world.hospital, query, Query).values, "<u8")
    assert sent[1] == np.array(np.nan).view(np.uint64)
    reports = [
        len(world.hospital.report(world.cloud.answer(world.hospital.forward(each))))
        for each in (query, world.user.ask("st-mary", "flu", [NOTHING] * 2, schema=SCHEMA))
    ]
    assert reports[0] == reports[1]
    assert longest(world.hospital.tables["flu"], 2) < reports[0]


def test_a_report_with_another_number_of_counts_is_refused(world):
    world.publish(data=gappy())
    query = world.user.ask("st-mary", "flu", [NOTHING], schema=SCHEMA)
    sent = Frame.decode(query, Kind.QUERY)
    asked = post_of(world.hospital).open(sent, Query)
    for filled in (b"", b"\0", bytes(4)):
        body = Report(1, ("no",), (("no", ""),), b"\0\0", b"\1\0", bytes(8), b"\0", filled)
        report = post_of(world.hospital).send(
            "alice", body, nonce=sent.header.nonce, sequence=sent.header.sequence,
            encrypt_to=asked.reply_key,
        )  # fmt: skip
        with pytest.raises(FramingError, match="2 bytes of filled"):
            world.user.read(report)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_feature_that_no_record_has_trains_nothing(profile):
    world = World(profile=profile)
    world.publish(data=gappy())
    before = world.hospital.tables["flu"]
    data = gappy()
    data.features[:, 1] = np.nan
    with pytest.raises(TrainingError, match="'sugar': expected a value in at least one instance"):
        world.hospital.publish("flu", data, cloud="cloud", retrain=True)
    assert world.hospital.tables["flu"] is before
    assert told(world, NOTHING)[0].filled == 4


def test_a_class_whose_records_all_have_gaps_is_learned_as_well(world):
    data = gappy()
    data.features[data.labels == 1, 1] = np.nan
    world.publish(data=data)
    assert {each.label for each in told(world, data.features)} == {"no", "yes"}


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_hospital_fills_as_before(tmp_path, method):
    world = World(profile="sealed", state=tmp_path / "state")
    keys = keys_of(world.hospital)
    world.publish(data=gappy(), method=method)
    asked = gappy(seed=3, rate=0.6).features
    before, filling = list(told(world, asked)), world.hospital.tables["flu"].filling
    world.hospital.close()
    world.hospital = ompd.Hospital(**keys, state=tmp_path / "state", clock=world.clock, share=1.0)
    world.hospital.meet(world.cloud.public, "cloud")
    world.hospital.meet(world.user.public)
    assert world.hospital.diseases == {"flu": SCHEMA}
    assert world.hospital.tables["flu"].filling == filling
    assert list(told(world, asked)) == before
    world.hospital.close()


def test_what_is_stored_comes_back_for_its_own_encoder_only():
    data = gappy()
    filling = Filling.learn(SCHEMA, data.features)
    encoder = classifier("relief-mw", data, 3).encoder_
    kept = stored_filling(filling)
    assert restored_filling(kept, encoder) == filling
    assert repr(kept) == "<StoredFilling>"
    other = classifier("relief-mw", gappy(rate=0), 3).encoder_
    with pytest.raises(StoreError, match="another encoder"):
        restored_filling(kept, other)
    kept = type(kept)(kept.schema, (None, 99.0, 1.0, 3.0, 1.0))
    with pytest.raises(ParameterError):
        restored_filling(kept, encoder)


@pytest.mark.parametrize("noisy", [False, True])
def test_records_with_gaps_stay_the_same_bytes_from_version_to_version(noisy):
    options = {}
    if noisy:
        options = {"epsilon": 16, "ledger": BudgetLedger(None, limit=16, power_safe=False)}
    world = World(profile="hardened", **options)
    data = gappy(80)
    few = SimpleNamespace(schema=SCHEMA, features=data.features[:40], labels=data.labels[:40])
    sent = []
    for each in (few, data):
        # One release with noise is all that a record's budget allows.
        body = opened(world.cloud, world.publish(data=each), ompd.wire.HardenedUpload)
        sent.append(np.frombuffer(body.values, "<u8").reshape(-1, body.coordinates))
    assert (sent[0] == sent[1][:40]).all()
    filling = world.hospital.tables["flu"].filling
    assert filling == Filling.learn(SCHEMA, few.features)
    frozen = shelf_of(world.hospital).frozen["flu"]
    assert Frozen.from_bytes(frozen.to_bytes()).filling == filling
    complete = ompd.Schema(
        tuple(ompd.Feature(each.name, each.kind, 0, 12) for each in FEATURES), SCHEMA.classes
    )
    few.schema, few.features = complete, filling.fill(few.features)[0]
    with pytest.raises(ParameterError, match="schema of the version before"):
        world.publish(data=few)


def test_a_record_is_named_by_its_gaps_and_not_by_what_fills_them():
    """Or else it would have another name, and another budget, whenever a median moves."""
    payload = np.array([0x7FF8000000C0FFEE, 0xFFF8000000000001], dtype="<u8").view("<f8")
    rows = np.array([[5, np.nan, 5, 1, 1]] + [[5, gap, 5, 1, 1] for gap in payload])
    labels = np.zeros(1, dtype=np.int64)
    names = {record_names(SCHEMA, row[None], labels)[0] for row in rows}
    assert len(names) == 1
    filled = Filling.learn(SCHEMA, gappy().features).fill(rows[:1])[0]
    assert record_names(SCHEMA, filled, labels)[0] not in names


def test_the_noise_of_another_filling_is_another():
    data = gappy()
    encoder = CoarseEncoder(classifier("relief-mw", data, 3).encoder_, 4)
    filling = Filling.learn(SCHEMA, data.features)
    other = Filling(SCHEMA, (None, 11.0, *filling.values[2:]))
    assert noise_key_of(filling, encoder, b"s") != noise_key_of(other, encoder, b"s")
    assert noise_key_of(filling, encoder, b"s") == noise_key_of(filling, encoder, b"s")
