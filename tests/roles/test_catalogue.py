"""Catalogues: what a hospital tells everybody, what users make of it, and who may not fool them."""

from __future__ import annotations

import datetime
import math
from types import SimpleNamespace

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ompd
from ompd.crypto import Identity
from ompd.crypto.rotation import Rotation
from ompd.errors import (
    DomainError,
    DowngradeError,
    ExpiredError,
    FeatureError,
    FramingError,
    OutdatedError,
    OutdatedRefusalError,
    ParameterError,
    RefusedError,
    RevokedKeyError,
    RoleError,
    SchemaError,
    SignatureError,
    TooLargeError,
    UnknownDiseaseError,
    UnknownKeyError,
    VersionError,
)
from ompd.roles import catalogue as catalogue_module
from ompd.roles.asking import Asked, Rows
from ompd.roles.retrieval import PROFILES as RETRIEVALS
from ompd.stores import BudgetLedger, Registry
from ompd.wire import ANY_FORM, CatalogueFrame, Frame, Kind, Query, Refusal, form_of
from ompd.wire.catalogue import MAX_CATALOGUE_BYTES
from tests.roles.conftest import World, instances, post_of
from tests.vectors.catalogues import column, crafted, plain, spoiled

DAY = 86_400
CODE = "loinc|30525-0"
SCHEMA = ompd.Schema(
    (
        ompd.Feature("age", "numeric", 0, 120, unit="years", about="at admission", code=CODE),
        ompd.Feature("sex", "nominal", 0, 1, levels=("female", "male")),
        ompd.Feature("stage", "ordinal", 1, 4),
        ompd.Feature("smoker", "nominal", 0, 1, levels=("False", "True"), missing="level"),
        ompd.Feature("operated", "ordinal", 0, 20_000, since="1990-01-01", missing="median"),
    ),
    ("healthy", "ill"),
)


def mixed(rows=40, seed=0, schema=SCHEMA):
    """Records of `SCHEMA`, whole numbers."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    low, high = schema.low, schema.high
    values = np.floor(low + rng.random((rows, len(low))) * (high - low + 1))
    values[:, 0] = np.clip(np.rint(40 + 30 * labels + rng.normal(0, 9, rows)), 0, 120)
    return SimpleNamespace(schema=schema, features=np.minimum(values, high), labels=labels)


@pytest.fixture
def clinic():
    """A world whose user knows the catalogue of a hospital with one disease."""
    world = World()
    world.publish(data=mixed())
    assert world.user.learn(world.hospital.catalogue()) == "st-mary"
    return world


def sent(world, frame):
    """What stands in a query, as the hospital reads it."""
    return post_of(world.hospital).open(Frame.decode(frame, Kind.QUERY), Query)


def values_of(world, frame):
    body = sent(world, frame)
    return np.frombuffer(body.values, dtype="<f8").reshape(body.rows, -1)


def answer(world, frame):
    """The report on a query."""
    return world.hospital.report(world.cloud.answer(world.hospital.forward(frame)))


def key_of(party):
    return post_of(party).identity.signing_key


def now_of(world):
    return int(world.clock.now * 1000)


# --- what is told -------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", sorted(RETRIEVALS))
def test_a_user_learns_all_that_it_needs(profile):
    world = World(profile=profile)
    world.publish("flu", mixed(), k=5)
    world.publish("fièvre", instances(), k=3)
    world.user.learn(world.hospital.catalogue())
    told = world.user.diseases("st-mary")
    assert list(told) == ["fièvre", "flu"]
    assert {name: each.schema for name, each in told.items()} == world.hospital.diseases
    assert told["flu"].form == form_of(world.hospital.diseases["flu"])
    flu = told["flu"]
    assert (flu.profile, flu.method, flu.k, flu.epsilon) == (profile, "relief-mw", 5, None)
    features = np.tile(mixed().features[0], (flu.most_rows, 1))
    if profile != "sealed":
        assert flu.most_rows == 100_000
    # As many as that in one query are not too many.
    assert world.hospital.forward(world.user.ask("st-mary", "flu", features))
    with pytest.raises(TooLargeError, match=f"at most {flu.most_rows} rows in one query"):
        world.user.ask("st-mary", "flu", features[[0] * (flu.most_rows + 1)])


def test_a_catalogue_is_the_same_whatever_the_records_are():
    """Nothing that was learned from them is in it, and no number of them."""
    for profile in RETRIEVALS:
        contents = set()
        for rows, seed in ((40, 1), (52, 2)):
            world = World(profile=profile)
            world.publish(data=mixed(rows, seed), k=3)
            frame = CatalogueFrame.decode(world.hospital.catalogue())
            contents.add(frame.entries())
        assert len(contents) == 1, profile


def test_a_catalogue_has_these_fields_and_no_others(clinic):
    tag, hospital, made, until, content = msgspec.msgpack.decode(clinic.hospital.catalogue()[:-96])
    assert (tag, hospital) == ("ompd-catalogue-3", "st-mary")
    assert until - made == 7 * DAY * 1000
    ((disease, features, classes, *rest),) = msgspec.msgpack.decode(content)
    assert disease == "flu"
    assert features[0] == [
        "age",
        "numeric",
        0.0,
        120.0,
        "years",
        "at admission",
        [],
        "",
        "refuse",
        CODE,
    ]
    assert features[3][-4:] == [["False", "True"], "", "level", ""]
    assert classes == ["healthy", "ill"]
    assert rest == ["paper", "relief-mw", 3, 100_000, None, None]


def test_noise_is_told():
    world = World(profile="hardened", epsilon=16, ledger=BudgetLedger(None, limit=16))
    world.publish(data=instances())
    world.user.learn(world.hospital.catalogue())
    assert world.user.diseases("st-mary")["flu"].epsilon == 16


def test_only_what_is_asked_is_listed():
    world = World()
    world.user.learn(world.hospital.catalogue())
    assert world.user.diseases("st-mary") == {}
    with pytest.raises(UnknownDiseaseError, match="which has none"):
        world.user.ask("st-mary", "flu", [1, 2, 3])
    upload = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    world.user.learn(world.hospital.catalogue())
    assert world.user.diseases("st-mary") == {}
    world.hospital.deliver(upload, world.cloud.store)
    world.user.learn(world.hospital.catalogue())
    assert list(world.user.diseases("st-mary")) == ["flu"]


def test_a_hospital_lists_again_after_a_restart(tmp_path):
    world = World(profile="sealed", state=tmp_path)
    world.publish(data=mixed())
    before = CatalogueFrame.decode(world.hospital.catalogue()).entries()
    world.hospital.close()
    post = post_of(world.hospital)
    again = ompd.Hospital(post.identity, state=tmp_path, clock=world.clock, prekeys=post.prekeys)
    assert CatalogueFrame.decode(again.catalogue()).entries() == before
    again.close()


def test_catalogues_of_one_moment_follow_one_another(world):
    made = [CatalogueFrame.decode(world.hospital.catalogue()).made_at for _ in range(3)]
    assert made == [now_of(world) + step for step in range(3)]
    # The clock was ahead, and is right again.
    world.clock.now += 2 * DAY
    world.hospital.catalogue()
    world.clock.now -= 2 * DAY
    assert CatalogueFrame.decode(world.hospital.catalogue()).made_at == now_of(world)


@pytest.mark.parametrize("lifetime", [0, -1, 91 * DAY, float("nan"), float("inf")])
def test_lifetimes_out_of_range_are_refused(world, lifetime):
    with pytest.raises(ParameterError, match="1 second to 90 days"):
        world.hospital.catalogue(lifetime=lifetime)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "age\n"}, "feature 0: name: has a line break"),
        ({"name": "a" * 256}, "feature 0: name: expected 1 to 255"),
        ({"name": "\u202eega"}, "feature 0: name: has"),
        ({"name": "se\u0301x"}, "features: expected names that differ"),
        ({"name": "\ud800"}, "feature 0: name: has"),
        ({"unit": "\x1b[31m"}, "feature 0: unit: has"),
        ({"about": "a" * 1001}, "feature 0: about: expected 0 to 1000"),
        ({"kind": "nominal", "levels": ("\u00e9", "e\u0301"), "high": 1}, "feature 0: levels"),
    ],
)
def test_what_cannot_be_listed_is_not_published(world, change, message):
    first = {"name": "age", "kind": "ordinal", "low": 0, "high": 12} | change
    others = [ompd.Feature(name, "ordinal", 0, 12) for name in ("s\u00e9x", "f2")]
    data = instances()
    data.schema = ompd.Schema((ompd.Feature(**first), *others), ("no", "yes"))
    data.features = np.minimum(data.features, data.schema.high)
    with pytest.raises(SchemaError, match=message):
        world.hospital.publish("flu", data, cloud="cloud")
    with pytest.raises(SchemaError, match="disease: has"):
        world.hospital.publish("flu\x07", instances(), cloud="cloud")
    assert world.hospital.diseases == {}


def test_names_in_another_unicode_form_are_listed_in_one(world):
    data = instances()
    features = [ompd.Feature(name, "ordinal", 0, 12) for name in ("a\u0301", "b\u00a0c", "d")]
    data.schema = ompd.Schema(tuple(features), ("no", "y\u0308es"))
    world.publish(data=data)
    world.user.learn(world.hospital.catalogue())
    listing = world.user.diseases("st-mary")["flu"]
    assert [each.name for each in listing.schema.features] == ["\u00e1", "b\u00a0c", "d"]
    # Where records have a feature is no part of what its numbers mean.
    coded = tuple(msgspec.structs.replace(each, code=CODE) for each in features)
    assert form_of(ompd.Schema(coded, data.schema.classes)) == listing.form
    # The hospital's own schema says the same of the numbers.
    own = world.hospital.diseases["flu"]
    assert own != listing.schema
    assert form_of(own) == listing.form
    for schema in (None, own):
        frame = world.user.ask("st-mary", "flu", [1, 2, 3], schema=schema)
        assert len(world.user.read(answer(world, frame))) == 1


def test_a_catalogue_that_would_be_too_long_is_not_made(world, monkeypatch):
    world.publish()
    monkeypatch.setattr("ompd.wire.catalogue.MAX_CATALOGUE_BYTES", 200)
    with pytest.raises(TooLargeError, match="at most 200 bytes"):
        world.hospital.catalogue()


# --- questions ----------------------------------------------------------------------------------

ROWS = [
    {"age": 61, "sex": "male", "stage": 2, "smoker": True, "operated": datetime.date(1990, 1, 11)},
    {"age": 7.5, "sex": "female", "stage": 1, "smoker": None, "operated": None},
]
NUMBERS = [[61, 1, 2, 1, 10], [7.5, 0, 1, np.nan, np.nan]]


def forms():
    """The same two rows in every form that users have."""
    frame = pd.DataFrame(ROWS)
    dates = frame.assign(operated=pd.to_datetime(frame["operated"]))
    extra = frame.assign(patient=["A", "B"], note="x")
    yield "numbers", NUMBERS
    yield "array", np.array(NUMBERS)
    yield "frame", frame
    yield "frame of dates", dates
    yield "frame in another order", frame[frame.columns[::-1]]
    yield "frame with more columns", extra
    yield "frame with categories", frame.astype({"sex": "category"})
    yield "records", ROWS
    yield "records with more", extra.to_dict("records")
    yield "columns", frame.to_dict("list")
    yield "columns with more", extra.to_dict("list")
    yield "polars", pl.DataFrame(ROWS)
    yield "polars with more", pl.DataFrame(extra.to_dict("list"))
    yield "arrow", pa.Table.from_pylist(ROWS)
    yield "arrow with more", pa.Table.from_pylist(extra.to_dict("records"))
    yield "series", [row for _, row in frame.iterrows()]
    yield "texts of levels", frame.assign(smoker=["True", None])
    yield "texts as in a file", frame.assign(age=["61", "7.5"], smoker=["True", "?"])


@pytest.mark.parametrize("given", [rows for _, rows in forms()], ids=[name for name, _ in forms()])
def test_every_form_of_the_same_rows_is_the_same_query(clinic, given):
    frame = clinic.user.ask("st-mary", "flu", given)
    np.testing.assert_array_equal(values_of(clinic, frame), np.array(NUMBERS))
    report = clinic.user.read(answer(clinic, frame))
    assert len(report) == 2
    assert list(report.filled) == [0, 2]


@pytest.mark.parametrize("given", [ROWS[0], pd.Series(ROWS[0]), {**ROWS[0], "patient": "A"}])
def test_one_row_has_names_too(clinic, given):
    frame = clinic.user.ask("st-mary", "flu", given)
    np.testing.assert_array_equal(values_of(clinic, frame), np.array(NUMBERS[:1]))


def test_more_values_than_features_need_names(clinic):
    with pytest.raises(FeatureError, match="expected 5 per row"):
        clinic.user.ask("st-mary", "flu", [[61, 1, 2, 1, 10, 0]])
    with pytest.raises(FeatureError, match="expected 5 per row"):
        clinic.user.ask("st-mary", "flu", pd.DataFrame(np.zeros((1, 6))))


def test_a_query_says_by_which_schema_it_was_made(clinic):
    schema = clinic.hospital.diseases["flu"]
    assert sent(clinic, clinic.user.ask("st-mary", "flu", ROWS)).form == form_of(schema)
    other = ompd.User.create("bob", clock=clinic.clock)
    ompd.introduce(other, clinic.hospital)
    plain_frame = other.ask("st-mary", "flu", NUMBERS[0])
    assert sent(clinic, plain_frame).form == ANY_FORM
    by_schema = other.ask("st-mary", "flu", NUMBERS[0], schema=schema)
    assert sent(clinic, by_schema).form == form_of(schema)
    # Whether a user knows the schema does not show.
    assert len(plain_frame) == len(by_schema)


# --- rows that are not good ---------------------------------------------------------------------

BAD = pd.DataFrame(
    [
        {**ROWS[0], "patient": "p1"},
        {**ROWS[0], "age": 121, "stage": 2.5, "patient": "p2"},
        {**ROWS[1], "patient": "p3"},
        {**ROWS[0], "sex": "unknown", "patient": "p4"},
        {**ROWS[0], "age": None, "patient": "p5"},
    ]
)


def test_one_bad_row_refuses_all_by_default(clinic):
    with pytest.raises(DomainError, match="row 1, feature 'age': expected a value from 0 to 120"):
        clinic.user.ask("st-mary", "flu", BAD)
    assert clinic.user.open_queries == 0


def test_bad_rows_are_left_out(clinic):
    frame = clinic.user.ask("st-mary", "flu", BAD, errors="skip", ids="patient")
    np.testing.assert_array_equal(values_of(clinic, frame), np.array(NUMBERS))
    report = clinic.user.read(answer(clinic, frame))
    assert list(report.ids) == ["p1", "p3"]
    assert list(report.error) == ["", ""]


def test_bad_rows_come_back_with_a_reason(clinic):
    frame = clinic.user.ask("st-mary", "flu", BAD, errors="collect", ids="patient")
    np.testing.assert_array_equal(values_of(clinic, frame), np.array(NUMBERS))
    report = clinic.user.read(answer(clinic, frame))
    assert list(report.ids) == ["p1", "p2", "p3", "p4", "p5"]
    assert list(report.codes >= 0) == [True, False, True, False, False]
    assert list(report.error) == [
        "",
        "age: expected a value from 0 to 120 years; stage: expected a whole number",
        "",
        "sex: expected one of 'female', 'male', got another text",
        "age: expected a finite number, got a missing or infinite one",
    ]
    for values in ("121", "unknown", "2.5"):
        assert not any(values in text for text in report.error)


def test_ids_never_leave_the_user(clinic, monkeypatch):
    bodies = []
    post = post_of(clinic.user)
    send = post.send
    monkeypatch.setattr(post, "send", lambda to, body, **more: bodies.append(body) or send(
        to, body, **more))  # fmt: skip
    clinic.user.ask("st-mary", "flu", BAD, errors="collect", ids="patient")
    (body,) = bodies
    assert b"p1" not in msgspec.msgpack.encode(body)
    assert body.rows == 2


@pytest.mark.parametrize(
    ("frame", "ids", "expected"),
    [
        (pd.DataFrame(ROWS), None, None),
        (pd.DataFrame(ROWS, index=["x", "y"]), None, ["x", "y"]),
        (pd.DataFrame(ROWS, index=[7, 9]), None, [7, 9]),
        (pd.DataFrame(ROWS), ["x", "x"], ["x", "x"]),
        (pd.DataFrame(ROWS), np.array([7, 9]), [7, 9]),
        (ROWS, pd.Series(["x", "y"]), ["x", "y"]),
        ([{**row, "id": place} for place, row in enumerate(ROWS)], "id", [0, 1]),
        (pl.DataFrame([{**row, "id": "z"} for row in ROWS]), "id", ["z", "z"]),
        (pd.DataFrame([{**ROWS[0], "id": 5}, ROWS[1]]), "id", ["5", ""]),
        (pd.DataFrame(ROWS).assign(id=pd.array([5, None], dtype="Int64")), "id", ["5", ""]),
        (pd.DataFrame(ROWS).assign(id=pd.array(["x", None], dtype="string")), "id", ["x", ""]),
        (pd.DataFrame(ROWS).assign(id=pd.Series(["x", None], dtype="str")), "id", ["x", ""]),
        (pd.DataFrame(ROWS), ["x", math.nan], ["x", ""]),
        (pd.DataFrame(ROWS), [2**53 + 1, 2**60], [2**53 + 1, 2**60]),
        (pd.DataFrame(ROWS), [np.int64(7), 9], [7, 9]),
        (pd.DataFrame(ROWS), [10**30, None], ["1" + "0" * 30, ""]),
        (pa.Table.from_pylist([{**ROWS[0], "id": 5}, {**ROWS[1], "id": None}]), "id", ["5", ""]),
    ],
)
def test_rows_have_the_names_that_they_come_with(clinic, frame, ids, expected):
    query = clinic.user.ask("st-mary", "flu", frame, ids=ids)
    found = clinic.user.read(answer(clinic, query)).ids
    assert (None if found is None else list(found)) == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"errors": "ignore"}, ParameterError, "errors: expected one of"),
        ({"ids": ["x"]}, ParameterError, "ids: expected 2, one per row"),
        ({"ids": [2.0**53, math.nan]}, ParameterError, "too large to be exact"),
        ({"ids": 7}, ParameterError, "ids: expected the name of a column"),
        ({"ids": "patient"}, FeatureError, "expected a value of 'patient'"),
    ],
)
def test_options_that_mean_nothing_are_refused(clinic, options, error, message):
    with pytest.raises(error, match=message):
        clinic.user.ask("st-mary", "flu", pd.DataFrame(ROWS), **options)
    assert clinic.user.open_queries == 0


def test_nothing_is_asked_if_no_row_is_good(clinic):
    for errors in ("skip", "collect"):
        with pytest.raises(FeatureError, match="no row of 1 can be asked about"):
            clinic.user.ask("st-mary", "flu", BAD.iloc[[1]], errors=errors)
    with pytest.raises(FeatureError, match="row 0: age: expected a value from 0 to 120"):
        clinic.user.ask("st-mary", "flu", BAD.iloc[[1]], errors="collect")
    with pytest.raises(FeatureError, match="at least one row"):
        clinic.user.ask("st-mary", "flu", BAD.iloc[:0])


def test_a_record_without_a_name_is_one_bad_row(clinic):
    short = {name: value for name, value in ROWS[0].items() if name != "smoker"}
    with pytest.raises(FeatureError, match="expected a value of 'smoker'"):
        clinic.user.ask("st-mary", "flu", [ROWS[0], short])
    frame = clinic.user.ask("st-mary", "flu", [ROWS[0], short], errors="collect")
    report = clinic.user.read(answer(clinic, frame))
    assert list(report.error) == ["", "expected 5 features"]


def test_bad_rows_need_a_schema(world):
    world.publish()
    with pytest.raises(ParameterError, match="learn the hospital's catalogue"):
        world.user.ask("st-mary", "flu", [1, 2, 3], errors="skip")
    with pytest.raises(FeatureError, match="learn the hospital's catalogue"):
        world.user.ask("st-mary", "flu", {"f0": 1, "f1": 2, "f2": 3})


@given(
    st.lists(st.booleans(), min_size=1, max_size=30).filter(any),
    st.integers(1, 7),
    st.booleans(),
)
def test_pieces_are_all_rows_once_and_in_order(good, most, collect):
    """Compared with plain lists."""
    rows = list(range(len(good)))
    values = np.array([[float(row)] for row in rows if good[row]])
    reasons = np.array(["" if each else "bad" for each in good], dtype=object)
    ids = np.array([str(row) for row in rows])
    whole = Rows(values, Asked(np.array(good), ids, reasons if collect else None))
    pieces = list(whole.pieces(most))
    assert [row for piece in pieces for row in piece.values[:, 0]] == [r for r in rows if good[r]]
    assert [name for piece in pieces for name in piece.asked.ids] == [str(row) for row in rows]
    assert [each for piece in pieces for each in piece.asked.good] == good
    assert all(1 <= len(piece.values) == piece.asked.rows <= most for piece in pieces)
    assert len(pieces) == -(-sum(good) // most)
    if collect:
        assert [text for piece in pieces for text in piece.asked.reasons] == list(reasons)


def test_many_rows_are_several_queries(clinic):
    data = clinic.hospital.catalogue()
    entry = plain(CatalogueFrame.decode(data).entries()[0])
    entry[6] = 2
    later = crafted(
        key_of(clinic.hospital), [entry], hospital="st-mary", made_at=now_of(clinic) + 5
    )
    clinic.user.learn(later)
    with pytest.raises(TooLargeError, match="ask_all makes several"):
        clinic.user.ask("st-mary", "flu", NUMBERS + NUMBERS)
    with pytest.raises(DomainError):
        clinic.user.ask_all("st-mary", "flu", BAD)
    table = pd.concat([BAD, BAD])
    frames = clinic.user.ask_all("st-mary", "flu", table, errors="collect", ids="patient")
    assert clinic.user.open_queries == 0
    reports = [clinic.user.read(answer(clinic, frame)) for frame in frames]
    assert [len(report) for report in reports] == [5, 5]
    whole = ompd.Diagnoses.concatenate(reports)
    assert list(whole.ids) == ["p1", "p2", "p3", "p4", "p5"] * 2
    assert list(whole.codes >= 0) == [True, False, True, False, False] * 2


# --- schemas that are out of date ---------------------------------------------------------------


def other_schema(**changes):
    first, *others = SCHEMA.features
    first = msgspec.structs.replace(first, **changes)
    return ompd.Schema((first, *others), SCHEMA.classes)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "years"}, {"kind": "ordinal"}, {"low": -1}, {"high": 121}, {"unit": "months"},
        {"missing": "median"},
    ],
)  # fmt: skip
def test_an_old_schema_is_told_to_be_old(clinic, changes):
    clinic.publish(data=mixed(schema=other_schema(**changes)))
    frame = clinic.user.ask("st-mary", "flu", ROWS)
    with pytest.raises(SchemaError, match="made by another schema"):
        clinic.hospital.forward(frame)
    assert isinstance(clinic.hospital.forward_batch([frame]).refused[0], SchemaError)
    with pytest.raises(OutdatedRefusalError, match="learn its next catalogue"):
        clinic.user.read(clinic.hospital.refuse(frame))
    assert clinic.user.open_queries == 0
    assert issubclass(OutdatedRefusalError, RefusedError)
    clinic.user.learn(clinic.hospital.catalogue())
    again = clinic.user.ask("st-mary", "flu", NUMBERS[:1])
    assert len(clinic.user.read(answer(clinic, again))) == 1


def test_levels_that_swap_and_features_that_move_are_another_schema():
    first, sex, *others = SCHEMA.features
    swapped = msgspec.structs.replace(sex, levels=sex.levels[::-1])
    for features, classes in (
        ((first, swapped, *others), SCHEMA.classes),
        ((sex, first, *others), SCHEMA.classes),
        (SCHEMA.features, SCHEMA.classes[::-1]),
        ((first, sex, *others[:-1]), SCHEMA.classes),
    ):
        assert form_of(ompd.Schema(features, classes)) != form_of(SCHEMA)


@pytest.mark.parametrize("changes", [{"about": "on the day of admission"}, {"low": 0.0}])
def test_what_changes_no_meaning_makes_no_schema_old(clinic, changes):
    clinic.publish(data=mixed(schema=other_schema(**changes)))
    report = clinic.user.read(answer(clinic, clinic.user.ask("st-mary", "flu", ROWS)))
    assert len(report) == 2


def test_other_refusals_say_no_more_than_before(clinic):
    """Only disease and form decide, and an outsider sees no difference."""
    good = form_of(clinic.hospital.diseases["flu"])
    post = post_of(clinic.user)
    lengths = set()

    def refused(disease, form, values=bytes(40), least="paper", reply=None):
        reply = post.identity.public.envelope_key if reply is None else reply
        body = Query(disease, 1, values, reply, least, form)
        sequence = len(lengths_seen)
        frame = post.send("st-mary", body, nonce=bytes(16), sequence=sequence)
        lengths_seen.append(sequence)
        with pytest.raises(ompd.OmpdError):
            clinic.hospital.forward(frame)
        refusal = clinic.hospital.refuse(frame)
        lengths.add(len(refusal))
        return post.open(Frame.decode(refusal, Kind.REFUSAL), Refusal).code

    lengths_seen = []
    other = b"x" * 16
    assert refused("gout", good) == refused("gout", other) == refused("gout", ANY_FORM) == 1
    for spoilt in ({"values": b""}, {"least": "sealed"}, {"reply": b"\x01" + bytes(32)}):
        assert refused("flu", good, **spoilt) == 1
        assert refused("flu", ANY_FORM, **spoilt) == 1
        assert refused("flu", other, **spoilt) == 2
    assert refused("flu", other) == 2
    assert len(lengths) == 1


def test_a_schema_must_be_that_of_the_catalogue(clinic):
    with pytest.raises(OutdatedError, match="another one than the hospital's catalogue"):
        clinic.user.ask("st-mary", "flu", ROWS, schema=other_schema(unit="months"))
    own = clinic.hospital.diseases["flu"]
    assert clinic.user.ask("st-mary", "flu", ROWS, schema=own)


def test_least_profile_is_checked_before_anything_leaves():
    world = World()
    world.publish()
    picky = ompd.User.create("bob", clock=world.clock, least_profile="sealed")
    ompd.introduce(picky, world.hospital)
    picky.learn(world.hospital.catalogue())
    with pytest.raises(DowngradeError, match="sealed is demanded"):
        picky.ask("st-mary", "flu", [1, 2, 3])
    assert picky.open_queries == 0


def test_a_disease_that_is_not_listed_is_told_with_those_that_are(clinic):
    with pytest.raises(UnknownDiseaseError, match=r"which has 'flu'; learn its next one") as caught:
        clinic.user.ask("st-mary", "hiv", [1, 2, 3])
    assert "hiv" not in str(caught.value)
    assert clinic.user.open_queries == 0


# --- attacks ------------------------------------------------------------------------------------


def test_forged_cut_and_changed_catalogues_are_refused(clinic):
    """The other failures are in tests/vectors."""
    clinic.clock.now += 1
    good = clinic.hospital.catalogue()
    before = clinic.user.diseases("st-mary")
    for place in range(0, len(good), 7):
        changed = bytearray(good)
        changed[place] ^= 1
        with pytest.raises(ompd.OmpdError):
            clinic.user.learn(bytes(changed))
        with pytest.raises(ompd.OmpdError):
            clinic.user.learn(good[:place])
    mallory = Identity.generate("st-mary").signing_key
    entries = [plain(each) for each in CatalogueFrame.decode(good).entries()]
    with pytest.raises(SignatureError):
        clinic.user.learn(crafted(mallory, entries, hospital="st-mary", made_at=now_of(clinic)))
    assert clinic.user.diseases("st-mary") == before
    assert clinic.user.learn(good) == "st-mary"


def test_an_older_catalogue_is_refused(clinic):
    old = clinic.hospital.catalogue()
    clinic.clock.now += 60
    new = clinic.hospital.catalogue()
    clinic.user.learn(new)
    clinic.user.learn(new)
    with pytest.raises(VersionError, match="a newer one of this hospital is known"):
        clinic.user.learn(old)
    entries = [plain(each) for each in CatalogueFrame.decode(new).entries()]
    entries[0][0] = "gout"
    twin = crafted(key_of(clinic.hospital), entries, hospital="st-mary", made_at=now_of(clinic))
    with pytest.raises(VersionError, match="of the same moment"):
        clinic.user.learn(twin)
    assert list(clinic.user.diseases("st-mary")) == ["flu"]


def test_one_hospitals_catalogue_says_nothing_of_another(clinic):
    other = ompd.Hospital.create("st-john", clock=clinic.clock)
    with pytest.raises(UnknownKeyError):
        clinic.user.learn(other.catalogue())
    clinic.user.meet(other.public, "hospital")
    content = [plain(each) for each in CatalogueFrame.decode(clinic.hospital.catalogue()).entries()]
    content[0][0] = "gout"
    # Signed by st-john in the name of st-mary, and in its own.
    posing = crafted(key_of(other), content, hospital="st-mary", made_at=now_of(clinic) + 9)
    with pytest.raises(SignatureError):
        clinic.user.learn(posing)
    own = crafted(key_of(other), content, hospital="st-john", made_at=now_of(clinic) + 9)
    assert clinic.user.learn(own) == "st-john"
    assert list(clinic.user.diseases("st-mary")) == ["flu"]
    assert list(clinic.user.diseases("st-john")) == ["gout"]


def test_what_another_party_signs_is_no_catalogue(clinic):
    content = [plain(each) for each in CatalogueFrame.decode(clinic.hospital.catalogue()).entries()]
    clinic.user.meet(clinic.cloud.public, "cloud")
    by_cloud = crafted(key_of(clinic.cloud), content, hospital="cloud", made_at=now_of(clinic))
    with pytest.raises(RoleError):
        clinic.user.learn(by_cloud)


def test_a_million_features_are_refused_unread(clinic):
    long = crafted(
        key_of(clinic.hospital),
        [["flu", [["f", "ordinal", 0.0, 1.0, "", "", [], "", "refuse"]] * 10**6]],
        hospital="st-mary",
        made_at=now_of(clinic) + 9,
    )
    assert len(long) > MAX_CATALOGUE_BYTES
    with pytest.raises(TooLargeError):
        clinic.user.learn(long)
    many = [["f", "ordinal", 0.0, 1.0, "", "", [], "", "refuse"]] * 4097
    below = crafted(
        key_of(clinic.hospital), spoiled(1, many), hospital="st-mary", made_at=now_of(clinic) + 9
    )
    with pytest.raises(FramingError):
        clinic.user.learn(below)


def test_no_error_quotes_what_was_received(clinic):
    for content in (
        column(0, "se\u202ecret"),
        column(2, 1e300),
        column(7, "se-cr-et"),
        spoiled(2, ["secret", "secret"]),
        spoiled(0, "secret\n"),
        b"secret",
    ):
        data = crafted(
            key_of(clinic.hospital), content, hospital="st-mary", made_at=now_of(clinic) + 9
        )
        with pytest.raises(ompd.OmpdError) as caught:
            clinic.user.learn(data)
        assert "secret" not in str(caught.value)
        assert "se\u202ecret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_catalogue_ends(clinic):
    clinic.clock.now += 7 * DAY
    for call in (
        lambda: clinic.user.diseases("st-mary"),
        lambda: clinic.user.ask("st-mary", "flu", ROWS),
    ):
        with pytest.raises(OutdatedError, match="has expired"):
            call()
    clinic.user.learn(clinic.hospital.catalogue())
    assert clinic.user.diseases("st-mary")
    short = clinic.hospital.catalogue(lifetime=1)
    clinic.clock.now += 2
    with pytest.raises(ExpiredError):
        clinic.user.learn(short)


def test_nothing_is_known_of_a_hospital_that_told_nothing(world):
    with pytest.raises(OutdatedError, match="learn one"):
        world.user.diseases("st-mary")
    with pytest.raises(UnknownKeyError):
        world.user.diseases("st-john")


def test_new_keys_end_what_was_signed_with_the_old(tmp_path):
    clock = World().clock
    with Registry(tmp_path / "registry", clock=clock) as registry:
        options = {"directory": registry, "clock": clock}
        old = Identity.generate("st-mary")
        registry.admit(old.public, "hospital")
        hospital = ompd.Hospital(old, **options)
        user = ompd.User.create("alice", **options)
        stolen = crafted(old.signing_key, [], hospital="st-mary", made_at=int(clock.now * 1000) + 9)
        user.learn(hospital.catalogue())
        assert user.diseases("st-mary") == {}
        new = Identity.generate("st-mary")
        registry.rotate(new.public, Rotation.make(old, new.public).signature)
        for call in (
            lambda: user.diseases("st-mary"),
            lambda: user.ask("st-mary", "flu", [1.0]),
        ):
            with pytest.raises(OutdatedError, match="the hospital has new keys"):
                call()
        with pytest.raises(SignatureError):
            user.learn(stolen)
        # Also if it is older than what the old keys signed.
        clock.now -= 1
        user.learn(ompd.Hospital(new, **options).catalogue())
        assert user.diseases("st-mary") == {}
        registry.revoke("st-mary", "theft")
        for call in (
            lambda: user.diseases("st-mary"),
            lambda: user.learn(stolen),
            lambda: user.ask("st-mary", "flu", [1.0]),
        ):
            with pytest.raises(RevokedKeyError):
                call()


def test_new_keys_that_are_learned_meanwhile_are_not_undone(tmp_path, monkeypatch):
    """One thread has verified a catalogue by the old keys when another learns the new ones."""
    with Registry(tmp_path / "registry", clock=(clock := World().clock)) as registry:
        options = {"directory": registry, "clock": clock}
        old, new = Identity.generate("st-mary"), Identity.generate("st-mary")
        registry.admit(old.public, "hospital")
        former = ompd.Hospital(old, **options).catalogue()
        user = ompd.User.create("alice", **options)
        read = catalogue_module.read_catalogue

        def overtaken(*arguments):
            found = read(*arguments)
            monkeypatch.setattr(catalogue_module, "read_catalogue", read)
            registry.rotate(new.public, Rotation.make(old, new.public).signature)
            user.learn(ompd.Hospital(new, **options).catalogue())
            return found

        monkeypatch.setattr(catalogue_module, "read_catalogue", overtaken)
        with pytest.raises(SignatureError, match="new keys"):
            user.learn(former)
        assert user.diseases("st-mary") == {}


@pytest.mark.parametrize("data", [None, "text", 7, [], bytearray(b"x"), b""])
def test_what_is_no_catalogue_is_refused(world, data):
    with pytest.raises(FramingError):
        world.user.learn(data)


def test_a_lying_hospital_is_believed():
    """What nobody can detect: the hospital says what its numbers mean. SECURITY.md says so."""
    world = World()
    data = mixed()
    world.publish(data=data)
    honest = CatalogueFrame.decode(world.hospital.catalogue())
    lie = [plain(each) for each in honest.entries()]
    lie[0][1][1][6] = ["male", "female"]
    world.user.learn(
        crafted(key_of(world.hospital), lie, hospital="st-mary", made_at=now_of(world) + 9)
    )
    frame = world.user.ask("st-mary", "flu", {**ROWS[0], "sex": "male"})
    assert values_of(world, frame)[0, 1] == 0
    # Only a hospital that forgot its own lie refuses it.
    with pytest.raises(SchemaError):
        world.hospital.forward(frame)
