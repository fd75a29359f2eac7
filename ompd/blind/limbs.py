"""Python integers as 64-bit limbs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ompd.arrays import U64


def to_limbs(values: Iterable[int], limbs: int) -> U64:
    """Return non-negative integers below 2**(64*limbs) as uint64 array (count, limbs)."""
    data = b"".join(int(value).to_bytes(8 * limbs, "little") for value in values)
    return np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(-1, limbs)
