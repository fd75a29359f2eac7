from __future__ import annotations

import pickle
import sys
from itertools import pairwise

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import CategoricalNB
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from ompd import datasets
from ompd.encode import Encoder, EvidenceEncoder
from ompd.encode.evidence import encoder as module
from ompd.encode.evidence.columns import Columns
from ompd.encode.evidence.learners import LEARNERS
from ompd.encode.evidence.stacking import Stack
from ompd.errors import (
    BackendUnavailableError,
    DomainError,
    FeatureError,
    LabelError,
    ParameterError,
    TrainingError,
)
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, compute, limbs_of, tally
from ompd.search.calibration import Calibration


def schema_of(kinds, classes=2, low=-10, high=10):
    return Schema(
        tuple(Feature(f"f{j}", kind, low, high) for j, kind in enumerate(kinds)),
        tuple(f"class {c}" for c in range(classes)),
    )


def table_of(rng, rows=90, classes=2, kinds=("numeric", "ordinal", "nominal", "numeric")):
    """Rows whose features depend on their class, a bit."""
    labels = np.arange(rows) % classes
    columns = []
    for kind in kinds:
        noise = rng.normal(size=rows) if kind == "numeric" else rng.integers(0, 4, rows)
        columns.append(noise + labels if kind != "ordinal" else noise * 3 - labels)
    return schema_of(kinds, classes), np.stack(columns, axis=1), labels


@pytest.fixture(scope="module")
def fitted():
    schema, features, labels = table_of(np.random.default_rng(5), classes=3)
    return EvidenceEncoder.fit(schema, features, labels), features, labels


def test_columns_equal_the_oracle(rng):
    schema, features, _ = table_of(rng)
    columns = Columns.fit(schema, features)
    queries = np.vstack([features[:5], [[9.5, -9, 7, -9.5]]])
    plain, cells = columns.plain(queries), columns.cells(queries)
    for i, query in enumerate(queries):
        expected = [(query[j] - features[:, j].mean()) / features[:, j].std() for j in (0, 1, 3)]
        expected += [float(query[2] == level) for level in sorted(set(features[:, 2]))]
        assert plain[i] == pytest.approx(np.array(expected))
        places = []
        for j in range(4):
            levels = sorted(set(features[:, j]))
            if j == 2:
                places += [float(query[j] == level) for level in levels]
                continue
            if len(levels) <= 10:
                cuts = [(a + b) / 2 for a, b in pairwise(levels)]
            else:
                cuts = sorted({float(np.quantile(features[:, j], q / 8)) for q in range(1, 8)})
            place = sum(cut <= query[j] for cut in cuts)
            places += [float(place == c) for c in range(len(cuts) + 1)]
        assert cells[i].tolist() == places
    assert sum(columns.cells_of) == cells.shape[1]


@pytest.mark.parametrize("classes", [2, 3])
def test_models_say_what_scikit_learn_says(rng, classes):
    schema, features, labels = table_of(rng, classes=classes)
    columns = Columns.fit(schema, features)
    queries = rng.permuted(features, axis=0)
    plain, asked = columns.plain(features), columns.plain(queries)
    oracles = {
        "linear": LogisticRegression(max_iter=300),
        "kernel": make_pipeline(
            Nystroem(gamma=1 / 4, n_components=len(plain), random_state=7),
            LogisticRegression(C=10, max_iter=300),
        ),
        "forest": ExtraTreesClassifier(64, random_state=7),
        "boosting": GradientBoostingClassifier(
            n_estimators=50,
            learning_rate=0.15,
            max_depth=2,
            subsample=0.7,
            max_features=0.5,
            random_state=7,
        ),
    }
    for learner in LEARNERS:
        model = learner.fit(learner.design(columns, features), labels, classes, columns, 7)
        found = np.exp(model.scores(learner.design(columns, queries)))
        if learner.name == "bayes":
            split = np.cumsum(columns.cells_of)[:-1]

            def codes(values, split=split):
                parts = np.split(columns.cells(values), split, axis=1)
                return np.stack([part.argmax(axis=1) for part in parts], axis=1)

            oracle = CategoricalNB(min_categories=columns.cells_of)
            expected = oracle.fit(codes(features), labels).predict_proba(codes(queries))
        else:
            expected = oracles[learner.name].fit(plain, labels).predict_proba(asked)
        assert found == pytest.approx(np.maximum(expected, 1e-4), abs=1e-7), learner.name


def test_stack_weighs_what_is_informative(rng):
    labels = np.arange(400) % 2
    truth = rng.normal(size=400) + 1.5 * labels

    def opinion(score):
        return np.stack([-score, score], axis=1)

    good, noise, wrong = opinion(truth), opinion(rng.normal(size=400)), opinion(-truth)
    stack = Stack.fit(np.stack([good, noise, wrong], axis=-1), labels)
    assert stack.weights[0] > 0.3
    assert abs(stack.weights[1]) < 0.2
    assert stack.weights[2] == 0
    evidence = stack.evidence(np.stack([good, noise, wrong], axis=-1))
    assert np.exp(evidence).sum(axis=1) == pytest.approx(1)


def test_vectors_are_integers_within_bounds(fitted):
    encoder, features, _ = fitted
    protocol: Encoder = encoder
    vectors = encoder.encode(features)
    assert vectors.dtype == encoder.instances.dtype == np.int64
    assert vectors.shape == encoder.instances.shape == (90, protocol.coordinates)
    assert protocol.coordinates == 3
    for array in (vectors, encoder.instances):
        assert array.min() >= 0
        assert array.max() <= encoder.largest < 1 << 62
    one_by_one = np.concatenate([encoder.encode(row) for row in features])
    assert (one_by_one == vectors).all()
    assert encoder.encode(features[:0]).shape == (0, 3)


def chances(rows):
    """Logarithms of class probabilities, each row shifted to sum to 1."""
    logs = np.array(rows, dtype=float)
    return logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))


def test_coordinates_are_logarithms_that_end_below(rng):
    logs = chances(rng.normal(0, 6, (40, 5)))
    found = module._fixed_point(logs)
    for row, expected in zip(found.tolist(), logs.tolist(), strict=True):
        assert row == [round((max(value, -6.0) + 6.0) * 65536) for value in expected]


def test_the_coordinate_of_two_classes_keeps_the_distance_of_both(rng):
    logs = chances(rng.normal(0, 5, (60, 2)))
    found = module._fixed_point(logs)
    assert found.shape == (60, 1)
    both = np.maximum(logs, -6.0) * 65536
    for i in range(60):
        distances = np.abs(both - both[i]).sum(axis=1)
        assert np.abs(found - found[i])[:, 0] == pytest.approx(distances, abs=2)
    ends = module._fixed_point(chances([[0, -50], [-50, 0], [0, 0]]))
    assert ends[:, 0].tolist() == [0, 12 << 16, 6 << 16]


def test_plausible_classes_are_told_apart_among_many():
    # Whether the ten other classes are unlikely or most unlikely matters less than which is likely.
    first, second = [-0.1, -2.4], [-2.4, -0.1]
    rows = chances([first + [-30] * 10, second + [-30] * 10, first + [-9] * 10])
    one, other, alike = module._fixed_point(rows)
    assert np.abs(one - other).sum() == pytest.approx(4.6 * 65536, abs=2)
    assert np.abs(one - alike).sum() < 0.01 * 65536


@pytest.mark.long
def test_ten_classes_are_learned():
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    features = features[:, np.ptp(features, axis=0) > 0]
    schema = schema_of(["numeric"] * features.shape[1], classes=10, low=0, high=16)
    own, codes = features[::4], labels[::4].copy()
    encoder = EvidenceEncoder.fit(schema, own, codes)
    table = LimbTable.from_prefix_sums(encoder.instances, codes, 10)
    _, rows = compute(table, limbs_of(encoder.encode(features[1::2])), encoder.neighbors)
    assert (tally(table, rows).argmax(axis=1) == labels[1::2]).mean() > 0.92


def test_instances_do_not_know_their_own_labels(rng):
    # Two of ten labels are wrong, which only those can tell who have seen them.
    schema = schema_of(["numeric"] * 2)
    features = rng.normal(size=(300, 2))
    truth = (features > 0).sum(axis=1) == 1
    wrong = np.arange(300) % 10 < 2
    encoder = EvidenceEncoder.fit(schema, features, (truth ^ wrong).astype(np.int64))

    def gap(vectors):
        """How much less evidence wrongly labelled rows have for the truth, in deviations."""
        evidence = np.where(truth, 1.0, -1.0) * (vectors[:, 0] - encoder.largest / 2)
        return (evidence[~wrong].mean() - evidence[wrong].mean()) / evidence.std()

    assert gap(encoder.encode(features)) > 1
    assert abs(gap(encoder.instances)) < 0.5


def test_noise_is_no_evidence(rng):
    schema = schema_of(["numeric"] * 4)
    encoder = EvidenceEncoder.fit(schema, rng.normal(size=(200, 4)), np.arange(200) % 2)
    # Within a fifth of a nat of even odds, of six that it could reach.
    assert np.abs(encoder.instances - encoder.largest // 2).max() < encoder.largest // 64


def test_rows_beyond_the_learned_ones_are_encoded_like_queries(rng, monkeypatch):
    schema, features, labels = table_of(rng, rows=150, classes=3)
    monkeypatch.setattr(module, "_MOST_LEARNED", 60)
    encoder = EvidenceEncoder.fit(schema, features, labels)
    same = (encoder.instances == encoder.encode(features)).all(axis=1)
    assert 90 <= same.sum() < 100
    assert all((~same & (labels == code)).any() for code in range(3))


def test_spread_keeps_two_rows_of_a_rare_class():
    codes = np.repeat([0, 1, 2], [900, 97, 3])
    rows = module._spread(codes, 100)
    assert np.bincount(codes[rows]).tolist() == [90, 9, 2]
    assert (np.diff(rows) > 0).all()
    assert module._spread(codes, 1000).tolist() == list(range(1000))


def test_the_same_seed_gives_the_same_integers(fitted):
    encoder, features, labels = fitted
    with threadpool_limits(2):
        again = EvidenceEncoder.fit(encoder.schema, features, labels)
    assert (again.instances == encoder.instances).all()
    assert (again.encode(features) == encoder.encode(features)).all()
    other = EvidenceEncoder.fit(encoder.schema, features, labels, seed=1)
    assert (other.instances != encoder.instances).any()


def test_neighbors_are_the_most_that_inform(rng):
    encoded = np.concatenate([rng.integers(0, 400, 60), rng.integers(300, 700, 60)])[:, None]
    codes = np.repeat([0, 1], 60)
    losses = {}
    for k in (1, 3, 5, 9, 15, 21):
        votes = []
        for i in range(120):
            order = sorted(set(range(120)) - {i}, key=lambda j: (abs(encoded[j] - encoded[i]), j))
            votes.append(np.bincount(codes[order[:k]], minlength=2))
        chances = Calibration.fit(votes, codes).probabilities(votes)
        losses[k] = -np.mean(np.log(chances[np.arange(120), codes]))
    expected = max(k for k, loss in losses.items() if loss <= min(losses.values()) + 0.01)
    assert module._choose_neighbors(encoded, codes, 2) == expected
    # Many small classes: more neighbours than a class has members cannot be better.
    many = (np.arange(160) % 20)[:, None] * 1000 + rng.integers(0, 300, (160, 1))
    assert module._choose_neighbors(many, np.arange(160) % 20, 20) <= 9


@pytest.mark.parametrize(
    ("features", "labels", "classes"),
    [
        ([[0], [1], [9], [8]], [0, 0, 1, 1], 2),
        ([[1], [1], [1], [1]], [0, 1, 0, 1], 2),
        ([[0, 3], [1, 3], [8, 3], [9, 3], [5, 3], [4, 3]], [0, 0, 1, 1, 2, 2], 3),
        ([[0]] * 2 + [[5]] * 30, [0] * 2 + [1] * 30, 2),
    ],
)
def test_tiny_tables(features, labels, classes):
    schema = schema_of(["nominal"] * len(features[0]), classes, low=0)
    encoder = EvidenceEncoder.fit(schema, features, labels)
    assert encoder.instances.shape == (len(labels), 1 if classes == 2 else classes)
    assert 1 <= encoder.neighbors <= len(labels)
    assert encoder.neighbors % 2 == 1
    # A level that no instance had is no error, only no evidence.
    assert encoder.encode([[7] * len(features[0])]).min() >= 0


def test_separable_classes_are_separated(rng):
    schema = schema_of(["numeric"])
    features = np.concatenate([rng.uniform(-9, -5, 20), rng.uniform(5, 9, 20)])[:, None]
    encoder = EvidenceEncoder.fit(schema, features, np.repeat([0, 1], 20))
    assert encoder.encode([[-10]])[0, 0] < encoder.instances[20:].min()
    assert encoder.encode([[10]])[0, 0] > encoder.instances[:20].max()


def test_nominal_levels_have_no_order(rng):
    labels = np.arange(120) % 2
    features = np.where(labels == 1, 5, rng.choice([2, 8], 120))[:, None].astype(float)
    names = {2: 1, 5: 9, 8: 4}
    renamed = np.array([[names[int(value)]] for value in features[:, 0]])
    schema = schema_of(["nominal"])
    first = EvidenceEncoder.fit(schema, features, labels)
    assert first.encode([[5]]) > first.encode([[2]])
    assert first.encode([[5]]) > first.encode([[8]])
    second = EvidenceEncoder.fit(schema, renamed, labels)
    assert second.encode([[9]]) > second.encode([[4]])


def test_learns_real_data():
    train, test = datasets.load("wbc").split(seed=2)
    encoder = EvidenceEncoder.fit(train.schema, train.features, train.labels)
    evidence = encoder.encode(test.features)[:, 0] > encoder.largest // 2
    assert (evidence == test.labels).mean() > 0.95
    assert encoder.coordinates == 1
    assert encoder.neighbors >= 31


def test_shows_and_pickles_no_more_than_it_should(fitted):
    encoder, features, _ = fitted
    assert repr(encoder) == "<EvidenceEncoder of 4 features, 3 classes>"
    copy = pickle.loads(pickle.dumps(encoder))
    assert (copy.encode(features) == encoder.encode(features)).all()
    for one in (encoder, copy):
        with pytest.raises(ValueError, match="read-only"):
            one.instances[0, 0] = 1


def test_reports_progress(rng):
    schema, features, labels = table_of(rng, rows=20)
    shares = []
    EvidenceEncoder.fit(schema, features, labels, progress=shares.append)
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    assert len(shares) > 20


@pytest.mark.parametrize(
    ("features", "labels", "error"),
    [
        ([[0]] * 4, [0, 0, 0, 1], TrainingError),
        ([[0]] * 4, [0] * 4, TrainingError),
        ([[0, 1]] * 4, [0, 0, 1, 1], FeatureError),
        ([[11]] * 4, [0, 0, 1, 1], DomainError),
        ([[0]] * 4, [0, 0, 1, 2], LabelError),
        ([[0]] * 4, [0, 0, 1], LabelError),
    ],
)
def test_untrainable_tables_are_refused(features, labels, error):
    with pytest.raises(error):
        EvidenceEncoder.fit(schema_of(["numeric"]), features, labels)


@pytest.mark.parametrize("seed", [-1, 1 << 32, 1.0, True, None])
def test_wrong_seeds_are_refused(seed):
    with pytest.raises(ParameterError, match="seed"):
        EvidenceEncoder.fit(schema_of(["numeric"]), [[0]] * 4, [0, 0, 1, 1], seed=seed)


def test_queries_outside_the_domain_are_refused(fitted):
    encoder, _, _ = fitted
    with pytest.raises(DomainError, match="f0"):
        encoder.encode([[11, 0, 0, 0]])
    with pytest.raises(FeatureError):
        encoder.encode([[1, 0, 0]])


def test_missing_scikit_learn_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'ompd\[sklearn\]'"):
        EvidenceEncoder.fit(schema_of(["numeric"]), [[0], [1], [2], [3]], [0, 0, 1, 1])


def test_rows_beyond_those_that_are_learned_from_are_judged_in_blocks(rng, monkeypatch):
    """All at once a million of them took five gigabytes, and minutes without a word."""
    schema, features, labels = table_of(rng, rows=150)
    monkeypatch.setattr("ompd.encode.evidence.encoder._MOST_LEARNED", 40)
    whole = EvidenceEncoder.fit(schema, features, labels)
    monkeypatch.setattr("ompd.encode.evidence.encoder._JUDGED", 7)
    shares = []
    blocks = EvidenceEncoder.fit(schema, features, labels, progress=shares.append)
    # Sums of kernels may differ in the last bit, which rounding to fixed point hides but for one.
    assert np.abs(blocks.instances - whole.instances).max() <= 1
    assert np.abs(blocks.encode(features) - whole.encode(features)).max() <= 1
    assert shares == sorted(set(shares))
    assert shares[-1] == 1
    learning = sum(share < 240 / 351 for share in shares)
    assert len(shares) - learning > 110 // 7
