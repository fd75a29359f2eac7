"""Time and bytes per query against the number of instances (figures 2 and 3).

Time is the computation of all parties for one query that comes alone, on one thread, without
signatures and envelopes, which the competitors do not have: `stages` measures those apart.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from operator import sub

import gmpy2
import numpy as np

from bench.data import population
from bench.paper import blinded
from bench.paper.data import Trial
from bench.paper.seeded import repeatable
from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.encode import ReliefEncoder
from ompd.params import PAPER
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, classify
from ompd.search.choice import CANDIDATES
from ompd.search.conversion import Modulus

K = 9
SCAN, SCAN_MW, INDEX = "OMPD, linear scan", "OMPD-MW, linear scan", "OMPD, our index"
BFV, PAILLIER = "BFV scan (TenSEAL)", "Paillier SkNN"


@dataclass(frozen=True)
class Cost:
    """One point of a figure: the middle and the quartiles over repeats."""

    scheme: str
    rows: int
    middle: float
    low: float
    high: float
    extrapolated: bool = False


def patients(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """WBC patients drawn with replacement, whole values from 1 to 10 moved by up to one step."""
    people = population("wbc")
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(people.rows), rows)
    moved = people.rows[picked] + rng.integers(-1, 2, (rows, people.rows.shape[1]))
    return np.clip(moved, 1, 10), people.labels[picked]


def schema() -> Schema:
    """Of `patients`."""
    features = tuple(Feature(f"f{j}", "ordinal", 1, 10) for j in range(9))
    return Schema(features, ("benign", "malignant"))


class Scheme:
    """OMPD for single queries: the hospital's blinding, then the cloud's search."""

    def __init__(self, encoder: ReliefEncoder, features: np.ndarray, labels: np.ndarray) -> None:
        self.encoder = encoder
        instances = encoder.encode(features)
        self.key = PaperKey.generate(PAPER, instances.shape[1] + PADDING, encoder.largest)
        self.limbs = blind_table(self.key, instances, threads=1)
        self.labels = labels.astype(np.int64)

    def with_index(self) -> Callable[[np.ndarray], int]:
        """Search by this library's engine."""
        table = LimbTable(self.limbs, self.labels, 2)
        modulus = Modulus.of(self.key.modulus, PAPER.limbs)

        def answer(features: np.ndarray) -> int:
            sent = blind_queries(self.key, self.encoder.encode(features))
            return int(classify(table, sent.points, sent.tokens, modulus, K, threads=1)[0])

        return answer

    def with_scan(self) -> Callable[[np.ndarray], int]:
        """Algorithm 3 as it is printed: the distance to every instance, on gmpy2 integers."""
        instances = [[_number(value) for value in row] for row in self.limbs]
        labels = self.labels.tolist()
        modulus = gmpy2.mpz(self.key.modulus)

        def answer(features: np.ndarray) -> int:
            sent = blind_queries(self.key, self.encoder.encode(features))
            token = _number(sent.tokens[0])
            point = [token * _number(value) % modulus for value in sent.points[0]]
            distances = [sum(map(abs, map(sub, row, point))) for row in instances]
            nearest = heapq.nsmallest(K, range(len(distances)), key=distances.__getitem__)
            return Counter(labels[row] for row in nearest).most_common(1)[0][0]

        return answer


def _number(limbs: np.ndarray) -> gmpy2.mpz:
    return gmpy2.mpz(int.from_bytes(limbs.tobytes(), "little"))


def _spread(scheme: str, rows: int, values: list[float], extrapolated: bool = False) -> Cost:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Cost(scheme, rows, float(middle), float(low), float(high), extrapolated)


def _timed(answer: Callable, queries: np.ndarray, repeats: int) -> list[float]:
    """Seconds of single queries, after three unmeasured ones."""
    for i in range(3):
        answer(queries[i : i + 1])
    times = []
    for i in range(repeats):
        query = queries[i % len(queries)][np.newaxis]
        start = time.perf_counter()
        answer(query)
        times.append(time.perf_counter() - start)
    return times


def ours(rows: int, repeats: int) -> list[Cost]:
    """OMPD with scan and index, and OMPD-MW, at one size.

    Raises
    ------
    AssertionError
        If scan and index disagree on a label.
    """
    features, labels = patients(rows, seed=1)
    queries, _ = patients(64, seed=2)
    case = Scheme(ReliefEncoder.fit(schema(), features, labels), features, labels)
    index, scan = case.with_index(), case.with_scan()
    costs = [
        _spread(INDEX, rows, _timed(index, queries, 8 * repeats)),
        _spread(SCAN, rows, _timed(scan, queries, repeats)),
    ]
    # The two see the same blinded values but fresh noise in the query: only ties may differ.
    agree = np.mean([scan(query[np.newaxis]) == index(query[np.newaxis]) for query in queries[:8]])
    if agree < 0.75:
        raise AssertionError("linear scan and index disagree")
    del scan, index, case
    unweighted = Scheme(blinded.unweighted(schema()), features, labels)
    costs.append(_spread(SCAN_MW, rows, _timed(unweighted.with_scan(), queries, repeats)))
    return costs


def competitors(rows: int, repeats: int) -> tuple[list[Cost], list[Cost]]:
    """Seconds and bytes per query of EPDK and PPDP at one size; their own stages add up."""
    from bench import epdk, ppdp

    features, labels = patients(rows, seed=1)
    seconds, sizes = [], []
    for name, run in (
        ("EPDK", lambda queries: epdk.run(features, labels, queries, k=K)),
        ("PPDP", lambda queries: ppdp.run(features, labels, queries)),
    ):
        totals = []
        run(patients(1, seed=3)[0])
        for turn in range(repeats):
            transcript = run(patients(3, seed=4 + turn)[0])
            stages = transcript.seconds.items()
            totals.append(sum(taken for stage, taken in stages if stage != "setup"))
        seconds.append(_spread(name, rows, totals))
        sizes.append(_spread(name, rows, [sum(transcript.bytes_sent.values())]))
    return seconds, sizes


def homomorphic(rows: int, repeats: int, largest_bfv: int) -> tuple[list[Cost], list[Cost]]:
    """The same of today's homomorphic ways; without TenSEAL only Paillier."""
    from bench import homomorphic as he

    features, _ = patients(rows, seed=1)
    seconds, sizes = [], []
    if rows <= largest_bfv and find_spec("tenseal") is not None:
        instances = features.astype(np.int64)
        taken = []
        for turn in range(repeats):
            points = patients(3, seed=4 + turn)[0].astype(np.int64)
            _, spent, size = he.bfv_scan(instances, points)
            taken.append(spent)
        seconds.append(_spread(BFV, rows, taken))
        sizes.append(_spread(BFV, rows, [size]))
    estimate = he.paillier_estimate(rows, features.shape[1])
    seconds.append(_spread(PAILLIER, rows, [estimate["seconds"]], extrapolated=True))
    sizes.append(_spread(PAILLIER, rows, [estimate["bytes"]], extrapolated=True))
    return seconds, sizes


def against_k(trial: Trial, seed: int, rounds: int) -> list[dict[str, float]]:
    """Microseconds per query of the cloud's search and vote for every K (table 2).

    Alone and in a batch of all test rows, on the training part of the first split; the values of
    K take turns.
    """
    train, test = trial.data.split(trial.held, seed)
    with repeatable("time"):
        encoder = ReliefEncoder.fit(train.schema, train.features, train.labels)
        case = blinded.encoded(encoder, train, test.features)
    alone: dict[int, list[float]] = {k: [] for k in CANDIDATES}
    batch: dict[int, list[float]] = {k: [] for k in CANDIDATES}
    for turn in range(rounds + 1):
        for k in CANDIDATES:
            for times, queries in (
                (alone, slice(turn % len(test), turn % len(test) + 1)),
                (batch, slice(None)),
            ):
                start = time.perf_counter()
                count = len(case.classify(k, queries))
                spent = (time.perf_counter() - start) / count * 1e6
                if turn:
                    times[k].append(spent)
    return [
        {
            "K": k,
            **_quartiles("alone", alone[k]),
            **_quartiles("batch", batch[k]),
        }
        for k in CANDIDATES
    ]


def _quartiles(name: str, values: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {f"{name}_us": middle, f"{name}_q1": low, f"{name}_q3": high}
