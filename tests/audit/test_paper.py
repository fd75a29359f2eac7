"""The published blinding must be seen to fail."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.audit import paper, scoring
from ompd.audit.scenes import PaperScene, Records


@pytest.fixture(scope="module")
def scene(records):
    return PaperScene.of(records)


def test_ciphertext_alone_gives_every_cell(scene):
    records = scene.records
    table, queries = paper.ciphertext_only(scene.view, records.public)
    assert list(records.kept) == list(range(table.shape[1]))
    np.testing.assert_array_equal(table, records.table.features)
    np.testing.assert_array_equal(queries, records.queries.features)


def test_a_listener_needs_no_token(scene):
    records = scene.records
    guess = paper.overheard(scene.view, records.public)
    right = scoring.matches(records.table.schema, guess, records.queries.features)
    # A common factor of a query's numbers, which one in many has, is lost in the ratios.
    assert right.mean() > 0.95


def test_secrets_are_exact(scene):
    stripped = paper.strip(scene.view)
    assert stripped.scalar == scene.key.scalar
    assert stripped.noise_bits == scene.key.parameters.noise_bits
    scalars = paper.query_scalars(scene.view, stripped.scalar)
    assert scene.undone_by(scalars) == 1
    # Scalars that are off by one undo nothing, so the check above can fail.
    assert scene.undone_by([scalar + 1 for scalar in scalars]) == 0


def test_weights_up_to_one_factor(scene):
    truth = np.array(scene.records.encoder.weights)
    found = paper.weights(scene.view, scene.records.public)
    np.testing.assert_allclose(found, truth / truth.sum(), rtol=1e-9)


def test_known_rows_say_more_the_more_there_are(scene):
    records = scene.records
    rng = np.random.default_rng(0)
    shares = []
    for known in (1, 2, 5, 40):
        rows = rng.choice(len(records.table), known, replace=False)
        guess = paper.known_rows(scene.view, rows, records.table.features[rows])
        right = scoring.matches(records.table.schema, guess, records.table.features)
        # Whatever one value alone says is certain; lines through two are, too.
        assert right[~np.isnan(guess)].all()
        shares.append(right.mean())
    assert shares == sorted(shares)
    assert shares[0] > 0.2
    assert shares[-1] == 1


def test_records_are_linked_without_error(scene):
    truth = scene.records.names()
    names = paper.link(scene.view)
    assert scoring.links(names[0], truth[0])[0] == 1
    assert scoring.links_between(names, truth)[0] == 1


def test_a_feature_without_weight_is_not_in_the_table(wbc):
    encoder = type(wbc.encoder)(wbc.encoder.schema, (0, 5, 0, 0, 7, 9, 1, 1, 0), 16, 16)
    records = Records(wbc.table, wbc.queries, encoder, wbc.population, wbc.public)
    guess, _ = paper.ciphertext_only(PaperScene.of(records).view, records.public)
    silent = np.isnan(guess).all(axis=0)
    np.testing.assert_array_equal(np.flatnonzero(~silent), records.kept)
    np.testing.assert_array_equal(guess[:, ~silent], records.table.features[:, ~silent])


def test_mixed_features_and_three_classes(mixed):
    records = Records.of(mixed, 0)
    guess, _ = paper.ciphertext_only(PaperScene.of(records).view, records.public)
    share, usual = scoring.cells(
        mixed.schema, records.kept, guess, records.table.features, records.public.modes
    )
    assert share == 1
    assert usual < 0.5
