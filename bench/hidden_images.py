"""Features of hidden mode beside OpenCV's; `bench.images --mode hidden` prints them.

Matches between images and changed ones are counted as for extract mode, but within 2.5 pixels, too:
features lie at whole pixels of their octave, which are two apart in the third one.
"""

from __future__ import annotations

import os
import statistics
from typing import Any

import cv2
import numpy as np

from bench.images import NETWORKS, Clock, matched, pictures, timed, unit_features, warped
from ompd.commands.images import compare_upright
from ompd.images.hidden.concealment import Concealment
from ompd.images.hidden.layout import HIDDEN_ROUNDS, hidden_geometry
from ompd.images.hidden.material import HiddenPlan, deal_hidden
from ompd.images.hidden.reading import disclosed
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.reading import Features
from ompd.images.rounds import round_bytes
from ompd.images.streams import Draws, pixel_mask

#: Pixels within which a match is right.
_WITHIN = (2.0, 2.5)
#: What each cloud sends.
_SENT = {"leader": (1, 2, 3, 4, 5, 6, 8), "other": (1, 2, 3, 4, 5, 7)}


def conceal(image: np.ndarray, clock: Clock) -> Features:
    """Run dealer, clouds and physician on one image; returns its disclosed features."""
    size = hidden_geometry(*image.shape)
    draws = Draws.generate(), Draws.generate()
    room = np.empty(HiddenPlan(size).size, np.uint8)
    pieces = deal_hidden(size, *draws)
    start = 0
    # Where they are put is not the dealer's time.
    while (piece := clock("dealer", next, pieces, None)) is not None:
        room[start : start + piece.nbytes] = piece.reshape(-1).view(np.uint8)
        start += piece.nbytes
    masked = image.astype(np.uint64)
    for each in draws:
        masked += pixel_mask(each.pixel_key(), *image.shape)
    clouds = {
        "leader": Concealment(size, True, draws[0], DrawnMaterial(draws[0])),
        "other": Concealment(size, False, draws[1], StoredMaterial(room)),
    }
    others = {"leader": "other", "other": "leader"}
    sent = {(1, name): clock(name, each.open_chunks, masked) for name, each in clouds.items()}
    while any(each.wanted for each in clouds.values()):
        ready = [name for name, each in clouds.items() if (each.wanted, others[name]) in sent]
        opened = {}
        for name in ready:
            arrays = sent[clouds[name].wanted, others[name]]
            opened[name] = clock(name, clouds[name].advance, arrays)
        for name, each in opened.items():
            if each is not None:
                # A cloud goes on with its own arrays, so that the other one gets copies.
                sent[each[0], name] = [array.copy() for array in each[1]]
    left, right = (each.found for each in clouds.values())
    assert left is not None
    assert right is not None
    numbers, sums = left.numbers + right.numbers, left.sums + right.sums
    return clock("physician", disclosed, size, numbers, sums)


def slight(image: np.ndarray, seed: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return slightly changed images, each with the map of places, (2, 3)."""
    still = np.array([[1, 0, 0], [0, 1, 0.0]])
    noisy = image + np.random.default_rng(seed).normal(0, 5, image.shape)
    return {
        "shift 3": warped(image, 0, 1, 3),
        "rotation 5": warped(image, 5, 1),
        "scale .9": warped(image, 0, 0.9),
        "noise 5": (np.clip(noisy, 0, 255).astype(np.uint8), still),
        "contrast .7": (np.clip(image * 0.7 + 20, 0, 255).astype(np.uint8), still),
    }


def robustness(side: int) -> dict[str, dict[str, Any]]:
    """Return which share of matches with changed images is right, and how many there are."""
    opencv = cv2.SIFT_create()

    def ours(image: np.ndarray) -> Any:
        features = conceal(image, Clock())
        return features.points, features.descriptors

    ways = {"hidden": ours, "opencv": lambda image: unit_features(opencv, image)}
    counts: dict[str, dict[str, np.ndarray]] = {}
    for image in pictures(side).values():
        for name, features in ways.items():
            before = features(image)
            for change, (after, places) in slight(image).items():
                found = features(after)
                passed, near = matched(before, found, places, _WITHIN[0])
                row = np.array([passed, near, matched(before, found, places, _WITHIN[1])[1]])
                sums = counts.setdefault(change, {})
                sums[name] = sums.get(name, np.zeros(3, int)) + row
    counts["all"] = {
        name: np.sum([each[name] for each in counts.values()], axis=0) for name in ways
    }
    return {
        change: {
            name: {"matches": int(n), "within_2": float(a / n), "within_2.5": float(b / n)}
            for name, (n, a, b) in each.items()
        }
        for change, each in counts.items()
    }


def measure(side: int, repeats: int) -> dict[str, Any]:
    """Return times, bytes and agreement at one size."""
    os.environ["OMPD_THREADS"] = "1"
    cv2.setNumThreads(1)
    opencv = cv2.SIFT_create()
    images = pictures(side)
    example = images["CT_small.dcm"]
    conceal(example, Clock())
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        clock = Clock()
        times.setdefault("opencv", []).append(min(timed(opencv, example) for _ in range(3)))
        conceal(example, clock)
        for name, spent in clock.spent.items():
            times.setdefault(name, []).append(spent)
    agreement = {}
    found = 0
    for name, image in images.items():
        features = conceal(image, Clock())
        found += len(features)
        agreement[name] = compare_upright(features, image)
    size = hidden_geometry(side, side)
    online = {
        name: sum(round_bytes(size, number) for number in numbers)
        for name, numbers in _SENT.items()
    }
    dealt = HiddenPlan(size).size
    seconds = {name: statistics.median(each) for name, each in times.items()}
    rows = list(agreement.values())
    most = max(online.values())
    return {
        "side": side,
        "seconds": seconds,
        "ratio_to_opencv": {
            name: statistics.median(np.array(times[name]) / times["opencv"])
            for name in ("leader", "other", "dealer")
        },
        "rounds": HIDDEN_ROUNDS,
        "online_bytes": online,
        "online_bytes_per_pixel": most / side**2,
        "dealt_bytes": dealt,
        "dealt_bytes_per_pixel": dealt / side**2,
        "slots": size.slots,
        "arithmetic_seconds": {
            name: seconds["leader"] + (HIDDEN_ROUNDS + 1) * trip + (most + 8 * side**2) / rate
            for name, (trip, rate) in NETWORKS.items()
        },
        "features": found,
        "opencv_features": sum(each["opencv_features"] for each in rows),
        "near_opencv_features": statistics.mean(each["near_opencv_features"] for each in rows),
        "upright_cosine_median": statistics.median(
            each["upright_descriptor_cosine_median"] for each in rows
        ),
        "images": agreement,
    }


def test_hidden() -> None:
    """At 64 pixels, on one image: a check that the benchmark runs."""
    image = pictures(64)["camera.png"]
    assert len(conceal(image, Clock())) > 20
