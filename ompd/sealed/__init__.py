"""Private retrieval: the cloud keeps encrypted buckets and never learns which of them are read.

A hospital cuts its table into small buckets of neighbouring rows, encrypts and shuffles them and
uploads them (`build`, `rows`). To answer a query it ranks the buckets (`partition`), asks for a
fixed number of them through hints (`hints`), opens what comes back and searches it exactly
(`tickets`), or asks for the whole table and searches all its queries in that (`whole`). What
changes afterwards stays with the hospital and is searched beside it (`edits`). `table` is the door
to all this, `folder` keeps it on disk. The cloud's part is `server`, which needs no secret and
imports none of the others but `layout`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.sealed.edits import Change
    from ompd.sealed.found import Found
    from ompd.sealed.layout import Layout
    from ompd.sealed.server import answer, check_layout, check_request
    from ompd.sealed.table import SealedTable
    from ompd.sealed.tickets import Ticket
    from ompd.sealed.window import whole_is_cheaper

# Lazily, so that the cloud loads no key material's code with its own.
_HOMES = {
    "Change": "ompd.sealed.edits",
    "Found": "ompd.sealed.found",
    "Layout": "ompd.sealed.layout",
    "SealedTable": "ompd.sealed.table",
    "Ticket": "ompd.sealed.tickets",
    "answer": "ompd.sealed.server",
    "check_layout": "ompd.sealed.server",
    "check_request": "ompd.sealed.server",
    "whole_is_cheaper": "ompd.sealed.window",
}

__all__ = [
    "Change",
    "Found",
    "Layout",
    "SealedTable",
    "Ticket",
    "answer",
    "check_layout",
    "check_request",
    "whole_is_cheaper",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.sealed' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
