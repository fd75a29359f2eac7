"""A diagnosis that nobody but the user sees, on held-out records, measured stage by stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from ompd.arrays import F64, I64
from ompd.commands.demo_results import ADVICE, DemoResult
from ompd.datasets import Dataset
from ompd.roles import Hospital, User, introduce


def run_blind_demo(
    data: Dataset,
    train: Dataset,
    asked: tuple[F64, I64],
    signatures: str | None,
    progress: Callable[[int], None],
) -> DemoResult:
    """Send held-out records, features and classes in `asked`, one by one; as `run_demo`."""
    features, truth = asked
    queries, disease = len(truth), data.info.disease
    start = time.perf_counter()
    hospital = Hospital.create("hospital", profile="blind", signatures=signatures)
    user = User.create("user", least_profile="blind", signatures=signatures)
    introduce(hospital, user)
    upload = hospital.publish(disease, train, advice=ADVICE, answers=queries)
    user.learn(hospital.catalogue())
    key = user.enrol("hospital")
    user.enrolled(hospital.answer(key))
    setup_ms = (time.perf_counter() - start) * 1e3
    plain_codes, plain = hospital.blind[disease].model.judge(features)

    codes = np.empty(queries, dtype=np.int64)
    sizes = np.empty((queries, 2), dtype=np.int64)
    milliseconds = np.empty((queries, 3))
    agree = True
    for i in range(queries):
        clock = [time.perf_counter()]
        query = user.ask("hospital", disease, features[i])
        clock.append(time.perf_counter())
        report = hospital.answer(query)
        clock.append(time.perf_counter())
        found = user.read(report)
        clock.append(time.perf_counter())
        milliseconds[i] = np.diff(clock) * 1e3
        sizes[i] = len(query), len(report)
        codes[i] = found.codes[0]
        agree &= found.probabilities.tobytes() == plain[i].tobytes()
        progress(i + 1)

    median = [statistics.median(column) for column in milliseconds.T]
    sent, returned = np.median(sizes, axis=0).astype(int).tolist()
    return DemoResult(
        profile="blind",
        dataset=data.info.name,
        instances=len(train),
        queries=queries,
        k=0,
        accuracy_plain=float((plain_codes == truth).mean()),
        accuracy=float((codes == truth).mean()),
        label_agreement=float((codes == plain_codes).mean()),
        tied_queries=0,
        distances_agree=bool(agree),
        certified=1.0,
        recovered=None,
        guessed=None,
        stage_ms=dict(zip(("setup", "query", "score", "read"), (setup_ms, *median), strict=True)),
        link_bytes={
            "user_to_hospital": sent,
            "hospital_to_user": returned,
            "table_upload": len(upload),
            "key": len(key),
        },
        signature_backend=hospital.signature_backend,
        signatures_made=hospital.signatures_made + user.signatures_made,
        signatures_verified=hospital.signatures_verified + user.signatures_verified,
    )
