"""Material in stock: whole or not, used once, also when the process ends at any moment."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ompd.errors import MaterialError, SpentMaterialError, StoreError
from ompd.roles.imaging import deliver
from ompd.stores.material import MaterialStock
from tests.images.parties import Parties
from tests.images.runs import texture
from tests.marks import long
from tests.places import ROOT

SESSION = b"s" * 16


@pytest.fixture(params=["memory", "folder"])
def stock(request, tmp_path):
    stock = MaterialStock(None if request.param == "memory" else tmp_path / "stock")
    yield stock
    stock.close()


def test_parts_in_order(stock):
    stock.add(SESSION, b"dealt", 10)
    with pytest.raises(MaterialError, match="not complete"):
        stock.dealt(SESSION)
    stock.append(SESSION, 0, b"01234")
    for offset, content in ((0, b"01234"), (6, b"6"), (5, b"567890"), (5, b"")):
        with pytest.raises(MaterialError, match="next part"):
            stock.append(SESSION, offset, content)
    with pytest.raises(MaterialError, match="not complete"):
        stock.spend(SESSION)
    stock.append(SESSION, 5, b"56789")
    assert stock.dealt(SESSION) == b"dealt"
    data = stock.spend(SESSION)
    assert data.tobytes() == b"0123456789"
    assert not data.flags.writeable or data.base is not None
    for call in (stock.spend, stock.dealt):
        with pytest.raises(SpentMaterialError):
            call(SESSION)
    with pytest.raises(SpentMaterialError):
        stock.add(SESSION, b"dealt", 10)
    with pytest.raises(SpentMaterialError):
        stock.append(SESSION, 0, b"0")
    # What was given out stays.
    assert data.tobytes() == b"0123456789"


def test_a_leader_has_no_material(stock):
    stock.add(SESSION, b"dealt", 0)
    assert stock.spend(SESSION).size == 0
    with pytest.raises(MaterialError):
        stock.append(SESSION, 0, b"x")


def test_unknown_sessions(stock):
    for call in (stock.spend, stock.dealt, lambda name: stock.append(name, 0, b"x")):
        with pytest.raises(MaterialError, match="not dealt"):
            call(SESSION)


def test_reopened(tmp_path):
    folder = tmp_path / "stock"
    stock = MaterialStock(folder)
    with pytest.raises(StoreError):
        MaterialStock(folder)
    names = [bytes([i]) * 16 for i in range(3)]
    for name in names:
        stock.add(name, b"dealt", 4)
        stock.append(name, 0, b"01")
    stock.append(names[0], 2, b"23")
    stock.append(names[1], 2, b"23")
    stock.spend(names[0])
    (folder / f"{'ff' * 16}.material").write_bytes(b"left behind")
    stock.close()
    with pytest.raises(StoreError):
        stock.dealt(names[1])
    stock = MaterialStock(folder)
    assert stock.spend(names[1]).tobytes() == b"0123"
    # The third one had not come as a whole: who knows what the dealer goes on with.
    for name in names:
        with pytest.raises(SpentMaterialError):
            stock.spend(name)
    assert sorted(each.name for each in folder.glob("*.material")) == []
    stock.close()


def test_a_file_that_was_cut(tmp_path):
    stock = MaterialStock(tmp_path / "stock")
    stock.add(SESSION, b"dealt", 4)
    stock.append(SESSION, 0, b"0123")
    (tmp_path / "stock" / f"{SESSION.hex()}.material").write_bytes(b"012")
    with pytest.raises(StoreError, match="another length"):
        stock.spend(SESSION)
    stock.close()


def test_keys_of_spent_sessions_are_in_no_file(tmp_path):
    folder = tmp_path / "stock"
    stock = MaterialStock(folder)
    dealt = secrets.token_bytes(300)
    stock.add(SESSION, dealt, 0)
    stock.add(b"t" * 16, b"other", 0)
    stock.close()

    def held():
        return any(dealt[:16] in path.read_bytes() for path in folder.iterdir())

    assert held()
    stock = MaterialStock(folder)
    stock.spend(SESSION)
    stock.close()
    assert not held()


def test_modes(tmp_path):
    stock = MaterialStock(tmp_path / "stock")
    stock.add(SESSION, b"dealt", 4)
    stock.append(SESSION, 0, b"01")
    assert (tmp_path / "stock").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "stock").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name
    stock.close()


def test_a_cloud_that_was_started_anew(tmp_path):
    """It goes on with what was dealt, and never with what was begun."""
    image = texture(40, 44, 1, smooth=1)
    stocks = {name: MaterialStock(tmp_path / name) for name in ("left", "right")}
    parties = Parties(**stocks)
    parties.deal(image)
    parties.deal(image)
    requests = parties.submit(image)
    parties.right.receive(requests[1][1])
    stocks["right"].close()
    again = MaterialStock(tmp_path / "right")
    begun, waiting = parties.physician.sessions
    with pytest.raises(SpentMaterialError):
        again.spend(begun)
    parties.right._stock = again
    parties.right.drop(begun)
    deliver(parties.submit(image), *parties.all)
    assert len(parties.physician.features(waiting)) > 10
    again.close()
    stocks["left"].close()


CHILD = """
import sys
from ompd.stores.material import MaterialStock
stock = MaterialStock(sys.argv[1])
for line in sys.stdin:
    name = bytes.fromhex(line)
    stock.add(name, b"dealt", 1 << 16)
    for offset in range(0, 1 << 16, 1 << 14):
        stock.append(name, offset, b"x" * (1 << 14))
    stock.spend(name)
    print(name.hex(), flush=True)
"""


@pytest.mark.parametrize("kills", [2, *long(20)])
def test_kills(tmp_path, kills):
    """Whatever was given out before a kill is spent after it, and nothing is usable twice."""
    rng = np.random.default_rng(1)
    given = []
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "stock")],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        names = [secrets.token_bytes(16) for _ in range(200)]
        child.stdin.write("".join(f"{name.hex()}\n" for name in names))
        child.stdin.flush()
        first = child.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        rest, _ = child.communicate()
        given += [bytes.fromhex(line) for line in (first + rest).split()]
        stock = MaterialStock(tmp_path / "stock")
        for name in given:
            with pytest.raises(SpentMaterialError):
                stock.spend(name)
        usable = 0
        for name in names:
            try:
                assert stock.spend(name).tobytes() == b"x" * (1 << 16)
                usable += 1
            except MaterialError:
                continue
            with pytest.raises(SpentMaterialError):
                stock.spend(name)
        # Of what was dealt, one session at most was whole and not given out yet.
        assert usable <= 1
        stock.close()
    assert len(given) >= kills
