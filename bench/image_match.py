"""Matches that two clouds count on shares, beside OpenCV's matcher on the same descriptors.

python -m bench.image_match [--side 128] [--repeats 7] [--json]

Features are those of the images of `bench.images`, templates those of the same images changed: with
noise, and turned by 15 degrees. Time is processor time on one thread, medians, at the image whose
features are nearest to 140; signatures and envelopes are not in it. Each feature is also matched by
itself: the share of them for which the count, 0 or 1, is what the ratio test of unrounded
descriptors says, in floats. Waiting times for a network are arithmetic, not measurements.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.images import NETWORKS, Clock, changed, extract, pictures
from ompd.images.features import SharedFeatures, share, template_integers
from ompd.images.match_material import deal_match
from ompd.images.match_plan import MatchPlan, match_plan
from ompd.images.match_warmup import warmup_matches
from ompd.images.matching import Matching
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.streams import Draws

CHANGES = ("noise 5", "rotation 15")


class _Sums(Clock):
    """Keeps the opened sums of descriptors."""

    def __call__(self, name: str, work: Any, *arguments: Any) -> Any:
        if getattr(work, "__name__", "") == "described":
            self.sums = (arguments[-1].astype(np.uint32) << 2).view(np.int32).astype(np.int64) >> 2
        return super().__call__(name, work, *arguments)


def described(image: np.ndarray) -> np.ndarray:
    """Return the sums that are the descriptors of an image, int64 (n, 128)."""
    clock = _Sums()
    extract(image, clock)
    return clock.sums


def unit(sums: np.ndarray) -> np.ndarray:
    """Return descriptors of length 1, not clipped."""
    rows = np.maximum(sums, 0).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clipped(sums: np.ndarray) -> np.ndarray:
    """Return descriptors as OpenCV normalises them."""
    rows = np.minimum(unit(sums), 0.2)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passes(features: np.ndarray, templates: np.ndarray) -> np.ndarray:
    """Return which rows pass the ratio test at .8, by OpenCV."""
    found = cv2.BFMatcher(cv2.NORM_L2).knnMatch(
        features.astype(np.float32), templates.astype(np.float32), k=2
    )
    return np.array(
        [len(each) == 2 and each[0].distance < 0.8 * each[1].distance for each in found]
    )


def match(
    plan: MatchPlan, sums: np.ndarray, templates: np.ndarray, clock: Clock
) -> tuple[int, int]:
    """Run dealer and clouds; returns the count, and what each cloud sent."""
    draws = Draws.generate(), Draws.generate()
    room = np.empty(plan.size, np.uint8)
    pieces = deal_match(plan, *draws)
    start = 0
    while (piece := clock("dealer", next, pieces, None)) is not None:
        room[start : start + piece.nbytes] = piece.reshape(-1).view(np.uint8)
        start += piece.nbytes
    halves, parts = share(sums), share(templates)
    materials = DrawnMaterial(draws[0]), StoredMaterial(room)
    works = [
        Matching(
            plan, not i, draws[i], materials[i], SharedFeatures(8, halves[i].shares), parts[i]
        ).rounds()
        for i in range(2)
    ]
    names = ("leader", "other")
    opened: list[Any] = [None, None]
    sent = 0
    while True:
        ended, following = [], []
        for i in range(2):
            try:
                following.append(clock(names[i], works[i].send, opened[1 - i]))
            except StopIteration as done:
                ended.append(done.value)
        if ended:
            return sum(ended) % (1 << 32), sent
        sent += sum(each.nbytes for each in following[0])
        opened = [[each.copy() for each in some] for some in following]


def agreement(sums: np.ndarray, templates: np.ndarray, exact: np.ndarray) -> int:
    """Return for how many features the count of each alone is what floats say."""
    plan = match_plan(1, len(templates))
    expected = passes(unit(sums), exact)
    counts = [match(plan, row[None], templates, Clock())[0] for row in sums]
    return int((np.array(counts) == expected).sum())


def measure(side: int, repeats: int) -> dict[str, Any]:
    """Return times, bytes and agreement."""
    os.environ["OMPD_THREADS"] = "1"
    cv2.setNumThreads(1)
    warmup_matches()
    images = pictures(side)
    features = {name: described(image) for name, image in images.items()}
    decided = right = right_clipped = 0
    for name, image in images.items():
        for change in CHANGES:
            other = described(changed(image)[change][0])
            if len(other) < 2:
                continue
            decided += len(features[name])
            for form in (unit, clipped):
                exact = form(other)
                found = agreement(features[name], template_integers(exact), exact)
                if form is unit:
                    right += found
                else:
                    right_clipped += found
    name = min(images, key=lambda each: abs(len(features[each]) - 140))
    sums, exact = features[name], unit(described(changed(images[name])["noise 5"][0]))
    templates = template_integers(exact)
    plan = match_plan(len(sums), len(templates))
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        start = time.process_time()
        passes(unit(sums), exact)
        times.setdefault("opencv", []).append(time.process_time() - start)
        clock = Clock()
        count, sent = match(plan, sums, templates, clock)
        for each, spent in clock.spent.items():
            times.setdefault(each, []).append(spent)
    seconds = {each: statistics.median(spent) for each, spent in times.items()}
    return {
        "features": len(sums),
        "templates": len(templates),
        "count": count,
        "count_by_opencv": int(passes(unit(sums), exact).sum()),
        "rounds": plan.rounds,
        "online_bytes_each_way": sent,
        "dealt_bytes": plan.size,
        "seconds": seconds,
        "arithmetic_seconds": {
            network: seconds["leader"] + plan.rounds * trip + sent / rate
            for network, (trip, rate) in NETWORKS.items()
        },
        "decisions": decided,
        "agreement": right / decided,
        "agreement_clipped_templates": right_clipped / decided,
    }


def test_counts() -> None:
    """At 64 pixels, of one image: a check that the benchmark runs."""
    image = pictures(64)["CT_small.dcm"]
    sums, exact = described(image), unit(described(changed(image)["noise 5"][0]))
    assert agreement(sums, template_integers(exact), exact) >= 0.97 * len(sums)


def main(
    side: Annotated[int, typer.Option(help="Height and width, in pixels.")] = 128,
    repeats: Annotated[int, typer.Option(help="Of the timing.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure matches on shares beside OpenCV's matcher."""
    found = measure(side, repeats)
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("", "", title=f"matches at {side} x {side} pixels, one thread")
    for name, value in found.items():
        rows = value.items() if isinstance(value, dict) else [("", value)]
        for inner, each in rows:
            table.add_row(f"{name} {inner}".replace("_", " ").strip(), f"{each:.5g}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
