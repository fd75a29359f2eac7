"""What the hardened profile still gives away, and what its noise does."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.audit import distances, hardened, scoring
from ompd.audit.scenes import HardenedScene, Records


@pytest.fixture(scope="module")
def scene(records):
    return HardenedScene.of(records)


def share(records, guess, truth, usual):
    return scoring.cells(records.table.schema, records.kept, guess, truth, usual)


def test_fine_integers_hide_nothing(records):
    view = HardenedScene.of(records, coarse=False).view
    table, queries = hardened.adaptive(view, records.public)
    np.testing.assert_array_equal(table, records.table.features)
    np.testing.assert_array_equal(queries, records.queries.features)


def test_who_knows_weights_reads_fine_integers(records):
    fine = HardenedScene.of(records, coarse=False)
    table, queries = hardened.informed(fine.view, fine.insider, records.classes)
    np.testing.assert_array_equal(table, records.table.features)
    np.testing.assert_array_equal(queries, records.queries.features)


def test_coarse_integers_hide_part(scene):
    records = scene.records
    table = records.table.features
    guess, _ = hardened.adaptive(scene.view, records.public)
    blind, usual = share(records, guess, table, records.public.modes)
    assert blind > usual + 0.02
    guess, _ = hardened.informed(scene.view, scene.insider, records.classes)
    within = records.population.modes_within(records.table.labels)
    knowing, usual = share(records, guess, table, within)
    assert knowing > max(blind, usual + 0.04)


def test_known_rows_give_others(mm):
    scene = HardenedScene.of(mm)
    records = scene.records
    rows = np.arange(0, len(records.table), 7)
    guess = hardened.known_rows(scene.view, rows, records.table.features[rows])
    found, usual = share(records, guess, records.table.features, records.public.modes)
    assert found > usual + 0.1


def test_public_records_serve_as_well_as_weights(wbc):
    scene = HardenedScene.of(wbc)
    usual = wbc.population.modes_within(wbc.table.labels)
    knowing, without = (
        share(wbc, guess, wbc.table.features, usual)
        for guess in (
            hardened.informed(scene.view, scene.insider, 2)[0],
            hardened.outside(scene.view, wbc.outsider()),
        )
    )
    assert without[0] > without[1] + 0.03
    assert without[0] > knowing[0] - 0.06


def test_an_outsider_reads_any_order_and_sign_of_the_columns(mm):
    """The attack settles what the key hides; the same records come out under every key."""
    guesses = [hardened.outside(HardenedScene.of(mm).view, mm.outsider()) for _ in range(4)]
    for guess in guesses[1:]:
        np.testing.assert_array_equal(guess, guesses[0])


def test_noise_hides_more_the_more_there_is(mm):
    found = []
    for epsilon in (4, 32, 256):
        noisy = HardenedScene.of(mm, epsilon=epsilon)
        guess, _ = hardened.informed(noisy.view, noisy.insider, 2)
        within = mm.population.modes_within(mm.table.labels)
        found.append(share(mm, guess, mm.table.features, within))
    shares = [attack for attack, _ in found]
    assert shares == sorted(shares)
    assert shares[0] < found[0][1] + 0.06
    assert shares[-1] > found[-1][1] + 0.1


def test_only_fresh_noise_averages_away(wbc):
    def attack(repeats, memoised=True):
        scene = HardenedScene.of(wbc, coarse=False, epsilon=32, repeats=repeats, memoised=memoised)
        guess = hardened.averaged(scene.view, scene.insider, 2, repeats)
        return scoring.matches(wbc.table.schema, guess, wbc.queries.features).mean()

    once, often, control = attack(1), attack(24), attack(24, memoised=False)
    assert abs(often - once) < 0.06
    assert control > once + 0.08


def test_repeats_of_a_query_look_alike_only_where_memoised(wbc):
    def asked(memoised):
        scene = HardenedScene.of(wbc, coarse=False, epsilon=32, repeats=3, memoised=memoised)
        return scene.view.queries.reshape(-1, 3, 9)

    same, fresh = asked(True), asked(False)
    assert (same == same[:, :1]).all()
    assert (fresh != fresh[:, :1]).any(axis=(1, 2)).all()


def test_equal_records_stay_equal_without_noise(scene):
    records = scene.records
    names = hardened.link(scene.view)
    truth = records.names()
    for mine, true in zip(names, truth, strict=True):
        # Equal records always have equal names; coarse vectors may join others.
        for name in np.unique(true):
            assert len(np.unique(mine[true == name])) == 1
    assert scoring.links(names[0], truth[0])[0] > 0.08


def test_distances_are_the_true_ones(scene):
    rows = np.array([0, 3, 50])
    table, _ = scene.view.unwrapped()
    far = distances.distances(scene.view, rows)
    assert far.shape == (len(table), 3)
    np.testing.assert_array_equal(far[rows, np.arange(3)], 0)
    np.testing.assert_array_equal(far[:, 1], [np.abs(row - table[3]).sum() for row in table])


def test_multilateration_finds_records_where_distances_tell_all(rng):
    # One feature: two known records place every other one.
    from ompd import Feature, Schema, datasets

    labels = np.arange(80) % 2
    values = (rng.integers(0, 10, 80) + 5 * labels)[:, np.newaxis]
    schema = Schema([Feature("x", "ordinal", 0, 14)], ["a", "b"])
    records = Records.of(datasets.Dataset.from_arrays(schema, values, schema.names(labels)), 0)
    scene = HardenedScene.of(records, coarse=False)
    rows = np.array([int(records.table.features.argmin()), int(records.table.features.argmax())])
    known = records.table.features[rows]
    far = distances.distances(scene.view, rows)
    guess = distances.multilaterate(far, known, records.table.labels, scene.insider)
    np.testing.assert_array_equal(guess, records.table.features)
    nearest = distances.copy_nearest(far, known)
    assert set(nearest[:, 0]) <= set(known[:, 0])


def test_queries_get_the_votes_of_their_neighbours(scene):
    records = scene.records
    votes = hardened.voted(scene.view, records.classes)
    assert (votes == records.queries.labels).mean() > 0.75
