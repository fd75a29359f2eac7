"""Table 4: operations per stage, counted while they happen, beside formulas.

python -m bench.operations [--rows 200] [--features 9] [--k 9] [--index-rows 10000] [--json]

Every stage of OMPD is written once more in plain arithmetic on numbers that count what is done with
them (bench/transcript.py), fed with the key, the noise and the scalars of a run of the library, and
its results must equal the library's: what is counted is what runs. EPDK and PPDP count themselves.

"K smallest" is the textbook's repeated minimum in both nearest-neighbour schemes. What the index
saves is counted in the library's own kernels, interpreted, over a table indexed as usual.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import gmpy2
import numpy as np
import pytest
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import epdk, ppdp
from bench.data import population
from bench.transcript import Operations, Tally, example, most_frequent, plain, smallest, total
from ompd._kernels import measure as measure_kernels
from ompd._kernels import nearest, scan
from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.encode import ReliefEncoder
from ompd.params import PAPER
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, compute, vote
from ompd.search.conversion import Modulus, convert
from ompd.search.index import Index

_CLASSES = 2
#: Rounds of PPDP's training that table 4 counts.
_ROUNDS = 20


def _integers(limbs: np.ndarray) -> list[Any]:
    """Little-endian limbs of shape (..., L) as integers, flattened."""
    width = 8 * limbs.shape[-1]
    data = np.ascontiguousarray(limbs).tobytes()
    parts = range(0, len(data), width)
    return [gmpy2.mpz(int.from_bytes(data[i : i + width], "little")) for i in parts]


def _vectors(limbs: np.ndarray) -> list[list[Any]]:
    """Limbs of shape (m, coordinates, L) as m lists of integers."""
    coordinates = limbs.shape[1]
    flat = _integers(limbs)
    return [flat[i : i + coordinates] for i in range(0, len(flat), coordinates)]


def _same(name: str, mine: Any, library: Any) -> None:
    if mine != library:
        raise RuntimeError(f"{name}: the counted reference differs from the library")


class _Reference:
    """Every stage of OMPD on counting numbers, beside one run of the library."""

    def __init__(self, rows: int, features: int, k: int, *, weighted: bool) -> None:
        table, labels, queries = example(rows, features, 1)
        names = tuple(Feature(f"f{j}", "ordinal", 1, 10) for j in range(features))
        weights = range(1, features + 1) if weighted else [1] * features
        self.tally = Tally()
        self.k, self.weighted = k, weighted
        self.features, self.labels, self.query = table, labels.astype(np.int64), queries
        self.encoder = ReliefEncoder(
            Schema(names, ("benign", "malignant")),
            tuple(weight << PAPER.weight_bits - 8 for weight in weights),
            PAPER.weight_bits,
            PAPER.feature_bits,
        )
        self.key = PaperKey.generate(PAPER, features + PADDING, self.encoder.largest)

    def encode(self, record: list[float]) -> list[Any]:
        """Fixed point, weights, prefix sums; equal weights cost nothing but leave a factor out."""
        sums: list[Any] = []
        for j, value in enumerate(self.tally.numbers(record)):
            feature, weight = self.encoder.schema.features[j], self.encoder.weights[j]
            scaled = (value - feature.low) / (feature.high - feature.low) * 2.0**16
            # Rounding is not arithmetic on the numbers counted here.
            term = self.tally.number(round(plain(scaled)))
            term = term * weight if self.weighted else term
            sums.append(sums[-1] + term if sums else term)
        return sums

    def encoded(self, name: str, records: np.ndarray) -> np.ndarray:
        """Encode under the stage `name`; the library's integers if they agree."""
        with self.tally.stage(name):
            sums = [self.encode(record) for record in records.tolist()]
        factor = 1 if self.weighted else self.encoder.weights[0]
        theirs = self.encoder.encode(records)
        _same(name, [[int(plain(v)) * factor for v in row] for row in sums], theirs.tolist())
        return theirs

    def lift(self, prefix_sum: int, noise: Any, scalar: Any) -> Any:
        """Blind one coordinate: scalar * (alpha * P + c)."""
        return (self.tally.number(prefix_sum) * self.key.multiplier + noise) * scalar

    def instances(self) -> np.ndarray:
        """Table blinding; returns the library's limbs."""
        sums = self.encoded("table encoding", self.features)
        limbs = blind_table(self.key, sums)
        scalar, alpha = gmpy2.mpz(self.key.scalar), self.key.multiplier
        for row, blinded in zip(sums.tolist(), _vectors(limbs), strict=True):
            padded = [0] * PADDING + row
            # The library's noise, read off its result with the key.
            noise = [c // scalar - alpha * p for c, p in zip(blinded, padded, strict=True)]
            if not all(0 <= c < 1 << PAPER.noise_bits for c in noise):
                raise RuntimeError("table blinding: noise out of its range")
            with self.tally.stage("table blinding"):
                mine = [self.lift(p, c, scalar) for p, c in zip(padded, noise, strict=True)]
            _same("table blinding", list(map(plain, mine)), blinded)
        return limbs

    def queries(self) -> tuple[np.ndarray, np.ndarray]:
        """Query blinding; returns the library's points and tokens."""
        sums = self.encoded("query encoding", self.query)
        sent = blind_queries(self.key, sums)
        p, alpha = gmpy2.mpz(self.key.modulus), self.key.multiplier
        points, token = _integers(sent.points), _integers(sent.tokens)[0]
        scalar = gmpy2.invert(token, p) * self.key.scalar % p
        padded = [0] * PADDING + sums[0].tolist()
        unscaled = [point * gmpy2.invert(scalar, p) % p for point in points]
        noise = [c - alpha * v for c, v in zip(unscaled, padded, strict=True)]
        if not all(0 <= c < 1 << PAPER.noise_bits for c in noise):
            raise RuntimeError("query blinding: noise out of its range")
        with self.tally.stage("query blinding"):
            mine = [self.lift(v, c, scalar) % p for v, c in zip(padded, noise, strict=True)]
            own_token = self.tally.number(scalar).inverse(p) * self.key.scalar % p
        _same("query blinding", list(map(plain, mine)), points)
        _same("token", plain(own_token), token)
        return sent.points, sent.tokens

    def run(self) -> Operations:
        """Count all stages of one query."""
        tally, k = self.tally, self.k
        limbs = self.instances()
        points, tokens = self.queries()
        p, token = gmpy2.mpz(self.key.modulus), _integers(tokens)[0]
        with tally.stage("conversion"):
            query = [point * token % p for point in tally.numbers(_integers(points))]
        converted = convert(points, tokens, Modulus.of(self.key.modulus, PAPER.limbs))
        _same("conversion", list(map(plain, query)), _integers(converted))
        with tally.stage("distances"):
            distances = [
                total(abs(q - c) for q, c in zip(query, row, strict=True))
                for row in _vectors(limbs)
            ]
        with tally.stage("top-K"):
            rows = smallest(distances, k)
        table = LimbTable(limbs, self.labels, _CLASSES)
        their_distances, their_rows = compute(table, converted, k)
        _same("top-K", rows, their_rows[0].tolist())
        _same("distances", [plain(distances[i]) for i in rows], _integers(their_distances[0]))
        with tally.stage("vote"):
            code = most_frequent(self.labels[rows].tolist(), _CLASSES, tally)
        _same("vote", code, int(vote(table, their_distances, their_rows)[0]))
        return tally.operations


def count_ompd(
    rows: int, features: int, queries: int = 1, *, k: int = 9, weighted: bool = True
) -> Operations:
    """Count the operations of OMPD's stages while they run on numbers.

    Parameters
    ----------
    rows, features : int
        Size of the table.
    queries : int
        By how many queries the stages of a query are multiplied: their counts depend on nothing
        but the sizes.
    k : int
        Odd, at most rows.
    weighted : bool
        False leaves out the weights, as in OMPD-MW.
    """
    counted = _Reference(rows, features, k, weighted=weighted).run()
    return {
        stage: {
            operation: number * (1 if stage.startswith("table") else queries)
            for operation, number in operations.items()
        }
        for stage, operations in counted.items()
    }


def formulas_ompd(rows: Any, features: Any, k: Any = 9, *, weighted: bool = True) -> Operations:
    """Operations of OMPD's stages in N, n and K; the table's once, the others per query."""
    n, m = features, features + PADDING
    products = 2 if weighted else 1
    return {
        "table encoding": {
            "add": rows * (2 * n - 1),
            "divide": rows * n,
            "multiply": products * rows * n,
        },
        "table blinding": {"multiply": 2 * rows * m, "add": rows * m},
        "query encoding": {"add": 2 * n - 1, "divide": n, "multiply": products * n},
        "query blinding": {"multiply": 2 * m + 1, "add": m, "modulo": m + 1, "invert": 1},
        "conversion": {"multiply": m, "modulo": m},
        "distances": {"add": rows * (2 * m - 1), "absolute": rows * m},
        "top-K": {"compare": k * rows - k * (k + 1) // 2},
        "vote": {"add": k, "compare": _CLASSES - 1},
    }


class Symbol:
    """A name in a formula: arithmetic on it writes the formula down."""

    def __init__(self, text: str, constant: int = 0, *, is_sum: bool = False) -> None:
        self._text, self._constant = text, constant
        self._is_sum = is_sum or constant != 0

    def __str__(self) -> str:
        if self._constant == 0:
            return self._text
        return f"{self._text} {'+' if self._constant > 0 else '-'} {abs(self._constant)}"

    def __add__(self, other: Any) -> Symbol:
        if isinstance(other, int):
            return Symbol(self._text, self._constant + other, is_sum=self._is_sum)
        text = f"{self._text} + {other._text}"
        return Symbol(text, self._constant + other._constant, is_sum=True)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Symbol:
        if isinstance(other, int):
            return self + -other
        return Symbol(f"{self._text} - {_factor(other)}", self._constant, is_sum=True)

    def __mul__(self, other: Any) -> Symbol:
        return Symbol(f"{_factor(self)}*{_factor(other)}")

    def __rmul__(self, other: int) -> Symbol:
        return self if other == 1 else Symbol(f"{other}*{_factor(self)}")

    def __floordiv__(self, other: int) -> Symbol:
        return Symbol(f"{_factor(self)}/{other}")


def _factor(term: Any) -> str:
    return f"({term})" if isinstance(term, Symbol) and term._is_sum else str(term)


def table4(rows: int, features: int, k: int) -> list[dict[str, Any]]:
    """Operations of the four schemes, counted beside formula.

    Returns
    -------
    list of dict
        "scheme", "stage", "operation", "counted", "formula" (a number) and "symbols": the formula
        in N rows, n features, K neighbours, and for PPDP's training R rounds with M mistakes.
    """
    table, labels, queries = example(rows, features, 1)
    neighbours = epdk.run(table, labels, queries, k=k, count=True)
    perceptron, training = ppdp.run_with_training(
        table, labels, queries, seed=0, rounds=_ROUNDS, count=True
    )
    big, small, near = Symbol("N"), Symbol("n"), Symbol("K")
    effort = {"rounds": training.rounds, "mistakes": training.mistakes}
    schemes = {
        "OMPD": (
            count_ompd(rows, features, k=k),
            formulas_ompd(rows, features, k),
            formulas_ompd(big, small, near),
        ),
        "OMPD-MW": (
            count_ompd(rows, features, k=k, weighted=False),
            formulas_ompd(rows, features, k, weighted=False),
            formulas_ompd(big, small, near, weighted=False),
        ),
        "EPDK": (
            neighbours.operations,
            epdk.formulas(rows, features, k, int(labels.max()) + 1),
            epdk.formulas(big, small, near),
        ),
        "PPDP": (
            perceptron.operations,
            ppdp.formulas(rows, features, **effort),
            ppdp.formulas(big, small, rounds=Symbol("R"), mistakes=Symbol("M")),
        ),
    }
    return [
        {
            "scheme": scheme,
            "stage": stage,
            "operation": operation,
            "counted": counted.get(stage, {}).get(operation, 0),
            "formula": number,
            "symbols": str(symbols[stage][operation]),
        }
        for scheme, (counted, formula, symbols) in schemes.items()
        for stage, operations in formula.items()
        for operation, number in operations.items()
    ]


def count_index(rows: int, queries: int = 16, k: int = 9) -> dict[str, float]:
    """Count what the index leaves of a scan, per query, on WBC-like patients.

    Returns
    -------
    dict
        "rows"; "head distances" of rows in 16-bit heads; "boxes" looked at; "exact distances" in
        512-bit limbs, which without an index would be as many as rows.
    """
    people = population("wbc")
    instances, labels = people.draw(rows, seed=1)
    points, _ = people.draw(queries, seed=2)
    key = PaperKey.generate(PAPER, instances.shape[1] + PADDING, people.encoder.largest)
    table = LimbTable(blind_table(key, instances), labels.astype(np.int64), _CLASSES)
    sent = blind_queries(key, points)
    converted = convert(sent.points, sent.tokens, Modulus.of(key.modulus, PAPER.limbs))
    distances, _ = compute(table, converted, k)
    arrays = {
        field.name: np.asarray(getattr(table.index, field.name))
        for field in dataclasses.fields(Index)
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.npz"
        np.savez(
            path, limbs=table.limbs, labels=table.labels, queries=converted, k=k,
            **{f"index_{name}": value for name, value in arrays.items()},
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", "from bench.operations import _interpreted; _interpreted()"],
            input=str(path),
            env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore"},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    counts = json.loads(done.stdout)
    if counts.pop("check") != int(distances[..., 0].sum()):
        raise RuntimeError("the interpreted search differs from the compiled one")
    return {"rows": float(rows)} | {name: count / queries for name, count in counts.items()}


def _interpreted() -> None:
    """In a process without compilation: search the table named on stdin and count."""
    counts = {"boxes": 0, "head distances": 0, "exact distances": 0}

    def watch(module: Any, name: str, kind: str, weight: int) -> None:
        original = getattr(module, name)

        def counting(*arguments: Any) -> Any:
            counts[kind] += weight
            return original(*arguments)

        setattr(module, name, counting)

    for suffix in ("", "_shifted"):
        watch(scan, f"row_sums{suffix}", "head distances", scan.LANES)
        watch(scan, f"box_sums{suffix}", "boxes", scan.LANES)
    for module in (nearest, scan, measure_kernels):
        watch(module, "measure", "exact distances", 1)
    with np.load(input()) as stored:
        fields = {field.name: stored[f"index_{field.name}"] for field in dataclasses.fields(Index)}
        index = Index(**{name: v[()] if v.ndim == 0 else v for name, v in fields.items()})
        table = LimbTable(stored["limbs"], stored["labels"], _CLASSES, index)
        distances, _ = compute(table, stored["queries"], int(stored["k"]), threads=1)
    print(json.dumps(counts | {"check": int(distances[..., 0].sum())}))


@pytest.mark.benchmark(group="counting")
def test_table4(benchmark):
    rows = benchmark.pedantic(table4, (20, 3, 5), rounds=1)
    assert all(row["counted"] == row["formula"] for row in rows)


def main(
    rows: Annotated[int, typer.Option(help="Instances.")] = 200,
    features: Annotated[int, typer.Option(help="Features per record.")] = 9,
    k: Annotated[int, typer.Option(help="Neighbours.")] = 9,
    index_rows: Annotated[
        int, typer.Option(help="Largest table for the index's savings; 0 leaves them out.")
    ] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count operations."""
    counted = table4(rows, features, k)
    console = Console(stderr=as_json)
    sizes = [10**e for e in range(2, 9) if 10**e <= index_rows]
    savings = [count_index(size) for size in track(sizes, "index", console=console, transient=True)]
    if as_json:
        print(json.dumps({"rows": rows, "features": features, "operations": counted,
                          "index": savings}))  # fmt: skip
        return
    table = Table(title=f"Operations, N = {rows:,}, n = {features}, K = {k}")
    for heading in counted[0]:
        right = heading in {"counted", "formula"}
        table.add_column(heading, justify="right" if right else "left")
    for row in counted:
        table.add_row(*(f"{v:,}" if isinstance(v, int) else v for v in row.values()))
    console.print(table)
    if savings:
        saved = Table(title="What the index leaves of a query, K = 9, WBC-like")
        for heading in savings[0]:
            saved.add_column(heading, justify="right")
        for row in savings:
            saved.add_row(*(f"{value:,.1f}" for value in row.values()))
        console.print(saved)


if __name__ == "__main__":
    typer.run(main)
