"""A match of an image's features with those of a noisy copy, for the demonstration of images."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ompd.roles.imaging import Authority, ImageCloud, Patient, Physician

#: Standard deviation of the noise, as a share of white.
_NOISE = 0.01


def noisy(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the image as another exposure would give it."""
    import numpy as np

    white = np.iinfo(pixels.dtype).max
    noise = np.random.default_rng(1).normal(0, _NOISE * white, pixels.shape)
    found: npt.NDArray[Any] = np.clip(np.rint(pixels + noise), 0, white).astype(pixels.dtype)
    return found


def match(
    authority: Authority,
    parties: tuple[Patient, ImageCloud, ImageCloud, Physician],
    session: bytes,
    features: int,
    templates: npt.NDArray[np.float64],
    depth: int,
) -> dict[str, Any]:
    """Let the clouds count matches; returns the count, and what it took.

    Parameters
    ----------
    authority, parties
        All five know one another.
    session : bytes
        Of the image whose features the clouds keep.
    features : int
        At least as many as the image has.
    templates : ndarray of float, (m, 128)
    depth : int
    """
    from ompd.roles.imaging import deliver
    from ompd.wire import Frame, Kind

    patient, left, right, physician = parties
    clouds = (left.id, right.id)
    sent: Counter[str] = Counter()
    rounds = 0

    def watch(_: str, frame: bytes) -> None:
        nonlocal rounds
        header = Frame.decode(frame, *Kind).header
        if header.kind is Kind.IMAGE_MATERIAL:
            sent["match_dealt_bytes"] += len(frame)
        elif header.kind is Kind.MATCH_ROUND and header.sender == left.id:
            sent["match_between_clouds_each_way_bytes"] += len(frame)
            rounds += 1

    name, uploads = physician.upload_templates(templates, clouds)
    deliver(uploads, *parties)
    dealt = authority.deal_match(
        features, len(templates), depth, clouds=clouds, patient=patient.id, physician=physician.id
    )
    deliver(dealt, *parties, watch=watch)
    start = time.perf_counter()
    deliver(physician.match(session, name, depth), *parties, watch=watch)
    end = time.perf_counter()
    return {
        "templates": len(templates),
        "matches": physician.matches(),
        "matching_seconds": end - start,
        "match_rounds": rounds,
        **sent,
    }
