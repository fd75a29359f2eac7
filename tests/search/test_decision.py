"""One rule from votes to labels, for hospitals and classifiers alike."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ompd
from ompd.encode import CoarseEncoder, coarsen
from ompd.errors import ParameterError
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.search import LimbTable
from ompd.search.calibration import Calibration
from ompd.search.decision import Rule, check_decision, default_decision
from tests.marks import long, pairs

PROFILES = ("sealed", "hardened", "paper")
METHODS = ("relief-mw", "evidence")


def records(rows, shares, seed=0, features=3):
    """Overlapping classes of the given shares; no two distances are equal."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(np.round(rows * np.array(shares))).astype(int)
    labels = np.searchsorted(ends, np.arange(rows), side="right")
    values = np.clip(rng.normal(labels[:, None] * 1.2, 1.0, (rows, features)), -6, 12)
    schema = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "numeric", -6, 12) for j in range(features)),
        tuple(f"class {c}" for c in range(len(shares))),
    )
    return SimpleNamespace(schema=schema, features=values, labels=labels)


def asked(profile, data, queries, **options):
    """What a hospital's users are told, and its own side of the table."""
    hospital = ompd.Hospital.create("hospital", profile=profile)
    cloud, user = ompd.Cloud.create("cloud"), ompd.User.create("user")
    ompd.introduce(hospital, cloud, user)
    hospital.deliver(hospital.publish("flu", data, cloud="cloud", **options), cloud.store)
    query = user.ask("hospital", "flu", queries)
    diagnoses = user.read(hospital.report(cloud.answer(hospital.forward(query))))
    return (
        np.array([each.label for each in diagnoses]),
        np.array([list(each.probabilities.values()) for each in diagnoses]),
        np.array([list(each.votes.values()) for each in diagnoses]),
        hospital.tables["flu"],
    )


def naive_votes(vectors, labels, k, classes, *, own=False):
    """Class counts among the k nearest of every row: of all others, or with itself."""
    votes = []
    for i, vector in enumerate(vectors):
        distances = np.abs(vectors - vector).sum(axis=1)
        order = [j for j in np.argsort(distances, kind="stable") if own or j != i]
        votes.append(np.bincount(labels[order[:k]], minlength=classes))
    return np.array(votes)


@st.composite
def calibrated(draw):
    classes = draw(st.integers(2, 6))
    # A class of 5 % prevalence has an offset around 3 under equal priors.
    offsets = draw(st.lists(st.floats(-6, 6), min_size=classes, max_size=classes))
    votes = draw(
        st.lists(
            st.lists(st.integers(0, 40), min_size=classes, max_size=classes).filter(any),
            min_size=1, max_size=8,
        )
    )  # fmt: skip
    return Calibration(draw(st.floats(0.1, 3)), tuple(offsets)), np.array(votes)


@given(calibrated())
def test_the_label_is_the_first_of_the_most_probable(case):
    calibration, votes = case
    outcome = Rule(calibration).decide(votes, votes.argmax(axis=1))
    assert (outcome.probabilities == calibration.probabilities(votes)).all()
    for code, chances in zip(outcome.codes, outcome.probabilities.tolist(), strict=True):
        assert code == chances.index(max(chances))


@given(calibrated())
def test_no_vote_share_is_above_the_majoritys(case):
    _, votes = case
    leading = votes.shape[1] - 1 - votes[:, ::-1].argmax(axis=1)
    outcome = Rule(None).decide(votes, leading)
    assert (outcome.codes == leading).all()
    assert outcome.probabilities.sum(axis=1) == pytest.approx(1)
    assert outcome.probabilities * votes.sum(axis=1, keepdims=True) == pytest.approx(votes)
    chosen = outcome.probabilities[np.arange(len(votes)), outcome.codes]
    assert (outcome.probabilities <= chosen[:, np.newaxis]).all()


@pytest.mark.parametrize("priors", ["equal", "training"])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_rare_class_is_named_where_it_is_the_most_probable(profile, priors):
    data = records(300, (0.95, 0.05), seed=3)
    queries = records(60, (0.5, 0.5), seed=4).features
    labels, chances, votes, _ = asked(
        profile, data, queries, k=9, priors=priors, decision="probability"
    )
    assert (labels == np.array(data.schema.classes)[chances.argmax(axis=1)]).all()
    against = labels != np.array(data.schema.classes)[votes.argmax(axis=1)]
    assert against.any() or priors == "training"


def test_the_published_scheme_is_decided_by_the_majority():
    data = records(300, (0.95, 0.05), seed=3)
    queries = records(60, (0.5, 0.5), seed=4).features
    labels, chances, votes, table = asked("paper", data, queries, k=9)
    assert (labels == np.array(data.schema.classes)[votes.argmax(axis=1)]).all()
    assert chances == pytest.approx(votes / 9)
    assert table.rule == Rule(None)
    model = ReliefMWClassifier(9, schema=data.schema, decision="majority")
    model.fit(data.features, np.array(data.schema.classes)[data.labels])
    assert (model.predict(queries) == labels).all()
    assert (model.predict_proba(queries) == chances).all()
    assert model.calibration_ is None


def test_only_the_published_scheme_has_the_published_rule():
    found = {(p, m): default_decision(p, m) for p in PROFILES for m in METHODS}
    assert [case for case in found if found[case] == "majority"] == [("paper", "relief-mw")]


@pytest.mark.parametrize("decision", ["probability", *long("majority")])
@pytest.mark.parametrize(("profile", "method"), pairs(PROFILES, METHODS))
def test_hospital_and_classifier_say_the_same(profile, method, decision):
    data = records(160, (0.5, 0.4, 0.1))
    queries = records(60, (1 / 3,) * 3, seed=1).features
    labels, chances, votes, published = asked(
        profile, data, queries, k=7, method=method, decision=decision
    )
    kind = ReliefMWClassifier if method == "relief-mw" else EvidenceClassifier
    model = kind(7, schema=data.schema, decision=decision)
    model.fit(data.features, np.array(data.schema.classes)[data.labels])
    if isinstance(published.encoder, CoarseEncoder):
        # The same table, whose coordinates are coarse.
        step = published.encoder.step
        fine = model.encoder_.encode(data.features)
        if method == "evidence":
            fine = model.encoder_.instances
        model.encoder_ = CoarseEncoder(model.encoder_, step)
        model.table_ = LimbTable.from_prefix_sums(coarsen(fine, step), data.labels, 3)
        model.rule_ = Rule.learn(model.table_, 7, decision, "equal")
    assert published.rule == model.rule_
    # Blinded tables break equal distances at random, and coarse ones have many.
    same = (model.votes(queries) == votes).all(axis=1)
    assert same.mean() > (0.99 if profile == "sealed" else 0.5)
    assert (model.predict(queries) == labels)[same].all()
    assert (model.predict_proba(queries) == chances)[same].all()


@pytest.mark.parametrize("method", METHODS)
def test_a_row_does_not_vote_on_itself(method):
    # Labels that say nothing: who counts the row itself finds its own vote informative.
    data = records(120, (1.0, 0.0))
    data.labels = np.random.default_rng(9).integers(0, 2, 120)
    kind = ReliefMWClassifier if method == "relief-mw" else EvidenceClassifier
    model = kind(3, schema=data.schema).fit(data.features, data.labels)
    *_, published = asked("sealed", data, data.features[:1], k=3, method=method)
    vectors = model.encoder_.encode(data.features)
    if method == "evidence":
        vectors = model.encoder_.instances
    expected = Calibration.fit(naive_votes(vectors, data.labels, 3, 2), data.labels)
    itself = naive_votes(vectors, data.labels, 3, 2, own=True)
    wrong = Calibration.fit(itself, data.labels)
    assert model.calibration_ == expected
    assert published.rule == Rule(expected)
    assert wrong.slope > expected.slope + 0.3


@pytest.mark.parametrize("decision", ["mean", "Majority", None, 1, b"majority"])
def test_wrong_decisions_are_refused(decision):
    with pytest.raises(ParameterError, match="decision: expected"):
        check_decision(decision)
    data = records(20, (0.5, 0.5))
    for kind in (ReliefMWClassifier, EvidenceClassifier):
        with pytest.raises(ParameterError, match="decision"):
            kind(3, decision=decision).fit(data.features, data.labels)
    if decision is not None:
        hospital, cloud = ompd.Hospital.create("hospital"), ompd.Cloud.create("cloud")
        ompd.introduce(hospital, cloud)
        with pytest.raises(ParameterError, match="decision"):
            hospital.publish("flu", data, cloud="cloud", k=3, decision=decision)
