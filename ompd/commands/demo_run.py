"""The whole protocol on held-out records of a built-in data set, measured stage by stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ompd import datasets
from ompd.arrays import I64, U64
from ompd.audit.scenes import Records
from ompd.audit.suites import hardened_suite, paper_suite
from ompd.commands.demo_blind import run_blind_demo
from ompd.commands.demo_results import ADVICE, SPLIT_SEED, DemoResult, held_out
from ompd.encode import CoarseEncoder, Encoder, ReliefEncoder, choose_step
from ompd.errors import NeighborsError
from ompd.params import PAPER, check_profile
from ompd.roles import Cloud, Hospital, User, introduce
from ompd.search import LimbTable, ballots, compute, limbs_of
from ompd.search.conversion import Modulus, convert
from ompd.search.decision import Rule, default_decision
from ompd.stores import MemoryTables

#: K that the source paper found best (table 2).
PAPER_K = {"wbc": 9, "mm": 11}
#: The stations of one query, after a setup that happens once.
STAGES = ("setup", "query", "job", "verdict", "report", "read")
LINKS = ("user_to_hospital", "hospital_to_cloud", "cloud_to_hospital", "hospital_to_user")

#: The attack that needs nothing but what the cloud was sent and the features' domains.
_ATTACK = "cells_from_ciphertext"


class _Recorder:
    """The cloud's engine, which also keeps the rows of the neighbours behind its last answer."""

    rows: I64

    def __call__(
        self, table: LimbTable, points: U64, tokens: U64 | None, modulus: Modulus | None, k: int
    ) -> tuple[I64, I64]:
        scaled = points
        if tokens is not None and modulus is not None:
            scaled = convert(points, tokens, modulus)
        _, self.rows = compute(table, scaled, k)
        return ballots(table, points, tokens, modulus, k)


def run_demo(
    dataset: str = "wbc",
    *,
    profile: str = "sealed",
    queries: int = 200,
    k: int | None = None,
    signatures: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> DemoResult:
    """Send held-out records one by one through all stages.

    Parameters
    ----------
    dataset : {"wbc", "mm"}
    profile : {"blind", "sealed", "hardened", "paper"}
    queries : int
        Records held out, half of them of each class.
    k : int, optional
        The paper's choice for the data set by default; nothing to `blind`.
    signatures : {"pyblst", "py_ecc"}, optional
    progress : callable
        Called with the number of answered queries.

    Raises
    ------
    DatasetError
        If the data set is unknown or too small for so many queries.
    NeighborsError
        If k is even or out of range.
    ParameterError
        If there is no such profile.
    """
    check_profile(profile)
    data, train, features, truth = held_out(dataset, queries)
    k = PAPER_K.get(dataset, 9) if k is None else k
    if k < 1 or k % 2 == 0 or k > len(train):
        raise NeighborsError(f"k: expected an odd integer from 1 to {len(train)}, got {k}")
    if profile == "blind":
        return run_blind_demo(data, train, (features, truth), signatures, progress)

    # Also compiles the kernels, or loads them, so that no stage below pays for it.
    oracle = _Oracle.of(profile, train, k)
    points = oracle.encoder.encode(features)
    plain_codes = oracle.codes(points)

    recorder = _Recorder()
    start = time.perf_counter()
    hospital = Hospital.create("hospital", profile=profile, signatures=signatures)
    cloud = Cloud.create("cloud", tables=MemoryTables(ballots=recorder), signatures=signatures)
    user = User.create("user", signatures=signatures)
    introduce(hospital, cloud, user)
    upload = hospital.publish(data.info.disease, train, cloud="cloud", k=k, advice=ADVICE)
    hospital.deliver(upload, cloud.store)
    setup_ms = (time.perf_counter() - start) * 1e3

    codes = np.empty(queries, dtype=np.int64)
    sizes = np.empty((queries, len(LINKS)), dtype=np.int64)
    milliseconds = np.empty((queries, len(STAGES) - 1))
    tied = certified = 0
    distances_agree = True
    for i in range(queries):
        clock = [time.perf_counter()]
        query = user.ask("hospital", data.info.disease, features[i])
        clock.append(time.perf_counter())
        job = hospital.forward(query)
        clock.append(time.perf_counter())
        verdict = cloud.answer(job)
        clock.append(time.perf_counter())
        report = hospital.report(verdict)
        clock.append(time.perf_counter())
        (diagnosis,) = user.read(report)
        clock.append(time.perf_counter())
        milliseconds[i] = np.diff(clock) * 1e3
        sizes[i] = [len(frame) for frame in (query, job, verdict, report)]
        codes[i] = train.schema.codes([diagnosis.label])[0]
        certified += diagnosis.certified
        every = oracle.distances(points[i])
        smallest = np.sort(every)
        straddles = bool(k < len(smallest) and smallest[k - 1] == smallest[k])
        tied += straddles
        if profile == "sealed":
            # The rows stay in the hospital; without a tie, votes tell whether they were right.
            votes = np.bincount(train.labels[np.argsort(every)[:k]], minlength=oracle.table.classes)
            distances_agree &= straddles or list(diagnosis.votes.values()) == votes.tolist()
        else:
            distances_agree &= np.array_equal(np.sort(every[recorder.rows[0]]), smallest[:k])
        progress(i + 1)

    recovered, guessed = _attacked(profile, data)
    parties = (hospital, cloud, user)
    median = [statistics.median(column) for column in milliseconds.T]
    return DemoResult(
        profile=profile,
        dataset=dataset,
        instances=len(train),
        queries=queries,
        k=k,
        accuracy_plain=float((plain_codes == truth).mean()),
        accuracy=float((codes == truth).mean()),
        label_agreement=float((codes == plain_codes).mean()),
        tied_queries=tied,
        distances_agree=bool(distances_agree),
        certified=certified / queries,
        recovered=recovered,
        guessed=guessed,
        stage_ms=dict(zip(STAGES, (setup_ms, *median), strict=True)),
        link_bytes=dict(zip(LINKS, np.median(sizes, axis=0).astype(int).tolist(), strict=True))
        | {"table_upload": len(upload)},
        signature_backend=hospital.signature_backend,
        signatures_made=sum(party.signatures_made for party in parties),
        signatures_verified=sum(party.signatures_verified for party in parties),
    )


def _attacked(profile: str, data: datasets.Dataset) -> tuple[float | None, float | None]:
    """What the cloud recovers of records, and what a guess does; `ompd audit` has the rest."""
    if profile == "sealed":
        return None, None
    suite = {"paper": paper_suite, "hardened": hardened_suite}[profile]
    # The suites run one attack after the other, and no further than they are asked to.
    for result in suite(Records.of(data, SPLIT_SEED), SPLIT_SEED, lambda attack: None):
        if result.attack == _ATTACK:
            return result.recovered, result.baseline
    raise AssertionError(_ATTACK)


@dataclass(frozen=True)
class _Oracle:
    """A plain search over the integers of a profile; its distances share no code with engines."""

    encoder: Encoder
    instances: I64
    table: LimbTable
    rule: Rule
    k: int

    @classmethod
    def of(cls, profile: str, train: datasets.Dataset, k: int) -> _Oracle:
        encoder: Encoder = ReliefEncoder.fit(
            train.schema,
            train.features,
            train.labels,
            weight_bits=PAPER.weight_bits,
            feature_bits=PAPER.feature_bits,
        )
        classes = len(train.schema.classes)
        if profile == "hardened":
            vectors = encoder.encode(train.features)
            step = choose_step(vectors, train.labels, classes, min(k, len(train) - 1))
            encoder = CoarseEncoder(encoder, step)
        instances = encoder.encode(train.features)
        table = LimbTable.from_prefix_sums(instances, train.labels, classes)
        rule = Rule.learn(table, k, default_decision(profile, "relief-mw"), "equal")
        return cls(encoder, instances, table, rule, k)

    def codes(self, points: I64) -> I64:
        return self.rule.judge(self.table, limbs_of(points), self.k).codes

    def distances(self, point: I64) -> I64:
        every: I64 = np.abs(self.instances - point).sum(axis=1)
        return every
