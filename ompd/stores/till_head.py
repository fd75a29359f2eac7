"""The last receipt that an authority gave, beside its books, so that older books are noticed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from ompd.errors import StoreError
from ompd.files import refusing

_NUMBER_BYTES = 8
_BYTES = _NUMBER_BYTES + 32


class TillHead:
    """Number and digest of a receipt, in a file of 40 bytes and mode 0600.

    It is written after the books and may lag behind them, by a kill or a failing power supply. It
    is never ahead of them, unless an older copy of the books was put back without it.

    Parameters
    ----------
    path : Path
        Made if it is missing.

    Raises
    ------
    StoreError
        From every method, if the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        with refusing(StoreError, self._name):
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._file = os.open(path, flags, 0o600)
            content = os.read(self._file, _BYTES)
        self._lock = threading.Lock()
        whole = len(content) == _BYTES
        #: Number of the receipt; 0 before the first.
        self.number = int.from_bytes(content[:_NUMBER_BYTES], "big") if whole else 0
        #: SHA-256 of it.
        self.digest = content[_NUMBER_BYTES:] if whole else b""

    def note(self, number: int, digest: bytes) -> None:
        """Keep a receipt as the last one, unless a later one is known here."""
        with self._lock, refusing(StoreError, self._name):
            if number > self.number:
                # In place: a part of a sector is there before or after, and needs no room.
                os.lseek(self._file, 0, os.SEEK_SET)
                os.write(self._file, number.to_bytes(_NUMBER_BYTES, "big") + digest)
                self.number, self.digest = number, digest

    def close(self) -> None:
        """Close the file; may be repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
