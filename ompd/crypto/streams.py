"""Random bytes that can be drawn again: AES-256 of numbered blocks.

What was drawn from the operating system once and is needed later need not be kept: 32 bytes of key
give it again, block by block, in any order. To whoever does not know the key, different blocks
look independent and uniform, but for what tells AES from random permutations.
"""

from __future__ import annotations

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
