"""Patients, a hospital, physicians and a cloud that adds up, in one process."""

from __future__ import annotations

import functools

import numpy as np

from ompd.crypto import Directory, Identity, Prekeys
from ompd.roles import AggregateCloud, HospitalContributor, Patient, Physician, User
from tests.roles.conftest import Clock, post_of

LENGTH, BOUND = 4, 50


class Known(Directory):
    """A directory that does not verify again what it has, since worlds come and go."""

    def register(self, public_identity, role=None):
        if public_identity.id in self and self.get(public_identity.id) == public_identity:
            return
        super().register(public_identity, role)


class Everybody:
    """Keys of all parties, which know one another: made once, since they cost pairings."""

    def __init__(self):
        clock = Clock()
        self.roles = {
            "cloud": "cloud", "dr-lee": "physician", "dr-who": "physician", "eve": "user",
            **{f"h{n}": "hospital" for n in range(5)}, **{f"p{n}": "patient" for n in range(6)},
        }  # fmt: skip
        self.identities = {name: Identity.generate(name) for name in self.roles}
        self.prekeys = {
            name: Prekeys(identity, clock=clock)
            for name, identity in self.identities.items()
            if name != "eve"
        }
        self.directory = Known(clock=clock)
        for name, role in self.roles.items():
            public = self.identities[name].public
            if name in self.prekeys:
                self.prekeys[name].begin()
                public = public.with_prekey(self.prekeys[name].statement)
            self.directory.register(public, role)

    def options(self, name, clock, directory=None):
        """What a party of this name is made of."""
        return {
            "identity": self.identities[name],
            "prekeys": self.prekeys.get(name),
            "directory": self.directory if directory is None else directory,
            "clock": clock,
        }


@functools.cache
def everybody():
    return Everybody()


class World:
    """A cloud, two physicians, six patients and five hospitals that know one another."""

    def __init__(self, **cloud):
        self.clock = Clock()
        self.cloud = self.party(AggregateCloud, "cloud", **cloud)
        self.physician = self.party(Physician, "dr-lee")
        self.other = self.party(Physician, "dr-who")
        self.patients = [self.party(Patient, f"p{n}") for n in range(6)]
        self.hospitals = [self.party(HospitalContributor, f"h{n}") for n in range(5)]
        self.user = self.party(User, "eve")

    def party(self, kind, name, **options):
        return kind(**everybody().options(name, self.clock), **options)

    def begin(self, function="sum", physician=None, **options):
        physician = physician or self.physician
        numbers = {"length": LENGTH, "bound": BOUND, "most": 20} | options
        collection, frame = physician.collect("cloud", "weekly steps", function, **numbers)
        assert physician.confirm(self.cloud.answer(frame)) == collection
        return collection

    def hand_in(self, collection, who, *values):
        who.accept(self.physician.invite(collection, who.id))
        frame = who.contribute(collection, *values)
        assert who.confirm(self.cloud.answer(frame)) == collection
        return frame

    def filled(self, count=5, function="sum", parts=1, seed=0):
        """A collection with random contributions, and these as (contributor, part, value)."""
        collection = self.begin(function)
        rows = np.random.default_rng(seed).integers(-BOUND, BOUND + 1, (count, parts, LENGTH))
        for who, values in zip(self.patients, rows, strict=False):
            self.hand_in(collection, who, *values)
        return collection, rows

    def result(self, collection, physician=None):
        physician = physician or self.physician
        return physician.read(self.cloud.answer(physician.ask(collection)))


def sent_by(party, recipient, body, sequence=0, nonce=b"n" * 16):
    """What whoever has a party's keys can send."""
    return post_of(party).send(recipient, body, nonce=nonce, sequence=sequence)
