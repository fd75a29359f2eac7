"""Blinding that can be repeated, for evaluation on public data only.

Blinding breaks exact ties by noise from the operating system, so two runs of the same experiment
would differ in a few labels. Within `repeatable`, the same code draws from a seeded stream.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager


class _Stream:
    """Bytes from SHAKE-256 of a seed and a counter."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._drawn = 0

    def token_bytes(self, count: int = 32) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + self._drawn.to_bytes(8, "little")).digest(count)

    def randbits(self, bits: int) -> int:
        return int.from_bytes(self.token_bytes(-(-bits // 8)), "little") & ((1 << bits) - 1)

    def randbelow(self, bound: int) -> int:
        # 128 spare bits: the bias of the remainder is below 2**-128.
        return self.randbits(bound.bit_length() + 128) % bound


@contextmanager
def repeatable(seed: str) -> Iterator[None]:
    """Let `secrets` draw from a stream that depends on `seed` alone; one thread only."""
    stream = _Stream(seed)
    names = ("token_bytes", "randbits", "randbelow")
    saved = {name: getattr(secrets, name) for name in names}
    try:
        for name in names:
            setattr(secrets, name, getattr(stream, name))
        yield
    finally:
        for name, function in saved.items():
            setattr(secrets, name, function)
