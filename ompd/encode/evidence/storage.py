"""Arrays as bytes that show any damage.

A text that names the form, then texts and arrays in the order in which they were written, then
the BLAKE2b digest of all that. Texts carry their length, arrays their shape, each as 64 bits;
numbers have 64 bits and everything is little-endian. What an array means follows from its place.

The digest has no key: it finds accidents, not forgeries. So the reader also bounds whatever
serves as an index or a size.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64
from ompd.errors import StoreError

_DIGEST_BYTES = 32
_WORD = 8


class Writer:
    """Collects texts and arrays.

    Parameters
    ----------
    form : bytes
        Name and version of what is written.
    """

    def __init__(self, form: bytes) -> None:
        self._parts: list[bytes] = []
        self.text(form)

    def text(self, text: bytes) -> None:
        """Add bytes."""
        self._parts += [_word(len(text)), text]

    def floats(self, array: F64 | float) -> None:
        """Add floating-point numbers of any shape."""
        self._add(np.asarray(array, "<f8"))

    def integers(self, array: I64 | int) -> None:
        """Add non-negative integers below 2**63, of any shape."""
        self._add(np.asarray(array, "<i8"))

    def finish(self) -> bytes:
        """Return all that was added, with the digest."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for part in self._parts:
            digest.update(part)
        return b"".join([*self._parts, digest.digest()])

    def _add(self, array: npt.NDArray[np.generic]) -> None:
        self._parts += [_word(size) for size in array.shape]
        self._parts.append(array.tobytes())


class Reader:
    """Gives back what a `Writer` collected, in the same order.

    Parameters
    ----------
    data : bytes
    form : bytes
        As the writer's.

    Raises
    ------
    StoreError
        If the data is no bytes, damaged or of another form. So do all methods.
    """

    def __init__(self, data: bytes, form: bytes) -> None:
        if type(data) is not bytes:
            raise StoreError(f"data: expected bytes, got {type(data).__name__}")
        self._rest, digest = memoryview(data)[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if hashlib.blake2b(self._rest, digest_size=_DIGEST_BYTES).digest() != digest:
            raise StoreError("data: is damaged or foreign")
        self.require(self.text() == form)

    def text(self) -> bytes:
        """Return bytes."""
        return bytes(self._take(self._size()))

    def floats(self, *shape: int | None, finite: bool = True) -> F64:
        """Return numbers of the given shape, of which None is any size.

        Unless told otherwise, they are finite.
        """
        array: F64 = self._array("<f8", shape).astype(np.float64)
        self.require(not finite or bool(np.isfinite(array).all()))
        return array

    def places(self, *shape: int | None, below: int) -> I64:
        """Return integers from 0 to less than `below`, of the given shape."""
        array: I64 = self._array("<i8", shape).astype(np.int64)
        self.require(bool(((array >= 0) & (array < below)).all()))
        return array

    def end(self) -> None:
        """Refuse anything more."""
        self.require(not self._rest)

    @staticmethod
    def require(condition: bool) -> None:
        """Refuse the data unless the condition holds.

        Raises
        ------
        StoreError
        """
        if not condition:
            raise StoreError("data: is of another form")

    def _array(self, kind: str, shape: tuple[int | None, ...]) -> npt.NDArray[np.generic]:
        sizes = [self._size() for _ in shape]
        self.require(all(due in {None, size} for due, size in zip(shape, sizes, strict=True)))
        # A size beside a 0 takes no bytes, but must be bounded as well. Nothing that is stored is
        # empty in one direction only.
        self.require(max(sizes, default=0) <= len(self._rest))
        content = self._take(_WORD * math.prod(sizes))
        return np.frombuffer(content, kind).reshape(sizes)

    def _size(self) -> int:
        return int.from_bytes(self._take(_WORD), "little")

    def _take(self, count: int) -> memoryview:
        self.require(count <= len(self._rest))
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


def _word(number: int) -> bytes:
    return number.to_bytes(_WORD, "little")
