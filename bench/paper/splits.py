"""All classifiers on one random split after the other, by several processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from threadpoolctl import threadpool_limits

from bench.paper import blinded, ordinary
from bench.paper.data import Trial
from bench.paper.seeded import repeatable
from ompd.encode import ReliefEncoder
from ompd.search import choose_k, limbs_of, vote
from ompd.search.choice import CANDIDATES

#: The schemes that the paper compares, best first by its account.
SCHEMES = ("OMPD", "OMPD-MW", "EPDK", "PPDP")
EVIDENCE = "Evidence (ours)"
EVIDENCE_BLINDED = "Evidence (ours), blinded"
#: OMPD's votes as the probabilities that a user gets, and decisions by these.
CALIBRATED = "OMPD, calibrated"


@dataclass(frozen=True)
class Split:
    """Everything that one split gives; all else is computed from these.

    Attributes
    ----------
    data : str
    seed, train_rows : int
    truth : ndarray of shape (m,)
    prior : ndarray of shape (classes,)
        Class shares in the training part.
    codes : dict of str to ndarray of shape (m,)
        Predicted classes per method.
    probabilities : dict of str to ndarray of shape (m,)
        Of class 1, for methods that give it.
    by_k : dict of int to float
        Accuracy of OMPD on blinded integers per K.
    chosen_k : int
        What the cloud picks on the blinded table.
    tied : int
        Queries with an exact tie at the K-th place on plain integers.
    differ : int
        Labels that differ between plain and blinded integers.
    """

    data: str
    seed: int
    train_rows: int
    truth: np.ndarray
    prior: np.ndarray
    codes: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    by_k: dict[int, float]
    chosen_k: int
    tied: int
    differ: int

    def accuracy(self, method: str) -> float:
        """Share of right labels."""
        return float((self.codes[method] == self.truth).mean())


def run_split(job: tuple[Trial, int]) -> Split:
    """Train and test every method on one split."""
    trial, seed = job
    with threadpool_limits(1), repeatable(f"{trial.name} {seed}"):
        return _run_split(trial, seed)


def _run_split(trial: Trial, seed: int) -> Split:
    from bench import epdk, ppdp

    train, test = trial.data.split(trial.held, seed)
    k = trial.k
    encoder = ReliefEncoder.fit(train.schema, train.features, train.labels)
    case = blinded.encoded(encoder, train, test.features)
    distances, rows = case.neighbours(CANDIDATES[-1])
    by_k = {
        candidate: float((vote(case.table, distances, rows, candidate) == test.labels).mean())
        for candidate in CANDIDATES
    }
    tied, differ = _ties(encoder, train, test, k, vote(case.table, distances, rows, k))
    codes, probabilities = {}, {}
    codes["OMPD"], probabilities[CALIBRATED] = blinded.protocol(train, test, k)
    codes |= {
        "OMPD-MW": blinded.encoded(blinded.unweighted(train.schema), train, test.features).classify(
            k
        ),
        "EPDK": epdk.run(train.features, train.labels, test.features, k=k, seed=seed).codes,
        "PPDP": ppdp.run(train.features, train.labels, test.features, seed=seed).codes,
    }
    _evidence(train, test, seed, codes, probabilities)
    for name in ordinary.NAMES:
        model = ordinary.fit(name, train.schema, train.features, train.labels, k, seed)
        codes[name] = model.predict(test.features)
        probabilities[name] = ordinary.probabilities(
            name, model, train.features, test.features, train.labels
        )[:, 1]
    return Split(
        data=trial.name,
        seed=seed,
        train_rows=len(train),
        truth=test.labels,
        prior=np.array(train.class_rows) / len(train),
        codes=codes,
        probabilities=probabilities,
        by_k=by_k,
        chosen_k=choose_k(case.table),
        tied=tied,
        differ=differ,
    )


def _evidence(train, test, seed, codes, probabilities) -> None:
    """The better classifier, plain and on blinded integers."""
    from ompd.estimator import EvidenceClassifier

    model = EvidenceClassifier(schema=train.schema, seed=seed).fit(train.features, train.labels)
    codes[EVIDENCE] = model.predict(test.features)
    probabilities[EVIDENCE] = model.predict_proba(test.features)[:, 1]
    encoder = model.encoder_
    case = blinded.blind(
        np.asarray(encoder.instances),
        encoder.encode(test.features),
        encoder.largest,
        train.labels,
        len(train.schema.classes),
    )
    codes[EVIDENCE_BLINDED] = model.rule_.decide(*case.votes(model.n_neighbors_)).codes


def _ties(encoder, train, test, k, codes) -> tuple[int, int]:
    """Queries with a tie at the K-th place, and labels that plain integers give otherwise."""
    from ompd.search import LimbTable, compute

    instances, points = encoder.encode(train.features), encoder.encode(test.features)
    table = LimbTable.from_prefix_sums(instances, train.labels, len(train.schema.classes))
    plain = vote(table, *compute(table, limbs_of(points), k))
    nearest = np.sort(np.abs(instances[np.newaxis] - points[:, np.newaxis]).sum(2), axis=1)
    return int((nearest[:, k - 1] == nearest[:, k]).sum()), int((plain != codes).sum())


def run_all(
    trials: list[Trial],
    splits: int,
    seed: int,
    processes: int,
    progress: Callable[[], None],
) -> list[Split]:
    """Evaluate seeds seed .. seed + splits - 1 on every data set.

    The result does not depend on the number of processes; one stays in this process.
    """
    jobs = [(trial, seed + turn) for trial in trials for turn in range(splits)]
    if processes == 1:
        return [_noted(run_split(job), progress) for job in jobs]
    # Workers inherit this; otherwise every one starts as many threads as there are processors.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        note = partial(_noted, progress=progress)
        return [note(split) for split in pool.map(run_split, jobs)]


def _noted(split: Split, progress: Callable[[], None]) -> Split:
    progress()
    return split
