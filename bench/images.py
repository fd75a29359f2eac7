"""Private image features beside OpenCV's: processor time, bytes, agreement.

python -m bench.images [--mode hidden] [--side 128] [--repeats 7] [--matches] [--json]

Time is processor time on one thread, medians; each repeat runs OpenCV, the dealer and both clouds
one after the other. A cloud's time is from the masked image to its last answer; what it does before
there is an image, the levels of its own mask, is told apart, and signatures and envelopes are not
in it. Images are those that come with pydicom and scikit-image. Waiting times for a network are
arithmetic, not measurements: four rounds between the clouds, and three to the physician and back.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import pydicom
import skimage
import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.images import compare
from ompd.images import read_image
from ompd.images.extraction import Extraction
from ompd.images.geometry import geometry
from ompd.images.material import DrawnMaterial, Plan, StoredMaterial, deal
from ompd.images.reading import Points
from ompd.images.rounds import round_bytes
from ompd.images.streams import Draws, pixel_mask

#: Files with at least 40 of OpenCV's keypoints at 128 pixels.
MEDICAL = (
    "CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small.dcm",
    "examples_overlay.dcm", "image_dfl.dcm", "examples_rgb_color.dcm", "examples_jpeg2k.dcm",
)  # fmt: skip
NATURAL = (
    "ihc.png", "camera.png", "coins.png", "astronaut.png", "coffee.png", "chelsea.png",
    "hubble_deep_field.jpg", "brick.png",
)  # fmt: skip
#: Round trips of a local and of a wide network, in seconds, and bytes a second.
NETWORKS = {"lan": (0.0005, 125e6), "wan": (0.04, 12.5e6)}
_ROUNDS = 4 + 2 * 3


def pictures(side: int) -> dict[str, np.ndarray]:
    """Return the images of the evaluation, cut to a square and resized."""
    places = [Path(pydicom.__file__).parent / "data" / "test_files" / name for name in MEDICAL]
    places += [Path(skimage.__file__).parent / "data" / name for name in NATURAL]
    found = {}
    for place in places:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = read_image(place)
        least = min(image.shape)
        top, left = ((each - least) // 2 for each in image.shape)
        square = image[top : top + least, left : left + least]
        way = cv2.INTER_AREA if least > side else cv2.INTER_CUBIC
        found[place.name] = cv2.resize(square, (side, side), interpolation=way)
    return found


class Clock:
    """Adds up processor time by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def __call__(self, name: str, work: Any, *arguments: Any) -> Any:
        """Do some work."""
        start = time.process_time()
        result = work(*arguments)
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - start
        return result


def extract(image: np.ndarray, clock: Clock) -> Any:
    """Run dealer, clouds and physician on one image; returns its features."""
    size = geometry(*image.shape)
    draws = Draws.generate(), Draws.generate()
    room = np.empty(Plan(size).size, np.uint8)

    pieces = deal(size, *draws)
    start = 0
    # Where they are put is not the dealer's time.
    while (piece := clock("dealer", next, pieces, None)) is not None:
        room[start : start + piece.nbytes] = piece.reshape(-1).view(np.uint8)
        start += piece.nbytes
    masked = image.astype(np.uint64)
    for each in draws:
        masked += pixel_mask(each.pixel_key(), *image.shape)
    clouds = [
        clock("before leader", Extraction, size, True, draws[0], DrawnMaterial(draws[0])),
        clock("before other", Extraction, size, False, draws[1], StoredMaterial(room)),
    ]
    names = ("leader", "other")

    def both(method: str, left: Any, right: Any) -> list[Any]:
        work = [getattr(each, method) for each in clouds]
        arguments = (left, right)
        return [clock(names[i], work[i], *arguments[i]) for i in range(2)]

    sent = both("open_chunks", (masked,), (masked,))
    for method in ("open_results", "open_counts", "open_candidates", "candidates"):
        # A cloud goes on with its own arrays, so that the other one gets copies.
        sent = [[a.copy() for a in w] if isinstance(w, list) else w.copy() for w in sent]
        sent = both(method, (sent[1],), (sent[0],))
    candidates = sent[0]
    cubes = both("cubes", (candidates,), (candidates,))
    points = clock("physician", Points, size, candidates, cubes[0] + cubes[1])
    turned = both("orientations", *[(points.places, points.scales)] * 2)
    poses = clock("physician", points.posed, size, turned[0] + turned[1])
    sums = both("descriptors", *[(poses.places, poses.poses)] * 2)
    return clock("physician", poses.described, size, sums[0] + sums[1]), len(candidates)


def measure(side: int, repeats: int) -> dict[str, Any]:
    """Return times, bytes and agreement at one size."""
    os.environ["OMPD_THREADS"] = "1"
    cv2.setNumThreads(1)
    images = pictures(side)
    opencv = cv2.SIFT_create()
    times: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {"leader": [], "other": []}
    example = images["CT_small.dcm"]
    extract(example, Clock())
    for _ in range(repeats):
        clock = Clock()
        # The faster of three: a busy machine slows the shorter one more.
        start = min(timed(opencv, example) for _ in range(3))
        extract(example, clock)
        times.setdefault("opencv", []).append(start)
        for name, spent in clock.spent.items():
            times.setdefault(name, []).append(spent)
        for name, found in ratios.items():
            found.append(clock.spent[name] / start)
    agreement = {}
    opened = 0
    theirs = 0
    for name, image in images.items():
        features, candidates = extract(image, Clock())
        agreement[name] = compare(features, image)
        opened += candidates
        theirs += agreement[name]["opencv_features"]
    size = geometry(side, side)
    online = sum(round_bytes(size, number) for number in range(1, 5))
    dealt = Plan(size).size
    longest = statistics.median(times["leader"])
    rows = list(agreement.values())
    return {
        "side": side,
        "seconds": {name: statistics.median(each) for name, each in times.items()},
        "ratio_to_opencv": {name: statistics.median(each) for name, each in ratios.items()},
        "online_bytes_each_way": online,
        "online_bytes_per_pixel": online / side**2,
        "dealt_bytes": dealt,
        "dealt_bytes_per_pixel": dealt / side**2,
        "arithmetic_seconds": {
            name: longest + _ROUNDS * trip + (online + 8 * side**2) / rate
            for name, (trip, rate) in NETWORKS.items()
        },
        "candidates_per_opencv_feature": opened / theirs,
        "recall_mean": statistics.mean(each["recall"] for each in rows),
        "recall_least": min(each["recall"] for each in rows),
        "precision_mean": statistics.mean(each["precision"] for each in rows),
        "precision_least": min(each["precision"] for each in rows),
        "cosine_median": statistics.median(each["descriptor_cosine_median"] for each in rows),
        "images": agreement,
    }


def warped(
    image: np.ndarray, angle: float, scale: float, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a turned, scaled and shifted image, with the map of places, (2, 3)."""
    side = image.shape[0]
    places = cv2.getRotationMatrix2D((side / 2 - 0.5,) * 2, angle, scale)
    places[0, 2] += shift
    border = cv2.BORDER_REFLECT_101
    return cv2.warpAffine(image, places, (side, side), flags=2, borderMode=border), places


def changed(image: np.ndarray, seed: int = 1) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return changed images, each with the map of places, (2, 3)."""
    still = np.array([[1, 0, 0], [0, 1, 0.0]])
    noisy = image + np.random.default_rng(seed).normal(0, 5, image.shape)
    return {
        "shift 3": warped(image, 0, 1, 3),
        "rotation 15": warped(image, 15, 1),
        "rotation 90": warped(image, 90, 1),
        "scale .8": warped(image, 0, 0.8),
        "noise 5": (np.clip(noisy, 0, 255).astype(np.uint8), still),
        "contrast .7": (np.clip(image * 0.7 + 20, 0, 255).astype(np.uint8), still),
    }


def matched(left: Any, right: Any, places: np.ndarray, within: float = 2.0) -> tuple[int, int]:
    """Return how many features pass the ratio test at .8, and how many of them are right."""
    (points, one), (others, two) = left, right
    if len(points) < 1 or len(others) < 2:
        return 0, 0
    nearness = one @ two.T
    order = np.argsort(-nearness, axis=1)[:, :2]
    best, second = np.take_along_axis(nearness, order, axis=1).T
    passed = (2 - 2 * best) < 0.64 * (2 - 2 * second)
    moved = points[:, :2] @ places[:, :2].T + places[:, 2]
    near = np.linalg.norm(moved - others[order[:, 0], :2], axis=1) <= within
    return int(passed.sum()), int((passed & near).sum())


def unit_features(opencv: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return OpenCV's places and descriptors of length 1."""
    keypoints, found = opencv.detectAndCompute(image, None)
    points = np.array([each.pt for each in keypoints]).reshape(-1, 2)
    return points, found / np.linalg.norm(found, axis=1, keepdims=True)


def robustness(side: int) -> dict[str, dict[str, float]]:
    """Return which share of matches between images and changed ones is right, ours and OpenCV's."""
    opencv = cv2.SIFT_create()

    def ours(image: np.ndarray) -> Any:
        features = extract(image, Clock())[0]
        return features.points, features.descriptors

    counts: dict[str, dict[str, np.ndarray]] = {}
    for image in pictures(side).values():
        for name, features in (
            ("ours", ours),
            ("opencv", lambda each: unit_features(opencv, each)),
        ):
            before = features(image)
            for change, (after, places) in changed(image).items():
                found = np.array(matched(before, features(after), places))
                sums = counts.setdefault(change, {})
                sums[name] = sums.get(name, np.zeros(2, int)) + found
    counts["all"] = {
        name: np.sum([each[name] for each in counts.values()], axis=0)
        for name in ("ours", "opencv")
    }
    return {
        change: {name: float(right / passed) for name, (passed, right) in each.items()}
        for change, each in counts.items()
    }


def timed(opencv: Any, image: np.ndarray) -> float:
    """Return OpenCV's processor time for one image."""
    start = time.process_time()
    opencv.detectAndCompute(image, None)
    return time.process_time() - start


def test_agreement() -> None:
    """At 64 pixels, on two images: a check that the benchmark runs."""
    for name in ("CT_small.dcm", "camera.png"):
        image = pictures(64)[name]
        features, _ = extract(image, Clock())
        assert compare(features, image)["recall"] > 0.85


def main(
    mode: Annotated[str, typer.Option(help="hidden or extract.")] = "hidden",
    side: Annotated[int, typer.Option(help="Height and width, in pixels.")] = 128,
    repeats: Annotated[int, typer.Option(help="Of the timing.")] = 7,
    matches: Annotated[bool, typer.Option(help="Also match with changed images.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure private image features beside OpenCV's."""
    if mode == "hidden":
        # Which needs what is above.
        from bench import hidden_images as own
    else:
        own = sys.modules[__name__]
    found = own.measure(side, repeats)
    if matches:
        found["right_matches"] = own.robustness(side)
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("", "", title=f"{side} x {side} pixels, one thread")
    for name, value in found.items():
        if isinstance(value, dict):
            for inner, each in value.items():
                text = str(each) if isinstance(each, dict) else f"{each:.4g}"
                table.add_row(f"{name} {inner}".replace("_", " "), text)
        else:
            table.add_row(name.replace("_", " "), f"{value:.4g}")
    Console(width=160).print(table)


if __name__ == "__main__":
    typer.run(main)
