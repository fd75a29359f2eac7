"""What a hospital calls its rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ompd.arrays import Array
from ompd.errors import DatasetError

#: Most characters of an id; they are kept as arrays of the longest one's width.
MAX_ID = 64


def as_ids(ids: Any, rows: int | None = None) -> Array:
    """Return ids as an own array of text of shape (N,).

    Parameters
    ----------
    ids : array, series or sequence of texts or integers
    rows : int, optional
        How many there must be.

    Raises
    ------
    DatasetError
        If one is no text or integer, empty, too long or there twice, or their number is wrong.
    """
    expected = f"ids: expected texts of 1 to {MAX_ID} characters, or integers, one per row"
    for method in ("to_pylist", "tolist", "to_list"):
        if hasattr(ids, method):
            ids = getattr(ids, method)()
            break
    if isinstance(ids, (str, bytes)) or not isinstance(ids, (list, tuple)):
        raise DatasetError(expected)
    listed = [text_of(each) for each in ids]
    if None in listed:
        raise DatasetError(f"{expected}, got another one in row {listed.index(None)}")
    if rows is not None and len(listed) != rows:
        raise DatasetError(f"ids: expected {rows}, one per row, got {len(listed)}")
    if len(set(listed)) != len(listed):
        raise DatasetError("ids: expected different ones, got one twice")
    return np.array(listed, dtype=np.str_)


def surely_differ(ids: Array) -> bool:
    """Return True if no two texts are the same; False if that must be looked at one by one.

    Parameters
    ----------
    ids : array of text of shape (N,), contiguous
    """
    if not len(ids) or not ids.dtype.itemsize:
        return False
    # Sums of 64 bits differ for different texts but for one in 10^7 tables of 10^6 rows, and those
    # of the same text are the same.
    sums = np.zeros(len(ids), dtype=np.uint64)
    for letters in ids.view(np.uint32).reshape(len(ids), -1).T:
        sums *= np.uint64(0x9E37_79B9_7F4A_7C15)
        sums += letters
    sums.sort()
    return bool((sums[1:] != sums[:-1]).all())


def text_of(value: Any) -> str | None:
    """Return one id as text, or None if it is none."""
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (int, np.integer)):
        value = str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        # Integers become floats where another row has none.
        value = str(int(value))
    if not isinstance(value, str):
        return None
    stripped = value.strip(" \t")
    # NumPy's texts cannot end in NUL.
    return stripped if 0 < len(stripped) <= MAX_ID and "\0" not in stripped else None
