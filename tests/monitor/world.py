"""Alice, Dr Bell, a company, an authority and a cloud that know one another."""

from __future__ import annotations

from ompd.crypto import Directory
from ompd.roles import Authority, Cloud, Company, Subscriber
from ompd.stores import Keeper
from tests.monitor import programs
from tests.monitor.shop import SOURCE, Clock


class World:
    def __init__(self, folder, clock=None, **options):
        self.folder = folder
        self.clock = clock or Clock()
        # One directory for all: each is verified once, and not by everybody.
        directory = Directory(clock=self.clock)
        options = {"clock": self.clock, "directory": directory} | options
        self.keeper = Keeper(folder / "keeper.sqlite")
        self.cloud_role = Cloud.create("cloud", keeper=self.keeper, **options)
        self.ta = Authority.create("ta", till=folder / "till.sqlite", **options)
        self.company = Company.create("acme", **options)
        self.alice, self.bell, self.eve = (
            Subscriber.create(name, wallet=folder / f"{name}.sqlite", **options)
            for name in ("alice", "bell", "eve")
        )
        for each in (self.cloud_role, self.ta, self.company, self.alice, self.bell, self.eve):
            directory.register(each.public, each.role)
        self.cloud = ("cloud", self.cloud_role.keeping.answer)
        self.authority = ("ta", self.ta.serve)
        self.ta.till.deposit("alice", b"p" * 16, 20)

    def publish(self, source=None, **options):
        text = programs.text(source or SOURCE)
        return self.company.publish(text, authority=self.authority, cloud=self.cloud, **options)

    def advise(self, encoded, values, person=None):
        person = person or self.alice
        card = person.read_card(encoded)
        content = person.fetch(card, self.cloud[1])
        return person.advise(card, content, values, self.ta.evaluate)

    def close(self):
        self.keeper.close()
        self.ta.close()
        for person in (self.alice, self.bell, self.eve):
            person.close()
