"""Beyond one machine: a cloud's tables answered by the nodes of a cluster, and rows scored there.

`Tables` stands in for `FolderTables`: `crew` keeps workers and asks them, `worker` is what each of
them does, `copies` what it is brought, `spread` how a job is shared out; `rays` carries calls to
actors of Ray, and nothing else here needs it but `scores`. `hints` is the hospital's, and for its
own cluster.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.cluster.hints import hints_on
    from ompd.cluster.scores import Scorer, score
    from ompd.cluster.tables import Tables

# Lazily: a cloud and its workers load nothing of what a hospital learns with.
_HOMES = {
    "Scorer": "ompd.cluster.scores",
    "Tables": "ompd.cluster.tables",
    "hints_on": "ompd.cluster.hints",
    "score": "ompd.cluster.scores",
}

__all__ = ["Scorer", "Tables", "hints_on", "score"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.cluster' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
