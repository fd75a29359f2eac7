"""State: tables, collections, parties, accepted frames, privacy spent, and what was asked."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.stores.audit_log import AuditLog
    from ompd.stores.blind import BlindStore
    from ompd.stores.budget import BudgetLedger
    from ompd.stores.collections import Collections
    from ompd.stores.enquiries import EnquiryQuota
    from ompd.stores.keeper import Keeper
    from ompd.stores.registry import Registry
    from ompd.stores.replay import DurableReplayGuard, FrameGuard, ReplayGuard
    from ompd.stores.tables import FolderTables, MemoryTables, TableFolder
    from ompd.stores.till import Till
    from ompd.stores.wallet import Wallet

# Lazily: of these, only tables need the kernels.
_HOMES = {
    "AuditLog": "audit_log",
    "BlindStore": "blind",
    "BudgetLedger": "budget",
    "Collections": "collections",
    "DurableReplayGuard": "replay",
    "EnquiryQuota": "enquiries",
    "FolderTables": "tables",
    "FrameGuard": "replay",
    "Keeper": "keeper",
    "MemoryTables": "tables",
    "Registry": "registry",
    "ReplayGuard": "replay",
    "TableFolder": "tables",
    "Till": "till",
    "Wallet": "wallet",
}

__all__ = [
    "AuditLog",
    "BlindStore",
    "BudgetLedger",
    "Collections",
    "DurableReplayGuard",
    "EnquiryQuota",
    "FolderTables",
    "FrameGuard",
    "Keeper",
    "MemoryTables",
    "Registry",
    "ReplayGuard",
    "TableFolder",
    "Till",
    "Wallet",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.stores' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ompd.stores.{_HOMES[name]}"), name)
