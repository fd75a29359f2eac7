"""One after the other, for each of several things."""

from __future__ import annotations

import asyncio
import threading
from collections import deque


class Turns:
    """Whose turn it is with each table: taken by any thread, waited for and left in one loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Who waits for each table that somebody has.
        self._waiting: dict[bytes, deque[asyncio.Future[None]]] = {}

    def take(self, table: bytes) -> bool:
        """Take a table that nobody has, and tell whether that was so."""
        with self._lock:
            if table in self._waiting:
                return False
            self._waiting[table] = deque()
            return True

    async def wait(self, table: bytes) -> None:
        """Take a table once all who asked before have left it."""
        with self._lock:
            line = self._waiting.get(table)
            if line is None:
                self._waiting[table] = deque()
                return
            turn = asyncio.get_running_loop().create_future()
            line.append(turn)
        await turn

    def leave(self, table: bytes) -> None:
        """Leave a table to whoever waits for it next."""
        with self._lock:
            line = self._waiting[table]
            while line:
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
            del self._waiting[table]
