"""A course and a template on the road of all aggregates: signed, sealed, kept and counted."""

from __future__ import annotations

import datetime
from types import SimpleNamespace

import numpy as np
import pytest

import ompd
from ompd.aggregate.functions import FUNCTIONS
from ompd.errors import FrameError, OmpdError, ParameterError, QuotaError, RangeError, RoleError
from ompd.roles import AggregateCloud, Patient, Physician
from ompd.stores import Collections, EnquiryQuota
from ompd.text import (
    TEXT_CORRELATION,
    Course,
    SealedReply,
    Template,
    encode_lags,
    load,
    open_reply,
    seal_course,
    seal_template,
)
from tests.text.naive_text import correlations

KNOWN = [*FUNCTIONS, TEXT_CORRELATION]
DAYS = 30


def make(folder, clock):
    world = SimpleNamespace(clock=clock)
    options = {"clock": clock, "functions": KNOWN}
    world.quota = EnquiryQuota(folder / "quota.db", cap=2, power_safe=False)
    world.cloud = AggregateCloud.create(
        "cloud",
        collections=Collections(folder / "kept.db", power_safe=False),
        quota=world.quota,
        **options,
    )
    world.physician = Physician.create("dr-grey", **options)
    world.other = Physician.create("dr-no", **options)
    world.patient = Patient.create("alice", **options)
    ompd.introduce(world.cloud, world.physician, world.patient, world.other)
    rng = np.random.default_rng(2)
    world.lexicon = load("cardiology")
    rows = len(world.lexicon.concepts)
    world.course = Course(
        world.lexicon, datetime.date(2024, 1, 1), rng.integers(0, 4, (rows, DAYS))
    )
    world.templates = [Template(world.lexicon, rng.integers(0, 4, (rows, 9))) for _ in range(3)]
    return world


@pytest.fixture
def world(tmp_path):
    world = make(tmp_path, lambda: 1_800_000_000.0)
    yield world
    world.cloud.close()
    world.quota.close()


def begun(world, *, length=DAYS):
    collection, frame = world.physician.collect(
        "cloud", "notes", "text-correlation", length=length, bound=15, least=1, most=10
    )
    world.physician.confirm(world.cloud.answer(frame))
    world.patient.accept(world.physician.invite(collection, "alice"))
    return collection


def handed_in(world, collection):
    sealed = seal_course(world.patient.public_key(collection), world.course)
    frame = world.patient.hand_in(collection, [sealed.to_bytes()])
    world.patient.confirm(world.cloud.answer(frame))


def asked(world, collection, secret, template, lags=None):
    operands = [seal_template(secret, template).to_bytes(), encode_lags(lags)]
    return world.physician.ask(collection, contributor="alice", operands=operands)


def secret_of(world, collection):
    """The physician's own key of a collection."""
    return world.physician._find(collection).secret


def read(world, result, template):
    found = world.physician.read(result)
    reply = SealedReply.from_bytes(found.parts[0], found.secret.context)
    return open_reply(found.secret, template, reply)


def test_a_physician_learns_the_correlations_of_a_patient(world):
    collection = begun(world)
    handed_in(world, collection)
    secret = secret_of(world, collection)
    template = world.templates[0]
    for lags in (None, (-3, 12)):
        result = world.cloud.answer(asked(world, collection, secret, template, lags))
        found = read(world, result, template)
        expected = correlations(
            world.course.counts.tolist(), template.counts.tolist(), world.lexicon.weights
        )
        assert found.products.tolist() == [expected[lag][0] for lag in found.lags.tolist()]
    assert found.lags.tolist() == list(range(-3, 13))


def test_the_cloud_counts_enquiries_before_it_answers(world):
    collection = begun(world)
    handed_in(world, collection)
    secret = secret_of(world, collection)
    frames = [asked(world, collection, secret, template) for template in world.templates]
    for frame in frames[:2]:
        world.cloud.answer(frame)
    with pytest.raises(QuotaError):
        world.cloud.answer(frames[2])
    assert world.quota.taken("alice", 1_800_000_000 // (30 * 86_400)) == 2


def test_nobody_else_asks_and_nothing_else_is_taken(world):
    collection = begun(world)
    secret = secret_of(world, collection)
    other = begun(world, length=DAYS + 1)
    sealed = seal_course(world.patient.public_key(other), world.course)
    with pytest.raises(RangeError):
        world.cloud.answer(world.patient.hand_in(other, [sealed.to_bytes()]))
    with pytest.raises(OmpdError):
        world.cloud.answer(world.patient.hand_in(collection, [sealed.to_bytes()]))
    handed_in(world, collection)
    stolen = world.physician.to_bytes(collection)
    with pytest.raises(OmpdError):
        world.other.restore(stolen)
    operands = [seal_template(secret, world.templates[0]).to_bytes(), b""]
    world.other._own[collection] = world.physician._own[collection]
    with pytest.raises(RoleError):
        world.cloud.answer(world.other.ask(collection, contributor="alice", operands=operands))


def test_malformed_operands_are_refused(world):
    collection = begun(world)
    public = world.patient.public_key(collection)
    course = seal_course(public, world.course).to_bytes()
    template = seal_template(secret_of(world, collection), world.templates[0]).to_bytes()
    assert TEXT_CORRELATION.evaluate(public, [[course]], [template, encode_lags((0, 1))])
    for operands in (
        [template, b"1"],
        [template, b"\x00\x7f"],
        [template, b"\x01\x00"],
        [template[:-1], b""],
        [course, b""],
        [b"", b""],
    ):
        with pytest.raises((FrameError, ParameterError)):
            TEXT_CORRELATION.evaluate(public, [[course]], operands)


@pytest.mark.parametrize("lags", [(0,), (0, 128), (-129, 0), (0.0, 1.0), "01", 3, [0, 1]])
def test_lags_that_cannot_be_are_refused(lags):
    with pytest.raises(ParameterError):
        encode_lags(lags)


def test_a_cloud_without_a_quota_does_not_correlate():
    with pytest.raises(ParameterError, match="quota"):
        AggregateCloud.create("cloud", functions=KNOWN)
