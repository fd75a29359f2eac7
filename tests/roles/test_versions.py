"""A hardened table is released once: what its next version has in common with it, and what not."""

from __future__ import annotations

import pickle
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

import ompd
from ompd import datasets
from ompd.audit.scenes import insider_of
from ompd.audit.versions import combined
from ompd.audit.views import HardenedView, Population
from ompd.errors import (
    BudgetExceededError,
    NeighborsError,
    OmpdError,
    ParameterError,
    StoreError,
    StoreWarning,
)
from ompd.roles import shelf
from ompd.roles.frozen import Frozen, record_names
from ompd.stores import BudgetLedger
from ompd.wire import HardenedJob, HardenedUpload
from tests.roles.conftest import World, instances, keys_of, shelf_of
from tests.roles.test_profiles import opened, population


def rows_of(world, upload):
    """The rows of an upload as the cloud sees them."""
    body = opened(world.cloud, upload, HardenedUpload)
    return np.frombuffer(body.values, "<u8").reshape(-1, body.coordinates)


def part(data, rows):
    rows = np.asarray(rows)
    return SimpleNamespace(
        schema=data.schema, features=data.features[rows], labels=data.labels[rows]
    )


def noisy(limit=40, epsilon=16, path=None, **options):
    ledger = BudgetLedger(path, limit=limit, power_safe=False)
    return World(profile="hardened", epsilon=epsilon, ledger=ledger, **options)


def quiet(**options):
    return World(profile="hardened", **options)


@pytest.mark.parametrize("method", ["relief-mw", "evidence"])
@pytest.mark.parametrize("make", [quiet, noisy])
def test_rows_that_stay_come_out_as_the_same_bytes(make, method):
    world = make()
    data = population(rows=80)
    first = rows_of(world, world.publish(data=part(data, range(60)), method=method))
    # One more patient is enough to change weights, step and median where these are chosen anew.
    second = rows_of(world, world.publish(data=part(data, range(61)), method=method))
    assert (second[:60] == first).all()
    # Others went, the order changed, many came.
    kept = [*range(70, 80), *range(59, 9, -1)]
    third = rows_of(world, world.publish(data=part(data, kept), method=method))
    assert (third[10:] == first[kept[10:]]).all()
    # Who was gone for a version is known again.
    fourth = rows_of(world, world.publish(data=part(data, range(60)), method=method))
    assert (fourth == first).all()
    assert world.user.read(world.frames([3, 4, 5])[-1])[0].k == 3


def shares(world, data, versions, **options):
    """Cells recovered from one version of a table that grows by a patient, and from all."""
    views, insiders = [], []
    for version in range(versions):
        some = part(data, range(len(data.labels) - versions + 1 + version))
        body = opened(world.cloud, world.publish(data=some, k=9, **options), HardenedUpload)
        job = HardenedJob(body.table_id, body.version, 1, bytes(8 * body.coordinates))
        views.append(HardenedView.of(body, [job]))
        population = Population.of(some.schema, some.features, some.labels)
        table = world.hospital.tables["flu"]
        unit = table.noise.epsilon_per_unit if table.noise else None
        insiders.append(insider_of(table.encoder, population, unit))
    kept = np.array(table.encoder.base.weights) > 0
    truth = data.features[: len(views[0].table)]
    guesses = [combined(views[:count], insiders[:count]) for count in (1, versions)]
    return [(guess == truth)[:, kept].mean() for guess in guesses]


@pytest.mark.parametrize("make", [quiet, lambda: noisy(epsilon=32, limit=999)])
def test_what_real_uploads_add_up_to(make):
    data = datasets.load("mm")
    # In this order the first version is coarse enough to leave something open.
    data = data.take(np.random.default_rng(1).permutation(len(data)))
    first, grown = shares(make(), data, 6)
    # Not the rows, but what is known of their means may differ by a little.
    assert grown < first + 0.04
    first, anew = shares(make(), data, 6, retrain=True)
    assert anew > max(first, grown) + 0.03


def test_equal_rows_keep_the_noise_that_each_has():
    """Or else who leaves would lend his noise to who stays, or have him charged again."""
    world = noisy(limit=16)
    data = instances(rows=60)
    # Equal features in another class, so that the vectors are equal.
    data.features[1] = data.features[0]
    assert data.labels[0] != data.labels[1]
    first = rows_of(world, world.publish(data=data))
    assert (first[0] != first[1]).any()
    second = rows_of(world, world.publish(data=part(data, range(1, 60))))
    assert (second == first[1:]).all()


def test_training_anew_is_another_release_with_everything_fresh():
    world = quiet()
    data = instances()
    first = rows_of(world, world.publish(data=data))
    again = rows_of(world, world.publish(data=data, retrain=True))
    assert not (first == again).any()
    assert (rows_of(world, world.publish(data=data)) == again).all()


def test_queries_are_released_once_over_versions():
    world = noisy()
    points = []
    for _ in range(2):
        world.publish()
        job = world.hospital.forward(world.user.ask("st-mary", "flu", [3, 4, 5]))
        points.append(opened(world.cloud, job, HardenedJob).points)
    assert points[0] == points[1]
    assert shelf_of(world.hospital).ledger.spent("alice") == 16


def test_the_noise_of_a_query_is_its_users_own():
    world = noisy()
    bob = ompd.User.create("bob", **world.options)
    ompd.introduce(world.hospital, bob)
    world.publish()
    jobs = [
        world.hospital.forward(user.ask("st-mary", "flu", [3, 4, 5])) for user in (world.user, bob)
    ]
    points = [opened(world.cloud, job, HardenedJob).points for job in jobs]
    assert points[0] != points[1]
    assert [shelf_of(world.hospital).ledger.spent(name) for name in ("alice", "bob")] == [16, 16]


def test_records_are_charged_where_something_changes():
    world = noisy(limit=48)
    data = population(rows=80)
    for _ in range(5):
        world.publish(data=part(data, range(60)))
    world.publish(data=part(data, range(60)), retrain=True)
    # Same records, weights and median: the same release, under another key.
    world.publish(data=part(data, range(60)), retrain=True)
    # Other records, another median: one more release of each.
    for rows in (range(20, 80), range(10, 70)):
        world.publish(data=part(data, rows), retrain=True)
    before = shelf_of(world.hospital).frozen["flu"]
    made = world.hospital.signatures_made
    with pytest.raises(BudgetExceededError, match="a record's"):
        world.publish(data=part(data, range(5, 79)), retrain=True)
    # Nothing of the version that was not released stays.
    assert shelf_of(world.hospital).frozen["flu"] is before
    world.publish(data=part(data, range(10, 70)))
    assert world.hospital.signatures_made > made
    # New records have budgets of their own, records and users are not mixed up.
    world.publish(data=data)
    (name, *_) = record_names(data.schema, data.features, data.labels)
    assert shelf_of(world.hospital).ledger.spent(name) == 0


def test_equal_vectors_of_two_encoders_are_two_releases():
    """With the same noise they would show that they are equal, free of charge."""
    world = noisy(epsilon=32, limit=64)
    data = datasets.load("wbc")
    order = np.random.default_rng(0).permutation(len(data))
    rows = len(data) - 18
    tables, made = [], []
    for more in (0, 1):
        version = data.take(order[: rows + more])
        world.publish(data=version, retrain=True)
        made.append(frozen := shelf_of(world.hospital).frozen["flu"])
        names = record_names(version.schema, version.features, version.labels)
        vectors = frozen.vectors(names, version.features)
        tables.append((vectors, frozen.noise.instances(vectors, names)))
    (plain, noisy_rows), (plain_again, noisy_again) = tables
    # Where they make other vectors, or have noise of another scale, all of this would be so anyway.
    assert made[0].encoder != made[1].encoder
    assert made[0].unit == made[1].unit
    equal = (plain == plain_again[:rows]).all(axis=1)
    assert equal.mean() > 0.9
    assert (noisy_rows == noisy_again[:rows]).all(axis=1)[equal].mean() < 0.1
    with pytest.raises(BudgetExceededError, match="a record's"):
        world.publish(data=data.take(order[: rows + 2]), retrain=True)


def test_a_limit_below_one_release_lets_nothing_out():
    world = noisy(limit=10)
    with pytest.raises(BudgetExceededError):
        world.publish()
    assert shelf_of(world.hospital).frozen == {}
    assert shelf_of(world.hospital).waiting == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "evidence"}, "method: expected the method"),
        ({"data": instances(classes=("no", "yes", "maybe"))}, "instances: expected the schema"),
        ({"data": instances(features=4)}, "instances: expected the schema"),
    ],
)
def test_what_cannot_be_kept_needs_to_be_said(change, message):
    world = quiet()
    world.publish()
    with pytest.raises(ParameterError, match=message):
        world.publish(**change)
    world.publish(**change, retrain=True)
    # What was refused took no version.
    assert world.hospital.tables["flu"].ref.version == 2
    assert world.hospital.diseases["flu"] == change.get("data", instances()).schema


def test_k_is_kept_unless_given():
    world = quiet()
    world.publish(k=5)
    world.publish(k=None)
    assert world.hospital.tables["flu"].k == 5
    world.publish(k=7)
    world.publish(k=None)
    assert world.hospital.tables["flu"].k == 7
    with pytest.raises(NeighborsError):
        world.hospital.publish("flu", instances(rows=6), cloud="cloud")


def test_records_outside_the_domain_are_refused_also_in_later_versions():
    world = quiet()
    world.publish()
    for change in ({"features": np.full((60, 3), 13.0)}, {"labels": np.full(60, 2)}):
        bad = SimpleNamespace(**(vars(instances()) | change))
        with pytest.raises(OmpdError):
            world.publish(data=bad)
    # The ends of the domain are within the ring, though no row of the first version was there.
    ends = instances()
    ends.features[:2] = [[0, 0, 0], [12, 12, 12]]
    world.publish(data=ends)


def reopened(world, folder, **options):
    """The same hospital in another process."""
    world.hospital.close()
    keys = keys_of(world.hospital)
    fresh = ompd.Hospital(**keys, profile="hardened", state=folder, clock=world.clock, **options)
    for peer in (world.cloud, world.user):
        fresh.meet(peer.public, peer.role)
    world.hospital = fresh


@pytest.mark.parametrize("method", ["relief-mw", "evidence"])
def test_choices_outlive_the_process(tmp_path, method):
    folder, path = tmp_path / "state", tmp_path / "budget.db"
    data = population(rows=61)
    world = noisy(limit=16, path=path, state=folder)
    first = rows_of(world, world.publish(data=part(data, range(60)), method=method))
    (file,) = folder.glob("*.frozen")
    assert file.stat().st_mode & 0o777 == 0o600
    reopened(world, folder, epsilon=16, ledger=BudgetLedger(path, limit=16))
    assert set(world.hospital.diseases) == {"flu"}
    # The budget has no room for a second release; the cloud's version number goes on.
    second = rows_of(world, world.publish(data=data, method=method))
    assert (second[:60] == first).all()
    assert world.hospital.tables["flu"].ref.version == 2
    # Another epsilon is another release.
    reopened(world, folder, epsilon=8, ledger=BudgetLedger(path, limit=16))
    with pytest.raises(ParameterError, match="epsilon: expected the epsilon"):
        world.publish(data=data, method=method)


def test_without_a_folder_a_restart_is_charged(tmp_path):
    path = tmp_path / "budget.db"
    data = instances(rows=80)
    noisy(limit=16, path=path).publish(data=part(data, range(60)))
    with pytest.raises(BudgetExceededError):
        noisy(limit=16, path=path).publish(data=part(data, range(20, 80)))


def test_choices_that_are_damaged_or_gone_are_never_replaced_in_silence(tmp_path):
    folder = tmp_path / "state"
    world = quiet(state=folder)
    world.publish()
    (file,) = folder.glob("*.frozen")
    data = bytearray(file.read_bytes())
    (entry,) = folder.glob("disease-*")
    named = entry.read_bytes()
    world.hospital.close()

    def refused():
        with pytest.warns(StoreWarning, match="publish it anew"):
            world = quiet(state=folder)
        with pytest.raises(StoreError, match="retrain=True"):
            world.publish()
        return world

    for place in (0, 20, len(data) // 2, len(data) - 1):
        changed = data.copy()
        changed[place] ^= 1
        file.write_bytes(changed)
        refused().hospital.close()
    file.unlink()
    refused().hospital.close()
    entry.write_bytes(named[:-1])
    world = refused()
    world.publish(retrain=True)
    assert not world.hospital.damaged
    world.hospital.close()
    assert not quiet(state=folder).hospital.damaged


def test_what_cannot_be_written_is_not_released(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    world = noisy(limit=16, state=folder)
    real = shelf.Archive.freeze

    def full(*_):
        raise StoreError("state: No space left on device")

    monkeypatch.setattr(shelf.Archive, "freeze", full)
    with pytest.raises(StoreError):
        world.publish()
    assert shelf_of(world.hospital).frozen == {}
    assert shelf_of(world.hospital).waiting == {}
    # The next try makes the same release and pays nothing for it.
    monkeypatch.setattr(shelf.Archive, "freeze", real)
    world.publish()


def test_the_folder_of_sealed_tables_is_not_taken(tmp_path):
    world = World(profile="sealed", state=tmp_path / "state")
    world.publish()
    world.hospital.close()
    with pytest.raises(StoreError, match="sealed"):
        quiet(state=tmp_path / "state")
    World(profile="sealed", state=tmp_path / "state").hospital.close()


def test_frozen_choices_stay_out_of_sight():
    world = noisy()
    world.publish()
    frozen = shelf_of(world.hospital).frozen["flu"]
    assert repr(frozen.unit) not in repr(frozen)
    assert "weights" not in repr(frozen)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(frozen)


def test_frozen_choices_come_back_as_they_were():
    world = noisy(epsilon=0.1)
    world.publish()
    frozen = shelf_of(world.hospital).frozen["flu"]
    found = Frozen.from_bytes(frozen.to_bytes())
    assert found.encoder == frozen.encoder
    assert found.epsilon == frozen.epsilon == 0.1
    assert isinstance(found.unit, Fraction)
    assert (found.unit, found.k, found.noise_key) == (frozen.unit, frozen.k, frozen.noise_key)
    assert found.key.to_bytes() == frozen.key.to_bytes()
    for data in (b"", frozen.to_bytes()[:-1], frozen.to_bytes() + b"x"):
        with pytest.raises(StoreError):
            Frozen.from_bytes(data)


def test_records_are_named_by_what_they_say():
    data = instances(rows=4)
    data.features[:] = [[1, 2, 3], [1, 2, 3], [1, 2, 3], [-0.0, 2, 3]]
    data.labels[:] = [0, 0, 1, 0]
    names = record_names(data.schema, data.features, data.labels)
    assert len(set(names)) == 4
    data.features[3, 0] = 0.0
    assert record_names(data.schema, data.features, data.labels) == names
    turned = record_names(data.schema, data.features[::-1], data.labels[::-1])
    assert set(turned) == set(names)
