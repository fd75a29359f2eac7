"""Sums and products of encrypted integers, beside SEAL in the same process.

python -m bench.aggregate [--rounds 30] [--avx2] [--out bench/results] [--json]

SEAL is what TenSEAL wraps (extra `he`): BFV with N = 8192, its own five primes of 43 and 44 bits
and a plaintext modulus of 24 bits. Ours is BGV with the set `coefficients-8192-24`, as long and as
many primes. A product is one with relinearisation. One thread, the two taking turns; what counts is
processor time, since other work may run beside it. Of batches on two threads it is time by the
clock.

`--avx2` measures the same in a child process whose kernels are compiled for a processor without
AVX-512. `--out` writes what depth costs, as CSV and as a picture.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd._kernels.transform import forward, inverse
from ompd.aggregate import Evaluator, decrypt, encrypt, encrypt_secretly, keygen, mapped
from ompd.threads import at_most

_TERMS = 64
_BATCH = 32
#: A processor with AVX2 and fused multiply-add, as Numba names it.
_AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+popcnt"}


class Seal:
    """SEAL with keys and two ciphertexts."""

    def __init__(self, degree: int = 8192) -> None:
        import tenseal.sealapi as seal

        self.seal = seal
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(degree)
        security = seal.SEC_LEVEL_TYPE.TC128
        parameters.set_coeff_modulus(seal.CoeffModulus.BFVDefault(degree, security))
        parameters.set_plain_modulus(seal.PlainModulus.Batching(degree, 24))
        context = seal.SEALContext(parameters, True, security)
        keys = seal.KeyGenerator(context)
        public, self.relinearisation = seal.PublicKey(), seal.RelinKeys()
        keys.create_public_key(public)
        keys.create_relin_keys(self.relinearisation)
        self.encryptor = seal.Encryptor(context, public)
        self.decryptor = seal.Decryptor(context, keys.secret_key())
        self.evaluator = seal.Evaluator(context)
        self.plain = seal.Plaintext()
        seal.BatchEncoder(context).encode(list(range(degree)), self.plain)
        self.a, self.b = self.encrypt(), self.encrypt()
        self.transformed = seal.Ciphertext()
        self.evaluator.transform_to_ntt(self.a, self.transformed)

    def encrypt(self) -> Any:
        """Encrypt under the public key."""
        found = self.seal.Ciphertext()
        self.encryptor.encrypt(self.plain, found)
        return found

    def decrypt(self) -> Any:
        """Decrypt a fresh ciphertext."""
        found = self.seal.Plaintext()
        self.decryptor.decrypt(self.a, found)
        return found

    def add(self) -> Any:
        """Add two."""
        found = self.seal.Ciphertext()
        self.evaluator.add(self.a, self.b, found)
        return found

    def multiply(self) -> Any:
        """Multiply two, and relinearise."""
        return self.chain(1)

    def dot(self) -> Any:
        """Add products, and relinearise once."""
        total = None
        for _ in range(_TERMS):
            term = self.seal.Ciphertext()
            self.evaluator.multiply(self.a, self.b, term)
            if total is None:
                total = term
            else:
                self.evaluator.add_inplace(total, term)
        self.evaluator.relinearize_inplace(total, self.relinearisation)
        return total

    def forward(self) -> None:
        """Transform a ciphertext."""
        self.evaluator.transform_to_ntt(self.a, self.seal.Ciphertext())

    def inverse(self) -> None:
        """Transform it back."""
        self.evaluator.transform_from_ntt(self.transformed, self.seal.Ciphertext())

    def chain(self, depth: int) -> Any:
        """So many products one upon another."""
        found = self.a
        for _ in range(depth):
            product = self.seal.Ciphertext()
            self.evaluator.multiply(found, self.b, product)
            self.evaluator.relinearize_inplace(product, self.relinearisation)
            found = product
        return found


class Ours:
    """The same with `ompd.aggregate`."""

    def __init__(self, depth: int = 1) -> None:
        self.secret, self.public = keygen(depth, 2**23 - 1)
        self.evaluator = Evaluator(self.public)
        self.values = np.arange(self.public.parameters.degree) % 128
        self.a, self.b = self.encrypt(), self.encrypt()
        self.finished = self.evaluator.finish(self.a)
        self.out = np.empty_like(self.a.rows)
        self.scratch = np.empty(self.out.shape[2])

    def encrypt(self) -> Any:
        """Encrypt under the public key."""
        return encrypt(self.public, self.values, bound=127)

    def encrypt_secretly(self) -> Any:
        """Encrypt under the secret key."""
        return encrypt_secretly(self.secret, self.values, bound=127)

    def decrypt(self) -> Any:
        """Decrypt a fresh ciphertext."""
        return decrypt(self.secret, self.a)

    def read(self) -> Any:
        """Decrypt a result."""
        return decrypt(self.secret, self.finished)

    def add(self) -> Any:
        """Add two."""
        return self.evaluator.add(self.a, self.b)

    def multiply(self) -> Any:
        """Multiply two, and relinearise."""
        return self.evaluator.multiply(self.a, self.b)

    def dot(self) -> Any:
        """Add products, and relinearise once."""
        return self.evaluator.dot([self.a] * _TERMS, [self.b] * _TERMS)

    def finish(self) -> Any:
        """Flood a result."""
        return self.evaluator.finish(self.a)

    def forward(self) -> None:
        """Transform a ciphertext."""
        ring = self.public.context.tables.ring
        for source, target in zip(self.a.rows, self.out, strict=True):
            for row, x in enumerate(source):
                forward(x, target[row], self.scratch, ring, row)

    def inverse(self) -> None:
        """Transform it back."""
        ring = self.public.context.tables.ring
        for source, target in zip(self.a.rows, self.out, strict=True):
            for row, x in enumerate(source):
                inverse(x, target[row], self.scratch, ring, row, ring.n_inverse[row])

    def chain(self, depth: int) -> Any:
        """So many products one upon another."""
        found = self.a
        for _ in range(depth):
            found = self.evaluator.multiply(found, self.b)
        return found


#: Operations that both have, and by how much their times are divided: residue rows transformed.
BOTH = {
    "forward": 8, "inverse": 8, "add": 1, "encrypt": 1, "decrypt": 1, "multiply": 1, "dot": 1,
}  # fmt: skip
#: Those that SEAL's Python wrapper has not.
ALONE = ("encrypt_secretly", "finish", "read")
TITLES = {
    "forward": "transform of one polynomial",
    "inverse": "and back",
    "add": "sum",
    "encrypt": "encryption",
    "decrypt": "decryption",
    "multiply": "product",
    "dot": f"sum of {_TERMS} products",
    "encrypt_secretly": "encryption by the key's owner",
    "finish": "flooding a result",
    "read": "decryption of that",
}


def operations(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of every operation, ours and SEAL's, and their ratio."""
    ours, peer = Ours(), Seal()
    found: dict[str, dict[str, float]] = {}
    for name, divisor in BOTH.items():
        few = max(3, rounds // 10) if name == "dot" else rounds
        seconds = medians(
            {"ours": getattr(ours, name), "peer": getattr(peer, name)},
            few,
            clock=time.process_time,
        )
        micro = {each: taken / divisor * 1e6 for each, taken in seconds.items()}
        found[name] = {
            "ours_us": micro["ours"],
            "peer_us": micro["peer"],
            "ratio": micro["peer"] / micro["ours"],
        }
    alone = medians({name: getattr(ours, name) for name in ALONE}, rounds, clock=time.process_time)
    for name, seconds in alone.items():
        found[name] = {"ours_us": seconds * 1e6}
    return found


def threads(rounds: int) -> dict[str, float]:
    """How many times faster two threads work off a batch than one."""
    ours = Ours()
    batch = [ours.a] * _BATCH

    def run(count: int, task: Any) -> Any:
        with at_most(count):
            return mapped(task, batch)

    tasks = {
        "encrypt": lambda _: ours.encrypt(),
        "multiply": lambda a: ours.evaluator.multiply(a, ours.b),
        "finish": ours.evaluator.finish,
    }
    found = {}
    for name, task in tasks.items():
        seconds = medians(
            {"one": lambda task=task: run(1, task), "two": lambda task=task: run(2, task)}, rounds
        )
        found[name] = seconds["one"] / seconds["two"]
    return found


def depths(rounds: int) -> list[dict[str, float]]:
    """Milliseconds of as many products one upon another, and bytes of a ciphertext."""
    found = []
    peers: dict[int, Seal] = {}
    for depth in range(1, 6):
        ours = Ours(depth)
        degree = ours.public.parameters.degree
        last = ours.chain(depth)
        if degree not in peers:
            peers[degree] = Seal(degree)
        seconds = medians(
            {
                "ours": lambda ours=ours, depth=depth: ours.chain(depth),
                "peer": lambda peer=peers[degree], depth=depth: peer.chain(depth),
                "finish": lambda ours=ours, last=last: ours.evaluator.finish(last),
            },
            rounds,
            clock=time.process_time,
        )
        found.append(
            {
                "depth": depth,
                "degree": degree,
                "ours_ms": seconds["ours"] * 1e3,
                "peer_ms": seconds["peer"] * 1e3,
                "finish_ms": seconds["finish"] * 1e3,
                "bytes": len(ours.a.to_bytes()),
                "result_bytes": len(ours.finished.to_bytes()),
            }
        )
    return found


def narrow(rounds: int) -> dict[str, dict[str, float]]:
    """The same operations with kernels for AVX2, in a child process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.aggregate", "--json", "--brief", "--rounds", str(rounds)],
        env=os.environ | _AVX2,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["operations"]


def save(rows: list[dict[str, float]], out: Path) -> None:
    """Write what depth costs as CSV and as a picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)
    with (out / "aggregate.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    figure, axes = plt.subplots(figsize=(7.2, 4.6), dpi=160)
    x = [row["depth"] for row in rows]
    # Okabe and Ito's colours; the markers differ too.
    for name, title, colour, marker in (
        ("peer_ms", "SEAL", "#D55E00", "s"),
        ("ours_ms", "ompd", "#0072B2", "o"),
        ("finish_ms", "flooding the result", "#009E73", "^"),
    ):
        axes.plot(x, [row[name] for row in rows], marker, color=colour, linestyle="-", label=title)
    axes.set_yscale("log")
    axes.set_xticks(x)
    axes.set_xlabel("products one upon another (N = 8192 for one, 16384 from two on)")
    axes.set_ylabel("milliseconds, one thread")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out / "aggregate.png")
    plt.close(figure)


@pytest.mark.benchmark(group="aggregate")
@pytest.mark.parametrize("name", ["encrypt", "multiply", "finish", "decrypt"])
def test_operations(benchmark, name):
    benchmark(getattr(Ours(), name))


def main(
    rounds: Annotated[int, typer.Option(help="Repeats, of which the median counts.")] = 30,
    avx2: Annotated[bool, typer.Option("--avx2", help="Also without AVX-512.")] = False,
    brief: Annotated[bool, typer.Option("--brief", help="Operations alone.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for CSV and picture.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure aggregates beside SEAL."""
    found: dict[str, Any] = {"operations": operations(rounds)}
    if avx2:
        found["avx2"] = narrow(rounds)
    if not brief:
        found["threads"] = threads(max(3, rounds // 3))
    if out is not None:
        found["depths"] = depths(max(3, rounds // 6))
        save(found["depths"], out)
    if as_json:
        print(json.dumps(found))
        return
    console = Console()
    table = Table(title="Aggregates, N = 8192, microseconds on one thread")
    for heading in ("", "ompd", "SEAL", "ratio", *(("AVX2", "ratio") if avx2 else ())):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in found["operations"].items():
        cells = [row] + ([found["avx2"][name]] if avx2 else [])
        texts = [f"{row['ours_us']:,.1f}", f"{row['peer_us']:,.1f}" if "peer_us" in row else ""]
        texts += [f"{row['ratio']:.1f}" if "ratio" in row else ""]
        for each in cells[1:]:
            texts += [f"{each['ours_us']:,.1f}", f"{each['ratio']:.1f}" if "ratio" in each else ""]
        table.add_row(TITLES[name], *texts)
    console.print(table)
    for name, times in found.get("threads", {}).items():
        console.print(f"two threads, {TITLES[name]}: {times:.2f} times as fast")


if __name__ == "__main__":
    typer.run(main)
