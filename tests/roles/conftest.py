"""A small world of parties on small invented data."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest

import ompd


class Clock:
    """A clock that stands still until told otherwise."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


def instances(seed=0, rows=60, classes=("no", "yes"), features=3):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % len(classes)
    values = np.clip(np.rint(rng.normal(labels[:, None] * 3 + 3, 1.5, (rows, features))), 0, 12)
    schema = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "ordinal", 0, 12) for j in range(features)), tuple(classes)
    )
    return SimpleNamespace(schema=schema, features=values, labels=labels)


def post_of(party):
    """All that somebody with a party's keys can sign, and read of what the party is sent."""
    return party._post


def keys_of(party):
    """What a party keeps of itself from process to process."""
    return {"identity": post_of(party).identity, "prekeys": post_of(party).prekeys}


def shelf_of(hospital):
    """What a hospital keeps of its tables besides those that are asked."""
    return hospital._shelf


class World:
    """A hospital, a cloud and a user that know one another."""

    def __init__(self, signatures=None, suite="x25519", profile="paper", **hospital):
        self.clock = Clock()
        options = {"signatures": signatures, "suite": suite, "clock": self.clock}
        # One user may take all, since most tests have no other.
        hospital = {"share": 1.0} | hospital
        self.hospital = ompd.Hospital.create("st-mary", profile=profile, **options, **hospital)
        self.cloud = ompd.Cloud.create("cloud", **options)
        self.user = ompd.User.create("alice", **options)
        ompd.introduce(self.hospital, self.cloud, self.user)
        self.options = options

    def publish(self, disease="flu", data=None, k=3, **options):
        data = data or instances()
        upload = self.hospital.publish(disease, data, cloud="cloud", k=k, **options)
        sent = []

        def store(frame):
            sent.append(frame)
            return self.cloud.store(frame)

        self.hospital.deliver(upload, store)
        return sent[0]

    def frames(self, features=(3, 4, 5), disease="flu"):
        query = self.user.ask("st-mary", disease, features)
        job = self.hospital.forward(query)
        verdict = self.cloud.answer(job)
        report = self.hospital.report(verdict)
        return query, job, verdict, report


@pytest.fixture(autouse=True)
def _lighter_collections():
    """As `_light_collections`, for what the tests before this one imported and left."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def world():
    """Fresh parties without a table."""
    return World()
