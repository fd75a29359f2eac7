"""How long does it take to blind a table? Kernel, packed integers, one integer at a time.

python -m bench.blinding [--rows 1000000] [--features 9] [--json]
"""

from __future__ import annotations

import json
import secrets
from typing import Annotated

import gmpy2
import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd.blind import PADDING, PaperKey, blind_table
from ompd.params import PAPER

PREFIX_BITS = 36


def make(rows, features):
    """A key and random prefix sums."""
    key = PaperKey.generate(PAPER, features + PADDING, (1 << PREFIX_BITS) - 1)
    sums = np.random.default_rng(0).integers(0, 1 << PREFIX_BITS, (rows, features))
    return key, sums


def kernel(key, sums):
    """What the library does."""
    return blind_table(key, sums, threads=1)


def packed(key, sums):
    """Kronecker substitution: all values of a step side by side in one long integer."""
    limbs = PAPER.limbs
    step = 1024
    parts = []
    for start in range(0, len(sums), step):
        part = sums[start : start + step]
        slots = np.zeros((len(part), key.coordinates, limbs), dtype=np.uint64)
        slots[:, PADDING:, 0] = part
        values = gmpy2.mpz.from_bytes(slots.tobytes(), "little")
        slots[:] = 0
        count = slots.shape[0] * slots.shape[1]
        noise = np.frombuffer(secrets.token_bytes(16 * count), dtype=np.uint64)
        slots[:, :, :2] = noise.reshape(len(part), key.coordinates, 2)
        noises = gmpy2.mpz.from_bytes(slots.tobytes(), "little")
        blinded = (values * key.multiplier + noises) * key.scalar
        parts.append(blinded.to_bytes(slots.nbytes, "little"))
    return np.frombuffer(b"".join(parts), dtype=np.uint64).reshape(len(sums), -1, limbs)


def loop(key, sums):
    """The straightforward way: one gmpy2 integer after the other."""
    multiplier, scalar = gmpy2.mpz(key.multiplier), gmpy2.mpz(key.scalar)
    modulus = gmpy2.mpz(key.modulus)
    width = 8 * PAPER.limbs
    parts = []
    for row in sums.tolist():
        for value in [0] * PADDING + row:
            noise = secrets.randbits(PAPER.noise_bits)
            blinded = scalar * (multiplier * value + noise) % modulus
            parts.append(int(blinded).to_bytes(width, "little"))
    return np.frombuffer(b"".join(parts), dtype=np.uint64).reshape(len(sums), -1, PAPER.limbs)


WAYS = {"kernel": kernel, "packed gmpy2": packed, "gmpy2 loop": loop}


def unblinded(key, table):
    """Prefix sums behind a blinded table."""
    flat = table.reshape(-1, PAPER.limbs).tobytes()
    width = 8 * PAPER.limbs
    lifted = key.scalar * key.multiplier
    return [
        int.from_bytes(flat[i : i + width], "little") // lifted for i in range(0, len(flat), width)
    ]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.benchmark(group="blind 10 000 x 9")
def test_blinding(benchmark, way):
    """All three ways give tables with the same prefix sums inside."""
    key, sums = make(10_000, 9)
    table = benchmark(way, key, sums)
    inside = np.array(unblinded(key, table[:200])).reshape(200, -1)
    assert np.array_equal(inside[:, PADDING:], sums[:200])
    assert not inside[:, :PADDING].any()


def main(
    rows: Annotated[int, typer.Option(help="Instances.")] = 1_000_000,
    features: Annotated[int, typer.Option(help="Features per instance.")] = 9,
    rounds: Annotated[int, typer.Option(help="Repetitions; the median counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Blind a table in three ways, single thread, and compare."""
    key, sums = make(rows, features)
    seconds = medians({name: lambda way=way: way(key, sums) for name, way in WAYS.items()}, rounds)
    values = rows * (features + PADDING)
    ours = seconds["kernel"]
    result = {
        "rows": rows,
        "features": features,
        "values": values,
        "seconds": seconds,
        "million_values_per_second": values / ours / 1e6,
        "ratio_loop": seconds["gmpy2 loop"] / ours,
        "ratio_packed": seconds["packed gmpy2"] / ours,
    }
    if as_json:
        print(json.dumps(result))
        return
    table = Table(title=f"Blinding {rows:,} x {features} features, one thread")
    for heading in ("way", "seconds", "ns per value", "times the kernel"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.2f}", f"{taken / values * 1e9:.0f}", f"{taken / ours:.1f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
