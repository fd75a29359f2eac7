"""Threads that do what would hold up an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Crew:
    """A few threads.

    Parameters
    ----------
    name : str
    threads : int
        How many calls are done at a time; others wait.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def do(self, call: Callable[..., T], *arguments: object) -> T:
        """Have a call done; returns, or raises, what it does."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def close(self) -> None:
        """Wait for what is being done; what has not begun is not done any more."""
        self._pool.shutdown(cancel_futures=True)
