"""Five minutes of a real pulse: the beginning of the third example recording of HeartPy 1.2.7.

By Paul van Gent, MIT licence, which is in `heartpy_LICENSE` beside this file. Of its times, steps
in milliseconds are kept, and its values as they are. A third of the samples have the time of
another.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

_PATH = Path(__file__).parent / "heartpy_data3.npz"
_SHA256 = "eaebc29155d526ca62c66476150288b66ff475697ed048bd3ca29517aa9cd460"


def pulse():
    """Times in seconds since the epoch, sorted, and values."""
    content = _PATH.read_bytes()
    assert hashlib.sha256(content).hexdigest() == _SHA256
    found = np.load(io.BytesIO(content), allow_pickle=False)
    times = (found["start"] + np.cumsum(found["steps"].astype(np.int64))) / 1000
    return times, found["values"].astype(np.float64)
