"""Patient tables: three data sets that ship with the package, and a hospital's own CSV file.

``load("wbc")`` and ``load("mm")``, those of the paper, and ``load("cleveland")`` need no network;
they are checked against their SHA-256. ``load("path.csv", schema)`` reads any other table; its
errors name line and column, never a value. ``scan("path.csv", schema)`` reads people without
labels, piece by piece.
"""

from __future__ import annotations

from ompd.datasets._blocks import warmup_reader
from ompd.datasets._builtin import available
from ompd.datasets._dataset import Dataset
from ompd.datasets._ids import as_ids
from ompd.datasets._info import Change, DatasetInfo
from ompd.datasets._load import load, read_schema
from ompd.datasets._scan import People, scan

__all__ = [
    "Change",
    "Dataset",
    "DatasetInfo",
    "People",
    "as_ids",
    "available",
    "load",
    "read_schema",
    "scan",
    "warmup_reader",
]
