"""State: tables, parties, accepted frames and privacy spent on disk; open requests in memory."""

from ompd.stores.budget import BudgetLedger
from ompd.stores.pending import CAPACITY, Pending
from ompd.stores.registry import PartyDirectory, Registry
from ompd.stores.replay import DurableReplayGuard, FrameGuard, ReplayGuard
from ompd.stores.tables import TableFolder

__all__ = [
    "CAPACITY",
    "BudgetLedger",
    "DurableReplayGuard",
    "FrameGuard",
    "PartyDirectory",
    "Pending",
    "Registry",
    "ReplayGuard",
    "TableFolder",
]
