"""Running the pages: on this device's own address, until the person closes them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable

from ompd.portal.app import App
from ompd.portal.house import House
from ompd.service.config import Listen
from ompd.service.serving import Addresses, serve

#: No other device reaches it.
HOST = "127.0.0.1"
#: Seconds for which the last page can still fetch its style; the record itself is closed to it.
_GRACE = 1.0


def run(house: House, port: int = 0, started: Callable[[], None] = lambda: None) -> None:
    """Serve until the person closes the record, SIGTERM or SIGINT.

    Parameters
    ----------
    house : House
        Its door announces the address that opens the record.
    port : int, default any that is free
    started : callable, optional
        Called once the pages answer, before the address is announced.

    Raises
    ------
    ConfigError
        If the port cannot be listened on.
    """

    async def until_closed() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        # Pages are made on threads.
        def close() -> None:
            loop.call_soon_threadsafe(loop.call_later, _GRACE, stop.set)

        house.close = close

        def begin(addresses: Addresses) -> None:
            started()
            house.door.open(addresses.service)

        listen = Listen(host=HOST, port=port, metrics_port=0)
        await serve(App(house, _life), listen, stop, started=begin)

    @contextlib.asynccontextmanager
    async def _life() -> AsyncIterator[None]:
        try:
            yield
        finally:
            house.leave()

    with asyncio.Runner() as runner:
        runner.run(until_closed())
