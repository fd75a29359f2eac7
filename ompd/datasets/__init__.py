"""Patient tables: the two data sets of the paper, and a hospital's own CSV file.

``load("wbc")`` and ``load("mm")`` need no network: both files ship with the package and are
checked against their SHA-256. ``load("path.csv", schema)`` reads any other table; its errors name
line and column, never a value.
"""

from __future__ import annotations

from ompd.datasets._blocks import warmup_reader
from ompd.datasets._builtin import available
from ompd.datasets._dataset import Dataset
from ompd.datasets._ids import as_ids
from ompd.datasets._info import Change, DatasetInfo
from ompd.datasets._load import load

__all__ = [
    "Change",
    "Dataset",
    "DatasetInfo",
    "as_ids",
    "available",
    "load",
    "warmup_reader",
]
