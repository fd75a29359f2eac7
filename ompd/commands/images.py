"""Features of an image that no cloud sees, shown on one."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import plain_errors
from ompd.commands.image_match import match, noisy
from ompd.errors import BackendUnavailableError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ompd.images import Features

#: What both clouds learn of an image, apart from its size.
OPENED = {
    "hidden": "how many features there are",
    "extract": "places of candidates; which are features; their scales and angles",
}

images_app = typer.Typer(help="Find features in images that nobody who computes sees.")


@images_app.callback()
def _images() -> None:
    """Find features in images that nobody who computes sees."""


@images_app.command()
def demo(
    image: Annotated[
        Path | None,
        typer.Argument(
            help="DICOM, PNG or NumPy file, 16 to 512 pixels each way.",
            show_default="a slice of a tomogram that comes with pydicom",
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(help="hidden: clouds learn how many features there are; or extract: where."),
    ] = "hidden",
    picture: Annotated[
        Path | None, typer.Option(help="Where to draw OpenCV's keypoints and these, as PNG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Extract features through dealer, patient, two clouds and physician, beside OpenCV's.

    Then the clouds count how many of them match those of a noisy copy, and open nothing else.

    All five are in this process. In hidden mode, clouds learn how many features there are and
    nothing else; the patient discloses them to the physician. In extract mode, positions and scales
    of the candidates are open to both clouds: the outline of a body can be recognised in them.
    """
    with plain_errors():
        from ompd.images import read_image

        pixels = read_image(_example() if image is None else image)
        if mode == "hidden":
            features, found = _extract(pixels, "hidden")
            found |= compare_upright(features, pixels)
        elif mode == "extract":
            features, found = _extract(pixels, "extract")
            found |= compare(features, pixels)
        else:
            raise typer.BadParameter("expected hidden or extract", param_hint="--mode")
        if picture is not None:
            _draw(pixels, features, picture)
        if as_json:
            typer.echo(json.dumps(found))
            return
        table = Table("", "", title=f"{pixels.shape[0]} x {pixels.shape[1]} pixels")
        for name, value in found.items():
            kind = ".4g" if isinstance(value, float) else "," if isinstance(value, int) else ""
            table.add_row(name.replace("_", " "), format(value, kind).replace(",", " "))
        Console().print(table)


def _example() -> Path:
    try:
        from pydicom.data import get_testdata_file
    except ImportError:
        found = None
    else:
        found = get_testdata_file("CT_small.dcm", download=False)
    if found is None:
        raise BackendUnavailableError(
            "this command needs more: pip install 'ompd[images]', or name a file of NumPy (.npy)"
        )
    return Path(str(found))


def _extract(
    pixels: npt.NDArray[Any], mode: Literal["hidden", "extract"]
) -> tuple[Features, dict[str, Any]]:
    """Run the protocol; returns features, and what it took."""
    from ompd.images.warmup import warmup_images
    from ompd.roles import introduce
    from ompd.roles.imaging import Authority, ImageCloud, Patient, Physician, deliver
    from ompd.wire import Frame, Kind

    kinds = [kind for kind in Kind if kind >= Kind.IMAGE_KEY]
    authority, patient = Authority.create("dealer"), Patient.create("patient")
    left, right = ImageCloud.create("left"), ImageCloud.create("right")
    physician = Physician.create("physician")
    introduce(authority, patient, left, right, physician)
    warmup_images()
    sent: Counter[str] = Counter()
    rounds = 0

    def watch(_: str, frame: bytes) -> None:
        nonlocal rounds
        header = Frame.decode(frame, *kinds).header
        if header.kind is Kind.IMAGE_ROUND:
            sent[f"between_clouds_by_{header.sender}_bytes"] += len(frame)
            rounds = max(rounds, header.sequence)
        elif header.kind is Kind.MASKED_IMAGE:
            sent["masked_image_to_each_bytes"] = len(frame)
        elif header.kind is Kind.IMAGE_MATERIAL:
            sent["dealt_bytes"] += len(frame)
        elif header.recipient == "physician":
            sent["to_physician_bytes"] += len(frame)

    parties = (patient, left, right, physician)
    depth = 8 * pixels.dtype.itemsize
    start = time.perf_counter()
    shape = (*pixels.shape, depth)
    names: Any = {"clouds": ("left", "right"), "patient": "patient", "physician": "physician"}
    dealt = authority.deal(*shape, mode=mode, **names)
    deliver(dealt, *parties, watch=watch)
    middle = time.perf_counter()
    requests = patient.submit(pixels, mode=mode, disclose=True)
    deliver(requests, *parties, watch=watch)
    end = time.perf_counter()
    (session,) = physician.sessions
    features = physician.features()
    found = {
        "open_to_clouds": OPENED[mode],
        "features": len(features),
        "dealing_seconds": middle - start,
        "extracting_seconds": end - middle,
        "rounds": rounds,
        **sent,
    }
    # A second exposure, of which the physician knows the descriptors.
    deliver(authority.deal(*shape, mode=mode, **names), *parties)
    deliver(patient.submit(noisy(pixels), mode=mode, disclose=True), *parties)
    templates = physician.features().descriptors
    found |= match(authority, parties, session, len(features), templates, depth)
    return features, found


def compare(features: Features, pixels: npt.NDArray[Any]) -> dict[str, Any]:
    """Return how features agree with OpenCV's; nothing where it is not installed.

    Two keypoints are the same within one pixel and 7 % of the scale.
    """
    import numpy as np

    try:
        import cv2
    except ImportError:
        return {}
    grey = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    detector: Any = cv2.SIFT_create()
    keypoints, descriptors = detector.detectAndCompute(grey, None)
    found: dict[str, Any] = {"opencv_features": len(keypoints)}
    if not len(keypoints) or not len(features):
        return found
    theirs = np.array([(*each.pt, each.size, each.angle) for each in keypoints])
    same = same_points(theirs, features.points)
    apart = np.abs((theirs[:, None, 3] - features.points[None, :, 3] + 180) % 360 - 180)
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    cosines = (unit @ features.descriptors.T)[same & (apart < 10)]
    found["recall"] = float(same.any(axis=1).mean())
    found["precision"] = float(same.any(axis=0).mean())
    if len(cosines):
        found["descriptor_cosine_median"] = float(np.median(cosines))
    return found


#: Pixels within which an upright feature, which lies at a whole pixel of its octave, is OpenCV's.
_NEAR = 2.5


def compare_upright(features: Features, pixels: npt.NDArray[Any]) -> dict[str, Any]:
    """Return how upright features agree with OpenCV's; nothing where it is not installed.

    A feature is one of OpenCV's keypoints within 2.5 pixels and half an octave; its descriptor is
    compared with that which OpenCV makes, upright, of the keypoint.
    """
    import numpy as np

    try:
        import cv2
    except ImportError:
        return {}
    grey = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    detector: Any = cv2.SIFT_create()
    keypoints = detector.detect(grey, None)
    for each in keypoints:
        each.angle = 0
    keypoints, descriptors = detector.compute(grey, keypoints)
    found: dict[str, Any] = {"opencv_features": len(keypoints)}
    if not len(keypoints) or not len(features):
        return found
    theirs = np.array([(*each.pt, each.size) for each in keypoints])
    away = np.linalg.norm(features.points[:, None, :2] - theirs[None, :, :2], axis=2)
    away[np.abs(np.log2(features.points[:, None, 2] / theirs[None, :, 2])) > 0.5] = np.inf
    same = away <= _NEAR
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    nearest = away.argmin(axis=1)
    cosines = (features.descriptors * unit[nearest]).sum(axis=1)[same.any(axis=1)]
    found["near_opencv_features"] = float(same.any(axis=1).mean())
    found["opencv_features_found"] = float(same.any(axis=0).mean())
    if len(cosines):
        found["upright_descriptor_cosine_median"] = float(np.median(cosines))
    return found


def same_points(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which keypoints (x, y, size, ...) are the same, one row per left one."""
    import numpy as np

    near = np.linalg.norm(left[:, None, :2] - right[None, :, :2], axis=2) <= 1
    close = np.abs(np.log2(left[:, None, 2] / right[None, :, 2])) < 0.1
    return np.asarray(near & close, np.bool_)


def _draw(pixels: npt.NDArray[Any], features: Features, place: Path) -> None:
    """Draw OpenCV's keypoints in red on the left, these in green on the right."""
    import numpy as np

    from ompd.errors import BackendUnavailableError, ImageError

    try:
        import cv2
    except ImportError:
        raise BackendUnavailableError("a picture needs more: pip install 'ompd[images]'") from None
    grey = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    keypoints: Any = cv2.SIFT_create().detect(grey, None)
    theirs = [(*each.pt, each.size, each.angle) for each in keypoints]
    panels = []
    for points, colour in ((theirs, (0, 0, 255)), (features.points[:, :4], (0, 255, 0))):
        panel = cv2.resize(grey, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        panel = cv2.cvtColor(panel, cv2.COLOR_GRAY2BGR)
        for x, y, size, angle in points:
            centre = (round(4 * x + 2), round(4 * y + 2))
            turn = np.radians(angle)
            end = (
                centre[0] + round(2 * size * np.cos(turn)),
                centre[1] + round(2 * size * np.sin(turn)),
            )
            cv2.circle(panel, centre, round(2 * size), colour, 1, cv2.LINE_AA)
            cv2.line(panel, centre, end, colour, 1, cv2.LINE_AA)
        panels.append(panel)
    if not cv2.imwrite(str(place), np.hstack(panels)):
        raise ImageError("picture: cannot be written")
