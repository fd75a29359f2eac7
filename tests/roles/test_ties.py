"""Which of several equally near records vote.

By row, wherever distances are exact where the votes are counted; never any that is farther.
"""

from __future__ import annotations

import numpy as np
import pytest

import ompd
from ompd.datasets import Dataset
from ompd.estimator import ReliefMWClassifier
from tests import naive
from tests.roles.conftest import World

K = 5
SCHEMA = ompd.Schema(tuple(ompd.Feature(f"f{j}", "ordinal", 0, 4) for j in range(4)), ("no", "yes"))


def coarse_records(rows, seed=5):
    """Few different vectors, so that nearly every K-th place is tied, and labels that overlap."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    values = np.clip(np.rint(rng.normal(1.5 + labels[:, None], 1, (rows, 4))), 0, 4)
    return Dataset.from_arrays(SCHEMA, values, SCHEMA.names(labels))


def votes_of(world, queries):
    """Votes of each query, asked in one frame."""
    query = world.user.ask("st-mary", "flu", queries)
    report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
    return [list(diagnosis.votes.values()) for diagnosis in world.user.read(report)]


def ranked(world, data, queries):
    """(distance, row) of all records, nearest first, for each query."""
    encoder = world.hospital.tables["flu"].encoder
    table = encoder.encode(data.features).tolist()
    return [naive.nearest(table, query, len(table)) for query in encoder.encode(queries).tolist()]


def counted(pairs, labels):
    return np.bincount([labels[row] for _, row in pairs], minlength=2).tolist()


@pytest.fixture
def queries(rng):
    """Vectors of which some are in the table and some are not."""
    return rng.integers(0, 5, (12, 4))


@pytest.mark.parametrize(
    ("profile", "rows"), [("sealed", 300), ("hardened", 300), ("hardened", 1500)]
)
def test_ties_go_to_the_first_rows(profile, rows, queries):
    world, data = World(profile=profile), coarse_records(rows)
    world.publish(data=data, k=K)
    order = ranked(world, data, queries)
    tied = [pairs[K - 1][0] == pairs[K][0] for pairs in order]
    assert sum(tied) > len(tied) / 2
    assert votes_of(world, queries) == [counted(pairs[:K], data.labels) for pairs in order]


def test_the_classifier_gives_ties_to_the_first_rows(queries):
    data = coarse_records(300)
    world = World(profile="sealed")
    world.publish(data=data, k=K)
    model = ReliefMWClassifier(K, schema=SCHEMA).fit(data.features, data.labels)
    assert model.votes(queries).tolist() == votes_of(world, queries)


def test_ties_of_a_sealed_table_are_settled_the_same_whatever_was_asked_before(queries):
    data = coarse_records(1500)
    seen = []
    for turn in (1, -1):
        # Each time other keys, other places of the buckets and another order of the queries.
        world = World(profile="sealed")
        world.publish(data=data, k=K)
        assert world.hospital.tables["flu"].retrieval.table.layout.fetches
        alone = []
        for query in queries[::turn]:
            if not world.hospital.remaining("flu"):
                world.hospital.renewed(world.cloud.answer(world.hospital.renew("flu")))
            alone += votes_of(world, [query])
        seen.append(alone[::turn])
    assert seen[0] == seen[1]


@pytest.mark.parametrize("profile", ["sealed", "hardened", "paper"])
def test_nearer_records_always_vote_and_farther_ones_never(profile, queries):
    world, data = World(profile=profile), coarse_records(1500)
    world.publish(data=data, k=K)
    found = []
    for query in queries:
        if world.hospital.remaining("flu") == 0:
            world.hospital.renewed(world.cloud.answer(world.hospital.renew("flu")))
        found += votes_of(world, [query])
    for votes, pairs in zip(found, ranked(world, data, queries), strict=True):
        last = pairs[K - 1][0]
        sure = counted([pair for pair in pairs if pair[0] < last], data.labels)
        open_ = counted([pair for pair in pairs if pair[0] == last], data.labels)
        assert sum(votes) == K
        for code in range(2):
            assert sure[code] <= votes[code] <= sure[code] + open_[code]
