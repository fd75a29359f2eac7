"""What a cloud draws from its key of one session, and the dealer can draw again."""

from __future__ import annotations

import secrets
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ompd.confidential import Confidential
from ompd.crypto.streams import STREAM_KEY_BYTES, KeyStream

__all__ = ["STREAM_KEY_BYTES", "Draws", "pixel_mask"]

#: Labels of the streams. Numbers count planes, then half planes, or layers.
_PIXEL_KEY, _PIXELS, FIRST, SECOND, COUNTS, GIVEN = range(6)
#: Of hidden mode: masks of bits, of sites, of what lies around them and of counts of slots; orders
#: of slots; masks of slots on their way.
BITS, SITES, MAPS, SLOTS, ORDER, MOVED, MOVED_BITS = range(6, 13)
#: Those of a match, whose numbers count stages and, in the lower 16 bits, blocks of features.
SETTLED, FEATURES, TEMPLATES, SCORES, CHUNKS, RESULTS, SHARES, RANKS, BEST, LAST = range(32, 42)


class Draws(Confidential):
    """Random words of one cloud in one session.

    Parameters
    ----------
    key : bytes
        16 bytes, secret, of this session only.
    """

    __slots__ = ("_stream", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._stream = KeyStream(key)

    @classmethod
    def generate(cls) -> Self:
        """Draw a fresh key from the operating system."""
        return cls(secrets.token_bytes(STREAM_KEY_BYTES))

    def words(
        self, label: int, number: int, shape: tuple[int, ...], kind: Any = np.uint64
    ) -> npt.NDArray[Any]:
        """Return uniform words of a stream, as an array of that shape and type."""
        array = np.empty(shape, kind)
        self.fill(label, number, array.reshape(-1).view(np.uint8))
        return array

    def fill(self, label: int, number: int, into: npt.NDArray[np.uint8]) -> None:
        """Overwrite an array with the beginning of a stream."""
        self._stream.fill(label, number, into.data)

    def pixel_key(self) -> bytes:
        """Return the key of the pixels' mask, which the patient gets; the others it cannot draw."""
        return self.words(_PIXEL_KEY, 0, (STREAM_KEY_BYTES,), np.uint8).tobytes()


def pixel_mask(key: bytes, height: int, width: int) -> npt.NDArray[np.uint64]:
    """Return one cloud's mask of an image, uint64 (height, width)."""
    return Draws(key).words(_PIXELS, 0, (height, width))
