"""An authority's counter and a person's purse on files, and a program to pay for."""

from __future__ import annotations

from ompd.crypto import SigningKey
from ompd.errors import SpentError
from ompd.monitor import Counter, Program, ProgramSecret, Purse, encrypt
from ompd.share import epoch_at
from ompd.stores import Till, Wallet
from ompd.wire.payments import Registration
from tests.monitor import programs

NOW = 1_800_000_000.0
EPOCH = epoch_at(NOW)
SIGNING = SigningKey(12345)
PROGRAM = bytes(range(16))
SOURCE = {
    "name": "shop",
    "attributes": programs.attributes(2),
    "root": "r",
    "nodes": {
        "r": {"attribute": "a0", "at_most": 100, "then": "x", "else": "b"},
        "x": {"advice": "low"},
        "b": {"attribute": "a1", "at_most": 7, "then": "y", "else": "z"},
        "y": {"advice": "middle"},
        "z": {"advice": "high"},
    },
}


class Clock:
    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now


class Shop:
    """Both sides, each on its file in a folder; opened anew with each object."""

    def __init__(self, folder, clock=None):
        self.clock = clock or Clock()
        self.till = Till(folder / "till.sqlite", SIGNING.sign)
        self.counter = Counter("ta", SIGNING, self.till, self.clock)
        self.wallet = Wallet(folder / "wallet.sqlite")
        self.purse = self.purse_of(self.wallet)

    def purse_of(self, wallet):
        return Purse(wallet, "alice", "ta", self.counter.tokens, SIGNING.public_key, self.clock)

    def close(self):
        self.till.close()
        self.wallet.close()

    def publish(self):
        key = self.counter.answer("acme", Registration(PROGRAM, EPOCH)).matter
        secret = ProgramSecret(key.seed, PROGRAM, EPOCH)
        program = Program.from_json(programs.text(SOURCE))
        parties = {"company": "acme", "authority": "ta", "cloud": "cloud"}
        return encrypt(program, secret, tokens=key.tokens, **parties)

    def buy(self, count, account="alice"):
        self.purse.fill(self.counter.answer(account, self.purse.order(count)).matter)

    def send(self, name, purse=None):
        purse = purse or self.purse
        purse.used(name, self.counter.evaluate(purse.request(name, b"k" * 33)))

    def resume(self):
        """Send again what was not answered."""
        orders, returns, requests = self.purse.unanswered()
        for order in orders:
            self.purse.fill(self.counter.answer("alice", order).matter)
        for each in returns:
            self.purse.given_back(self.counter.answer("alice", each).matter)
        for name in requests:
            self.send(name)


def tried(action, *arguments):
    """Whether tokens were not spent before."""
    try:
        action(*arguments)
    except SpentError:
        return False
    return True
