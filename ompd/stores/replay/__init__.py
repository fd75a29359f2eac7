"""Memory of accepted frames and their answers within the freshness window."""

from ompd.stores.replay.disk import DurableReplayGuard
from ompd.stores.replay.guard import FrameGuard
from ompd.stores.replay.memory import ReplayGuard

__all__ = ["DurableReplayGuard", "FrameGuard", "ReplayGuard"]
