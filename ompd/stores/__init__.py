"""State between messages, in memory: what was received, and what still awaits an answer."""

from ompd.stores.pending import Pending
from ompd.stores.replay import ReplayGuard

__all__ = ["Pending", "ReplayGuard"]
