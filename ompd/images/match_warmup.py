"""A small match, to compile its kernels."""

from __future__ import annotations

import numpy as np

from ompd.images.features import SharedFeatures, share
from ompd.images.match_material import deal_match
from ompd.images.match_plan import match_plan
from ompd.images.matching import Matching
from ompd.images.material import DrawnMaterial, Material, StoredMaterial
from ompd.images.streams import Draws

_ROWS = 3


def warmup_matches() -> None:
    """Compile the kernels of matches, or load them."""
    plan = match_plan(_ROWS, _ROWS)
    draws = Draws.generate(), Draws.generate()
    data = b"".join(piece.tobytes() for piece in deal_match(plan, *draws))
    rows = share(np.eye(_ROWS, 128, dtype=np.int64) << 9)
    # The other cloud's material may be read only.
    materials: tuple[Material, Material] = (
        DrawnMaterial(draws[0]),
        StoredMaterial(np.frombuffer(data, np.uint8)),
    )
    works = [
        Matching(plan, leader, own, material, SharedFeatures(8, half.shares), half).rounds()
        for leader, own, material, half in zip((True, False), draws, materials, rows, strict=True)
    ]
    opened = [next(work) for work in works]
    for _ in range(plan.rounds - 1):
        copies = [[each.copy() for each in some] for some in opened]
        opened = [work.send(copies[1 - place]) for place, work in enumerate(works)]
