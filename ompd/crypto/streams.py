"""Random bytes that can be drawn again: AES of numbered blocks.

What was drawn from the operating system once and is needed later need not be kept: 32 bytes of key
give it again, block by block, in any order. To whoever does not know the key, different blocks
look independent and uniform, but for what tells AES from random permutations.
"""

from __future__ import annotations

import threading

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ompd.confidential import Confidential
from ompd.errors import KeyMaterialError

#: Bytes of a block.
BLOCK_BYTES = 16
KEY_BYTES = 32


class BlockStream(Confidential):
    """Blocks of 16 bytes under one key. Not for several threads at a time.

    Parameters
    ----------
    key : bytes
        32 bytes that are used for nothing else.

    Raises
    ------
    KeyMaterialError
        If the key is not 32 bytes.
    """

    __slots__ = ("_encryptor",)

    def __init__(self, key: bytes) -> None:
        if type(key) is not bytes or len(key) != KEY_BYTES:
            raise KeyMaterialError(f"key: expected {KEY_BYTES} bytes")
        # Numbers are public, and none is encrypted twice to hide that they are equal.
        self._encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305

    def draw(self, numbers: memoryview, into: memoryview) -> None:
        """Draw the blocks of n numbers.

        Parameters
        ----------
        numbers : memoryview of 16 * n bytes
            What is encrypted: each number from 0, little-endian.
        into : memoryview of 16 * n + 15 bytes
            The blocks; what is behind them means nothing.
        """
        self._encryptor.update_into(numbers, into)


#: Bytes of the key of a `KeyStream`.
STREAM_KEY_BYTES = 16
_STEP = 1 << 20
_ZEROS = memoryview(bytes(_STEP))


class KeyStream(Confidential):
    """Independent streams of random bytes under one key, by label and number: AES-128, CTR mode.

    Safe for several threads.

    Parameters
    ----------
    key : bytes
        16 bytes that are used for nothing else.

    Raises
    ------
    KeyMaterialError
        If the key is not 16 bytes.
    """

    __slots__ = ("_key", "_local")

    def __init__(self, key: bytes) -> None:
        if type(key) is not bytes or len(key) != STREAM_KEY_BYTES:
            raise KeyMaterialError(f"key: expected {STREAM_KEY_BYTES} bytes")
        self._key = algorithms.AES(key)
        # One context per thread: making one takes ten times longer than moving it.
        self._local = threading.local()

    def fill(self, label: int, number: int, into: memoryview) -> None:
        """Overwrite bytes with the beginning of a stream.

        Parameters
        ----------
        label, number : int
            Below 2^32. Streams of other labels or numbers have nothing in common with this one.
        into : memoryview
            Contiguous; at most 2^36 bytes.
        """
        # Counters of 64 bits below label and number: no two streams meet.
        start = label.to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(8)
        encryptor = getattr(self._local, "encryptor", None)
        if encryptor is None:
            encryptor = self._local.encryptor = Cipher(self._key, modes.CTR(start)).encryptor()
        else:
            encryptor.reset_nonce(start)
        into = into.cast("B")
        for first in range(0, len(into), _STEP):
            part = into[first : first + _STEP]
            encryptor.update_into(_ZEROS[: len(part)], part)
