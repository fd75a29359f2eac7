"""Correlation of medical text at all lags, sealed, beside a dot product per lag with TenSEAL.

python -m bench.text [--rounds 15] [--patients 300] [--json]

Ours: 64 concepts, 60 days, a template of 60 days, so 119 lags. Patient, cloud and physician are
measured apart, in processor time of one thread, and every R and E is compared with NumPy's. TenSEAL
(extra `he`) has its `dot` of two encrypted vectors for one lag; for all lags the physician would
send as many templates. One lag is measured, in a ring of the same degree, and multiplied by 119.

Patients are invented (`ompd.text.invented`): how well the largest correlation tells those with an
episode from those without, once with the annotator and once with every mention counted as if it
were asserted.
"""

from __future__ import annotations

import datetime
import json
import time
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd.text import (
    Concept,
    Course,
    Lexicon,
    PlainAnnotator,
    Template,
    correlate,
    correlation_keys,
    load,
    open_reply,
    seal_course,
    seal_template,
)
from ompd.text.invented import notes, template
from ompd.text.layout import MAX_CONCEPTS, MAX_COUNT, MAX_DAYS, MAX_SUM, MAX_WEIGHT

_LAST = datetime.date(2024, 3, 1)
_LAGS = 2 * MAX_DAYS - 1


class Ours:
    """A physician's key, a patient's course and a template, of random counts."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        weights = rng.integers(1, MAX_WEIGHT + 1, MAX_CONCEPTS).tolist()
        lexicon = Lexicon(
            "random",
            tuple(Concept(f"c{i}", (f"word{i}",), weight=w) for i, w in enumerate(weights)),
        )
        shape = (MAX_CONCEPTS, MAX_DAYS)
        x, y = (rng.poisson(1.5, shape).clip(0, MAX_COUNT) for _ in range(2))
        self.course, self.template = Course(lexicon, _LAST, x), Template(lexicon, y)
        self.weights = np.array(weights)[:, None]
        self.secret, self.public = correlation_keys()
        self.sealed, self.asking = self.seal(), self.ask()
        self.reply = self.answer()
        self.check()

    def seal(self) -> Any:
        """The patient's part."""
        return seal_course(self.public, self.course)

    def ask(self) -> Any:
        """The physician's, before."""
        return seal_template(self.secret, self.template)

    def answer(self) -> Any:
        """The cloud's."""
        return correlate(self.public, self.sealed, self.asking)

    def read(self) -> Any:
        """The physician's, after."""
        return open_reply(self.secret, self.template, self.reply)

    def plain(self) -> tuple[np.ndarray, np.ndarray]:
        """All R and E with NumPy."""
        x, y = self.course.counts, self.template.counts
        found = []
        for lag in range(1 - MAX_DAYS, MAX_DAYS):
            seen = slice(max(0, lag), MAX_DAYS + min(0, lag))
            under = slice(max(0, -lag), MAX_DAYS - max(0, lag))
            found.append(
                [
                    (self.weights * x[:, seen] * y[:, under]).sum(),
                    (self.weights * x[:, seen] ** 2).sum(),
                ]
            )
        products, energies = np.array(found).T
        return products, energies

    def check(self) -> None:
        """Compare with NumPy, bit for bit."""
        found = self.read()
        products, energies = self.plain()
        assert np.array_equal(found.products, products)
        assert np.array_equal(found.energies, energies)


class Peer:
    """TenSEAL with the same course and template, at lag 0."""

    def __init__(self, ours: Ours) -> None:
        import tenseal

        # The smallest prime above twice the largest sum that leaves slots to a ring of 8192.
        modulus = next(
            n for n in range((2 * MAX_SUM // 16384 + 1) * 16384 + 1, 1 << 30, 16384) if _prime(n)
        )
        context = tenseal.context(
            tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=8192, plain_modulus=modulus, n_threads=1
        )
        context.generate_galois_keys()
        weighted = (ours.weights * ours.template.counts).ravel().tolist()
        self.x = tenseal.bfv_vector(context, ours.course.counts.ravel().tolist())
        self.y = tenseal.bfv_vector(context, weighted)
        assert self.dot().decrypt() == [ours.plain()[0][MAX_DAYS - 1]]

    def dot(self) -> Any:
        """R at one lag."""
        return self.x.dot(self.y)


def _prime(n: int) -> bool:
    return all(n % d for d in range(2, int(n**0.5) + 1))


def parties(rounds: int) -> dict[str, Any]:
    """Milliseconds of each party, bytes, and the peer's time for as many lags."""
    ours = Ours()
    peer = Peer(ours)
    seconds = medians(
        {
            "patient": ours.seal,
            "physician asks": ours.ask,
            "cloud": ours.answer,
            "physician reads": ours.read,
            "peer": peer.dot,
        },
        rounds,
        clock=time.process_time,
    )
    all_lags = seconds.pop("peer") * _LAGS
    return {
        "lags": _LAGS,
        "ms": {name: taken * 1e3 for name, taken in seconds.items()},
        "bytes": {
            "course": len(ours.sealed.to_bytes()),
            "template": len(ours.asking.to_bytes()),
            "reply": len(ours.reply.to_bytes()),
        },
        "all lags": {
            "ours_us": seconds["cloud"] * 1e6,
            "peer_us": all_lags * 1e6,
            "ratio": all_lags / seconds["cloud"],
        },
    }


def _auroc(ill: list[float], well: list[float]) -> float:
    """Chance that one of the ill has more than one of the well; a tie counts half."""
    difference = np.subtract.outer(ill, well)
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def _best(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Largest rho, without any encryption: the sealed one has the same integers."""
    days, length = x.shape[1], y.shape[1]
    energy, whole = (weights * x * x).sum(axis=0), (weights * y * y).sum()
    found = 0.0
    for lag in range(1 - length, days):
        seen = slice(max(0, lag), min(days, length + lag))
        r = (weights * x[:, seen] * y[:, seen.start - lag : seen.stop - lag]).sum()
        if e := energy[seen].sum():
            found = max(found, r / np.sqrt(e * whole))
    return found


def people(number: int, seed: int = 11) -> dict[str, float]:
    """How well invented patients are told apart, and how long a note takes to annotate."""
    rng = np.random.default_rng(seed)
    lexicon = load("cardiology")
    annotator = PlainAnnotator(lexicon)
    weights = np.array(lexicon.weights)[:, None]
    rows = {name: row for row, name in enumerate(lexicon.names)}
    y = template(lexicon).counts
    scores: dict[tuple[str, bool], list[float]] = {}
    counted, taken = 0, 0.0
    for place in range(number):
        ill = place % 2 == 1
        shift = int(rng.integers(-30, 31)) if ill else None
        written = notes(rng, lexicon, last=_LAST, shift=shift)
        start = time.perf_counter()
        course = Course.from_notes(written, annotator, last=_LAST)
        taken += time.perf_counter() - start
        counted += len(written)
        every = np.zeros_like(course.counts)
        for note in written:
            for each in annotator.annotate(str(note.text)):
                every[rows[each.concept], (note.day - course.first).days] += 1
        for name, x in (("auroc", course.counts), ("every", np.minimum(every, MAX_COUNT))):
            scores.setdefault((name, ill), []).append(_best(weights, x, y))
    return {
        "patients": number,
        "auroc": _auroc(scores["auroc", True], scores["auroc", False]),
        "auroc_all_asserted": _auroc(scores["every", True], scores["every", False]),
        "note_us": taken / counted * 1e6,
    }


@pytest.mark.benchmark(group="text")
@pytest.mark.parametrize("part", ["seal", "ask", "answer", "read"])
def test_parties(benchmark, part):
    benchmark(getattr(Ours(), part))


def main(
    rounds: Annotated[int, typer.Option(help="Of every measurement.")] = 15,
    patients: Annotated[int, typer.Option(help="Invented ones.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures for machines.")] = False,
) -> None:
    """Measure and print."""
    found = {"parties": parties(rounds), "people": people(patients)}
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(title=f"{_LAGS} lags of 64 concepts and 60 days")
    for heading in ("party", "ms", "sends"):
        table.add_column(heading, justify="left" if heading == "party" else "right")
    sends = {"patient": "course", "physician asks": "template", "cloud": "reply"}
    for name, taken in found["parties"]["ms"].items():
        size = found["parties"]["bytes"].get(sends.get(name, ""))
        table.add_row(name, f"{taken:.2f}", f"{size:,}" if size else "")
    console = Console()
    console.print(table)
    whole, told = found["parties"]["all lags"], found["people"]
    console.print(
        f"TenSEAL, one dot product per lag: {whole['peer_us'] / 1e3:,.0f} ms, "
        f"{whole['ratio']:,.0f} times the cloud's part"
    )
    console.print(
        f"AUROC of {patients} invented patients: {told['auroc']:.3f}; with every mention counted "
        f"as asserted {told['auroc_all_asserted']:.3f}; a note takes {told['note_us']:.0f} µs"
    )


if __name__ == "__main__":
    typer.run(main)
