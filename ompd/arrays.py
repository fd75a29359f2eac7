"""Types of arrays, and the one form in which compiled kernels get what they only read."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U64 = npt.NDArray[np.uint64]
Kind = TypeVar("Kind", bound=np.generic)

#: A common size of cache lines, in bytes.
LINE = 64


def frozen(array: npt.NDArray[Kind], boundary: int = 1) -> npt.NDArray[Kind]:
    """Return a read-only, aligned, C-contiguous view, or such a copy where there is no view.

    To the compiler each other form is another type, and a kernel that meets a new type is compiled
    anew, for seconds. Memory maps and received bytes are read-only; so is everything then.

    Parameters
    ----------
    array : ndarray
    boundary : int, default 1
        Where the first element shall lie, in bytes: a power of two.
    """
    if boundary > 1 and array.ctypes.data % boundary:
        plain = zeros_at(array.shape, array.dtype, boundary)
        plain[...] = array
    elif array.flags.c_contiguous and array.flags.aligned:
        plain = array.view(np.ndarray)
    else:
        plain = np.array(array, order="C")
    plain.setflags(write=False)
    return plain


def zeros_at(
    shape: tuple[int, ...], dtype: npt.DTypeLike, boundary: int = LINE
) -> npt.NDArray[Any]:
    """Return zeros whose first element lies on a boundary."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    raw = np.zeros(size + boundary, np.uint8)
    start = -raw.ctypes.data % boundary
    return raw[start : start + size].view(kind).reshape(shape)
