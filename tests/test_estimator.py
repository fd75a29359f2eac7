from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import ompd
from ompd import datasets
from ompd.errors import (
    DomainError,
    FeatureError,
    LabelError,
    NeighborsError,
    ParameterError,
    TrainingError,
)
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.estimator.base import _narrow
from ompd.schema import Feature, Schema


@parametrize_with_checks([ReliefMWClassifier()])
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        # Its data sets have random labels and constant columns, about which ompd warns.
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.long
@parametrize_with_checks([EvidenceClassifier()])
def test_scikit_learns_own_checks_of_evidence(estimator, check):
    with warnings.catch_warnings():
        # Its data sets have random labels and constant columns, about which ompd warns.
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("name", ["wbc", "mm"])
def test_plain_and_blinded_predict_alike(name):
    train, test = datasets.load(name).split(test_per_class=30, seed=4)
    plain = ReliefMWClassifier(11, schema=train.schema, decision="majority")
    plain.fit(train.features, train.labels)
    predicted = plain.predict(test.features)

    hospital = ompd.Hospital.create("hospital", profile="paper")
    cloud, user = ompd.Cloud.create("cloud"), ompd.User.create("user")
    ompd.introduce(hospital, cloud, user)
    hospital.deliver(hospital.publish("disease", train, cloud="cloud", k=11), cloud.store)
    job = hospital.forward(user.ask("hospital", "disease", test.features))
    diagnoses = user.read(hospital.report(cloud.answer(job)))
    blinded = train.schema.codes([diagnosis.label for diagnosis in diagnoses])

    encoder = plain.encoder_
    instances = encoder.encode(train.features)
    for x, a, b in zip(encoder.encode(test.features), predicted, blinded, strict=True):
        distances = np.sort(np.abs(instances - x).sum(axis=1))
        tied = distances[10] == distances[11]
        assert a == b or tied


def test_cross_validates_on_real_data():
    data = datasets.load("wbc")
    model = ReliefMWClassifier(9, schema=data.schema)
    assert cross_val_score(model, data.features, data.labels, cv=5).mean() > 0.95


def test_labels_may_be_any_classes():
    X = np.arange(12.0)[:, None]
    y = np.array(["low"] * 6 + ["high"] * 6)
    model = ReliefMWClassifier(3).fit(X, y)
    assert model.predict([[-100.0], [100.0]]).tolist() == ["low", "high"]
    assert clone(model).get_params() == model.get_params()


def test_schema_decides_what_is_refused():
    data = datasets.load("wbc")
    model = ReliefMWClassifier(9, schema=data.schema).fit(data.features, data.labels)
    with pytest.raises(DomainError, match="clump_thickness"):
        model.predict(data.features[:1] + 10)


KINDS = (ReliefMWClassifier, EvidenceClassifier)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_are_found_by_name_if_there_is_a_schema(kind):
    train, test = datasets.load("mm").split(seed=1)
    names = [feature.name for feature in train.schema.features]
    other = names[::-1]
    before, after = (pd.DataFrame(part.features, columns=names) for part in (train, test))
    few = np.r_[0:60, -60:0]
    y = train.labels[few]
    plain = kind(5, schema=train.schema).fit(train.features[few], y)
    expected = plain.predict_proba(test.features)
    assert not hasattr(plain, "feature_names_in_")
    assert (plain.predict_proba(after[other].to_dict("list")) == expected).all()
    for fitted, asked in ((names, other), (other, names), (other, other)):
        model = kind(5, schema=train.schema).fit(before.loc[few % len(before), fitted], y)
        assert model.feature_names_in_.tolist() == names
        assert (model.predict_proba(after[asked]) == expected).all()
        assert (model.votes(after[asked]) == plain.votes(test.features)).all()
    for wrong, message in (
        (after[names[1:]], f"expected a value of '{names[0]}'"),
        (after.rename(columns={names[2]: "other"}), f"expected a value of '{names[2]}'"),
        (after.assign(other=1), "got another name in place 5"),
        (after[[*names, names[0]]], "only once"),
    ):
        with pytest.raises(FeatureError, match=message):
            model.predict(wrong)
        with pytest.raises(FeatureError, match=message):
            kind(5, schema=train.schema).fit(wrong, test.labels)


def test_names_that_are_missing_on_one_side_warn_as_in_scikit_learn():
    data = datasets.load("mm")
    frame = pd.DataFrame(data.features, columns=[each.name for each in data.schema.features])
    named = ReliefMWClassifier(schema=data.schema).fit(frame, data.labels)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict(data.features)
    plain = ReliefMWClassifier(schema=data.schema).fit(data.features, data.labels)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        plain.predict(frame)


@pytest.mark.parametrize(
    "y", [[0, 0, 1, 1], [1, 1, 2, 2], ["0", "0", "1", "1"], ["x", "x", "y", "y"]]
)
def test_labels_are_those_of_y_whatever_the_schema_calls_its_classes(y):
    schema = Schema([Feature("glucose", "numeric", 0, 300)], ["1", "0"])
    model = ReliefMWClassifier(1, schema=schema).fit([[80], [85], [200], [210]], y)
    assert model.predict([[82], [205]]).tolist() == [y[0], y[-1]]


def test_wrong_parameters_are_refused():
    X, y = np.arange(8.0)[:, None], np.arange(8) % 2
    for k in (0, 2, -1, "9", None, 1.5):
        with pytest.raises(NeighborsError, match="odd"):
            ReliefMWClassifier(k).fit(X, y)
    with pytest.raises(NeighborsError, match="odd"):
        EvidenceClassifier(4).fit(X, y)
    for model in (ReliefMWClassifier(3, priors="flat"), EvidenceClassifier(priors=None)):
        with pytest.raises(ParameterError, match="priors"):
            model.fit(X, y)
    with pytest.raises(ParameterError, match="seed"):
        EvidenceClassifier(seed=-1).fit(X, y)
    with pytest.raises(TrainingError, match="at least two instances"):
        ReliefMWClassifier(1).fit(X, [0] * 7 + [1])


def test_more_neighbours_than_instances_all_vote():
    X, y = np.arange(8.0)[:, None], np.array([0, 0, 0, 0, 0, 1, 1, 1])
    # Seven of eight vote, so the majority class always wins.
    model = ReliefMWClassifier(99, decision="majority").fit(X, y)
    assert model.predict(X).tolist() == [0] * 8


@pytest.fixture(scope="module")
def split():
    return datasets.load("mm").split(seed=6)


@pytest.fixture(scope="module")
def evidence(split):
    train, _ = split
    return EvidenceClassifier(schema=train.schema).fit(train.features, train.labels)


def test_evidence_is_decided_by_its_probabilities(split, evidence):
    _, test = split
    votes, chances = evidence.votes(test.features), evidence.predict_proba(test.features)
    assert (votes.sum(axis=1) == evidence.n_neighbors_).all()
    assert evidence.n_neighbors_ == evidence.encoder_.neighbors
    assert (chances == evidence.calibration_.probabilities(votes)).all()
    assert (evidence.predict(test.features) == chances.argmax(axis=1)).all()
    assert evidence.score(test.features, test.labels) > 0.77


def test_evidence_votes_are_those_of_the_nearest_instances(split, evidence):
    train, test = split
    instances = evidence.encoder_.instances
    queries = evidence.encoder_.encode(test.features[:20])
    for query, votes in zip(queries, evidence.votes(test.features[:20]), strict=True):
        order = np.lexsort((np.arange(len(instances)), np.abs(instances - query).sum(axis=1)))
        nearest = train.labels[order[: evidence.n_neighbors_]]
        assert votes.tolist() == np.bincount(nearest, minlength=2).tolist()


def test_given_number_of_neighbours_is_used(split):
    train, test = split
    model = EvidenceClassifier(5, schema=train.schema).fit(train.features[:80], train.labels[:80])
    assert (model.votes(test.features).sum(axis=1) == 5).all()


def test_priors_move_the_decision(rng):
    X = np.concatenate([rng.normal(0, 1, 270), rng.normal(1, 1, 30)])[:, None]
    y = np.repeat([0, 1], [270, 30])
    for kind in (ReliefMWClassifier, EvidenceClassifier):
        equal = kind(31, priors="equal").fit(X, y).predict_proba(X)[:, 1]
        training = kind(31, priors="training").fit(X, y).predict_proba(X)[:, 1]
        assert (equal >= training).all()
        assert training.mean() == pytest.approx(0.1, abs=0.03)
        assert (kind(31).fit(X, y).predict(X) == 1).mean() > 0.2


def test_votes_of_a_small_sample_calibrate_large_tables(monkeypatch, split):
    train, test = split
    monkeypatch.setattr("ompd.search.decision.CALIBRATION_ROWS", 150)
    model = ReliefMWClassifier(11, schema=train.schema).fit(train.features, train.labels)
    whole = ReliefMWClassifier(11, schema=train.schema)
    monkeypatch.undo()
    whole.fit(train.features, train.labels)
    assert model.calibration_ != whole.calibration_
    assert model.calibration_.slope == pytest.approx(whole.calibration_.slope, abs=0.5)
    assert (model.predict(test.features) == whole.predict(test.features)).all()


@pytest.mark.parametrize("schema", [None, Schema([Feature("x", "numeric", 0, 9)], ["a", "b"])])
def test_what_is_masked_is_missing(schema):
    features, labels = np.arange(10.0)[:, np.newaxis], np.arange(10) // 5
    model = ReliefMWClassifier(1, schema=schema).fit(np.ma.array(features), np.ma.array(labels))
    hidden = np.ma.array(features, mask=features == 3)
    with pytest.raises(FeatureError, match="masked"):
        model.predict(hidden)
    with pytest.raises(FeatureError, match="masked"):
        model.fit(hidden, labels)
    with pytest.raises(LabelError, match="masked"):
        model.fit(features, np.ma.array(labels, mask=labels == 1))


GAPPY = Schema(
    [
        Feature("x", "numeric", 0, 9, missing="median"),
        Feature("kind", "nominal", 0, 2, missing="level"),
        Feature("y", "numeric", 0, 9),
    ],
    ["a", "b"],
)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_are_filled_as_the_schema_says(kind, rng):
    labels = np.arange(40) % 2
    rows = np.column_stack(
        [rng.integers(0, 5, 40) + 4 * labels, rng.integers(0, 3, 40), rng.integers(0, 9, 40)]
    ).astype(np.float64)
    rows[::5, 0] = np.nan
    rows[::7, 1] = np.nan
    model = kind(3, schema=GAPPY).fit(rows, labels)
    assert model.filling_.values[1:] == (3.0, None)
    filled, counts = model.filling_.fill(rows)
    assert counts.sum() == np.isnan(rows).sum()
    whole = Schema(model.filling_.inner.features, ["a", "b"])
    plain = kind(3, schema=whole).fit(filled, labels)
    assert (model.predict_proba(rows) == plain.predict_proba(filled)).all()
    frame = pd.DataFrame(rows, columns=["x", "kind", "y"])[["y", "kind", "x"]]
    assert (kind(3, schema=GAPPY).fit(frame, labels).predict(frame) == plain.predict(filled)).all()
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(rows) == model.predict_proba(rows)).all()
    for bad in (rows[:, [0, 1, 0]], np.where(np.isnan(rows), np.inf, rows)):
        with pytest.raises(ValueError, match=r"finite|infinity"):
            model.predict(bad)
    assert cross_val_score(kind(3, schema=GAPPY), rows, labels, cv=3).mean() > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learn_is_told_whether_values_may_be_missing(kind):
    complete = Schema([Feature("x", "numeric", 0, 9)], ["a", "b"])
    rows = [[np.nan], [1], [2], [3]]
    for schema in (None, complete):
        model = kind(1, schema=schema)
        assert not get_tags(model).input_tags.allow_nan
        with pytest.raises(ValueError, match=r"NaN|missing"):
            model.fit(rows, [0, 1, 0, 1])
    assert get_tags(kind(1, schema=GAPPY)).input_tags.allow_nan


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_no_row_has_is_refused(kind):
    rows = [[np.nan, 1, j] for j in range(6)]
    with pytest.raises(TrainingError, match="'x': expected a value"):
        kind(1, schema=GAPPY).fit(rows, [0, 1] * 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [pd.DataFrame, pl.DataFrame, dict, "category"])
def test_a_schema_reads_what_its_frames_hold(kind, form, rng):
    """Levels, numbers in text, marks of missing values and truths, as `Dataset.from_frame` does."""
    schema = Schema(
        [
            Feature("grade", "ordinal", 0, 2, levels=("low", "mid", "high")),
            Feature("dose", "numeric", 0, 9, missing="median"),
            Feature("smoker", "nominal", 0, 1, levels=("False", "True")),
        ],
        ["no", "yes"],
    )
    codes = np.arange(40) % 2
    grades = np.clip(codes + rng.integers(0, 2, 40), 0, 2)
    doses = codes * 3 + rng.integers(0, 40, 40) / 8
    cells = {
        "smoker": (codes == 1).tolist(),
        "dose": ["?" if row == 5 else str(dose) for row, dose in enumerate(doses.tolist())],
        "grade": [schema.features[0].levels[grade] for grade in grades],
    }
    doses[5] = np.nan
    values = np.column_stack([grades, doses, codes])
    table = pd.DataFrame(cells).astype(form) if form == "category" else form(cells)
    y = schema.names(codes)
    found = kind(5, schema=schema).fit(table, y)
    expected = kind(5, schema=schema).fit(values, y)
    assert (found.predict_proba(table) == expected.predict_proba(values)).all()
    cells["grade"][7] = "7391"
    with pytest.raises(DomainError, match="row 7, feature 'grade'") as caught:
        found.predict(pd.DataFrame(cells))
    assert "7391" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_cell_is_quoted(kind):
    rows = [[1.0], [2.0], [3.0], ["7391 mg"]]
    with pytest.raises(FeatureError, match="schema") as caught:
        kind().fit(rows, [0, 1, 0, 1])
    assert caught.value.__context__ is None


def test_counts_do_not_wrap():
    for most in (65_535, 65_536, 200_000):
        assert _narrow(np.array([0, most])).tolist() == [0, most]
    assert _narrow(np.array([65_535])).dtype == np.uint16
