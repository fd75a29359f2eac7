"""State: tables on disk; in memory, what was received and what still awaits an answer."""

from ompd.stores.pending import Pending
from ompd.stores.replay import ReplayGuard
from ompd.stores.tables import TableFolder

__all__ = ["Pending", "ReplayGuard", "TableFolder"]
