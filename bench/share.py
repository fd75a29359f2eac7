"""Sharing and paid programs: what each step takes, re-encryption beside umbral-pre.

python -m bench.share [--peer PYTHON] [--rounds 200] [--json]

The peer is umbral-pre 0.11 (Rust). Its licence is the GPL and it is old, so it belongs into an
environment of its own, whose interpreter `--peer` names: ``python -m venv X && X/bin/pip install
umbral-pre==0.11.0``. It runs there as a process that does one operation when it is told to, and
takes turns with ours. Times are those of the processor, so that other work on the machine counts
for little; read the ratios all the same.

Both seal 32 bytes. Our re-encryption verifies the capsule that it is given. umbral-pre does that
when it decodes one, so its figure is given with and without decoding.
"""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ompd.crypto.oprf import blind_all, finalize_all
from ompd.monitor import BITS, Program, ProgramSecret, encrypt
from ompd.monitor.attributes import prefixes
from ompd.monitor.encrypted import function_input
from ompd.share import (
    Grant,
    Outsourced,
    Received,
    Scope,
    SharingKey,
    TokenKey,
    blind,
    check_token,
    epoch_at,
    reencrypt,
    seal,
    transform,
    unblind,
)

NOW = 1_800_000_000.0
MESSAGE = b"x" * 32

#: Runs in the peer's environment: reads the name of an operation, answers with its seconds.
_PEER = """
import sys, time
import umbral_pre as u
owner, reader = u.SecretKey.random(), u.SecretKey.random()
public, signer = owner.public_key(), u.Signer(u.SecretKey.random())
capsule, sealed = u.encrypt(public, b"x" * 32)
encoded = bytes(capsule)
def grant():
    return u.generate_kfrags(
        delegating_sk=owner, receiving_pk=reader.public_key(), signer=signer, threshold=1,
        shares=1, sign_delegating_key=False, sign_receiving_key=False)
part = grant()[0]
turned = u.reencrypt(capsule, part)
operations = {
    "seal": lambda: u.encrypt(public, b"x" * 32),
    "grant": grant,
    "re-encrypt": lambda: u.reencrypt(u.Capsule.from_bytes(encoded), part),
    "re-encrypt, decoded": lambda: u.reencrypt(capsule, part),
    "open": lambda: u.decrypt_reencrypted(reader, public, capsule, [turned], sealed),
}
for line in sys.stdin:
    run = operations[line.strip()]
    start = time.process_time()
    run()
    print(time.process_time() - start, flush=True)
"""


class Peer:
    """umbral-pre in a process of its environment."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", _PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, operation: str) -> float:
        """Do an operation there; returns what it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(operation + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def sharing() -> dict[str, Callable[[], Any]]:
    """Return the steps of re-encryption and outsourced decryption."""
    owner, reader = SharingKey.generate(), SharingKey.generate()
    scope = Scope("alice", "cardio", epoch_at(NOW))
    record = secrets.token_bytes(16)
    key = owner.scope(scope)
    sealed = seal(key.public, scope, record, MESSAGE)
    grant = Grant.make(key, reader.public)
    turned = reencrypt(grant, record, sealed.capsule, NOW)
    received = Received(reader, scope, key.public, grant.point)
    own = Outsourced(key)
    point = transform(own.factor, scope, record, sealed.capsule)
    assert received.open(record, sealed, turned) == own.open(record, sealed, point) == MESSAGE
    return {
        "seal": lambda: seal(key.public, scope, record, MESSAGE),
        "grant": lambda: Grant.make(key, reader.public),
        "re-encrypt": lambda: reencrypt(grant, record, sealed.capsule, NOW),
        "open": lambda: received.open(record, sealed, turned),
        "outsourced, cloud": lambda: transform(own.factor, scope, record, sealed.capsule),
        "outsourced, owner": lambda: own.open(record, sealed, point),
    }


def paying() -> dict[str, Callable[[], Any]]:
    """Return the steps of tokens, and of one attribute of a program."""
    key, purpose = TokenKey.generate(), b"purpose"
    blinded = blind(purpose)
    signed = key.issue(blinded.point)
    token = unblind(key.public, purpose, blinded, signed)
    program = secrets.token_bytes(16)
    secret = ProgramSecret(secrets.token_bytes(32), program, 7)
    inputs = [function_input(program, 7, 0, each) for each in prefixes(12_345)]
    blinds, elements = blind_all(inputs)
    answer = secret.evaluator.evaluate(elements)
    return {
        "token: blind": lambda: blind(purpose),
        "token: issue": lambda: key.issue(blinded.point),
        "token: unblind and check": lambda: unblind(key.public, purpose, blinded, signed),
        "token: check": lambda: check_token(key.public, purpose, token),
        "attribute: company": lambda: [
            secret.evaluator.output(each) for each in (*inputs, b"threshold itself")
        ],
        "attribute: authority": lambda: secret.evaluator.evaluate(elements),
        "attribute: client, blind": lambda: blind_all(inputs),
        "attribute: client, verify and open": lambda: finalize_all(
            inputs, blinds, elements, answer, secret.evaluator.public
        ),
    }


def whole_program() -> int:
    """Bytes of an encrypted program of 63 nodes on six attributes."""
    nodes: dict[str, Any] = {}

    def add(low: int, high: int, depth: int) -> str:
        name = f"n{len(nodes)}"
        nodes[name] = None
        if depth:
            middle = (low + high) // 2
            then, otherwise = add(low, middle, depth - 1), add(middle + 1, high, depth - 1)
            nodes[name] = {"attribute": "a", "at_most": middle, "then": then, "else": otherwise}
        else:
            nodes[name] = {"advice": name}
        return name

    root = add(0, 65_535, 5)
    attributes = [{"name": "a", "low": 0, "high": 65_535}]
    text = json.dumps({"name": "x", "attributes": attributes, "root": root, "nodes": nodes})
    secret = ProgramSecret(secrets.token_bytes(32), secrets.token_bytes(16), 7)
    parties = {"company": "a", "authority": "b", "cloud": "c", "tokens": bytes(48)}
    assert len(nodes) == 63
    return len(encrypt(Program.from_json(text), secret, **parties)[0])


def measure(rounds: int, python: str | None) -> dict[str, Any]:
    """Return medians in microseconds, ours and the peer's, which take turns."""
    steps = sharing() | paying()
    peer = None if python is None else Peer(python)
    theirs = ("seal", "grant", "re-encrypt", "re-encrypt, decoded", "open") if peer else ()
    times: dict[str, list[float]] = {name: [] for name in steps}
    other: dict[str, list[float]] = {name: [] for name in theirs}
    for number in range(rounds + 1):
        for name, run in steps.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
            for each in theirs:
                if each.partition(",")[0] == name and peer is not None:
                    other[each].append(peer.seconds(each))
        if not number:
            # The first is unmeasured.
            for each in (*times.values(), *other.values()):
                each.clear()
    if peer is not None:
        peer.close()
    return {
        "bits": BITS,
        "rounds": rounds,
        "microseconds": {name: _median(found) for name, found in times.items()},
        "umbral-pre": {name: _median(found) for name, found in other.items()},
        "program of 63 nodes, bytes": whole_program(),
    }


def _median(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e6, 1)


def main(
    peer: Annotated[str | None, typer.Option(help="Interpreter that has umbral-pre.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 200,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure sharing and paid programs."""
    found = measure(rounds, peer)
    if json_:
        print(json.dumps(found, indent=1))
        return
    table = Table("step", "us", "umbral-pre", "ratio")
    theirs = found["umbral-pre"]
    for name, ours in found["microseconds"].items():
        peers = theirs.get(name)
        ratio = "" if peers is None else f"{ours / peers:.2f}"
        table.add_row(name, f"{ours:.0f}", "" if peers is None else f"{peers:.0f}", ratio)
    if theirs:
        decoded = theirs["re-encrypt, decoded"]
        ratio = found["microseconds"]["re-encrypt"] / decoded
        table.add_row("  without decoding there", "", f"{decoded:.0f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    console.print(f"program of 63 nodes: {found['program of 63 nodes, bytes']:,} bytes")


if __name__ == "__main__":
    typer.run(main)
