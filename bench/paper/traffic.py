"""What really travels for one query, leg by leg and part by part, and the time of every stage."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from bench.paper.costs import K, patients, schema
from ompd.crypto.envelope import overhead
from ompd.datasets import Dataset
from ompd.params import PAPER
from ompd.roles import Cloud, Hospital, User, introduce
from ompd.wire import SIGNATURE_BYTES, Frame, Kind

#: As in the paper.
ADVICE = "Please see your physician within two weeks. " * 14
ADVICE_BYTES = 600
SUITE = "x25519"
LEGS = {
    "query": ("user to hospital", Kind.QUERY),
    "job": ("hospital to cloud", Kind.PAPER_JOB),
    "verdict": ("cloud to hospital", Kind.VERDICT),
    "report": ("hospital to user", Kind.REPORT),
}
STAGES = ("ask", "forward", "answer", "report", "read")


@dataclass(frozen=True)
class Exchange:
    """One table size.

    Attributes
    ----------
    rows : int
    upload : int
        Bytes of the table's frame, sent once.
    total : int
        Bytes of the four frames of one query.
    parts : list of dict
        Bytes per leg and part.
    stage_ms : dict
        Median milliseconds per stage, signatures and envelopes included.
    """

    rows: int
    upload: int
    total: int
    parts: list[dict[str, object]]
    stage_ms: dict[str, float]


def exchange(rows: int, repeats: int) -> Exchange:
    """Publish a table of `rows` patients and send single queries through all parties."""
    features, labels = patients(rows, seed=1)
    queries, _ = patients(repeats + 1, seed=2)
    hospital = Hospital.create("hospital", profile="paper")
    cloud, user = Cloud.create("cloud"), User.create("user")
    introduce(hospital, cloud, user)
    advice = dict.fromkeys(schema().classes, ADVICE[:ADVICE_BYTES])
    data = Dataset.from_arrays(schema(), features, schema().names(labels))
    upload = hospital.publish("breast-cancer-cytology", data, cloud="cloud", k=K, advice=advice)
    hospital.deliver(upload, cloud.store)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for query in queries:
        clock = [time.perf_counter()]
        frames = [user.ask("hospital", "breast-cancer-cytology", query)]
        for step in (hospital.forward, cloud.answer, hospital.report):
            clock.append(time.perf_counter())
            frames.append(step(frames[-1]))
        clock.append(time.perf_counter())
        user.read(frames[-1])
        clock.append(time.perf_counter())
        for stage, spent in zip(STAGES, np.diff(clock), strict=True):
            times[stage].append(1e3 * spent)
    named = dict(zip(LEGS, frames, strict=True))
    return Exchange(
        rows=rows,
        upload=len(upload),
        total=sum(len(frame) for frame in frames),
        parts=[part for leg, frame in named.items() for part in _parts(leg, frame)],
        stage_ms={stage: statistics.median(values[1:]) for stage, values in times.items()},
    )


def _parts(leg: str, frame: bytes) -> list[dict[str, object]]:
    """Split a frame's length: what it is about, and what protects it."""
    link, kind = LEGS[leg]
    decoded = Frame.decode(frame, kind)
    envelope = overhead(SUITE)
    header = len(frame) - SIGNATURE_BYTES - len(decoded.ciphertext)
    width = PAPER.modulus_bits // 8
    coordinates = len(schema().features) + 2
    classes = len(schema().classes)
    content = {
        "query": {"features": 8 * len(schema().features), "reply key": 33},
        "job": {"blinded vector": coordinates * width, "token": width},
        "verdict": {"code, votes": 2 + 2 * classes},
        "report": {"advice": ADVICE_BYTES, "code, votes": 2 + 2 * classes,
                   "probabilities": 8 * classes},
    }[leg]  # fmt: skip
    rest = len(decoded.ciphertext) - envelope - sum(content.values())
    sizes = {
        **content,
        "names, padding, framing": rest,
        "header": header,
        "envelope": envelope,
        "signature": SIGNATURE_BYTES,
    }
    return [{"leg": link, "part": part, "bytes": size} for part, size in sizes.items()]
