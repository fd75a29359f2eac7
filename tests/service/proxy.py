"""A proxy of HTTP between parties: it may be away, lose answers, or keep them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading


class Proxy:
    """Listens on a port of its own for as long as the block takes, whoever is behind it.

    Attributes
    ----------
    target : tuple of (str, int) or None
        Where requests go; None for nowhere: connections are closed at once.
    lose_first : bool
        Whether the first answer to every request is lost after it was received.
    swallow : bool
        Whether requests are taken and never passed on.
    lost : int
        How many answers were.
    """

    def __init__(self) -> None:
        self.target = None
        self.lose_first = False
        self.swallow = False
        self.lost = 0
        self._seen = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self):
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 26)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self):
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        upstream = None
        try:
            while (request := await _message(reader)) is not None:
                if self.target is None:
                    break
                if self.swallow:
                    await asyncio.sleep(3600)
                if upstream is None:
                    upstream = await asyncio.open_connection(*self.target, limit=1 << 26)
                upstream[1].write(request)
                answer = await _message(upstream[0])
                if answer is None:
                    break
                digest = hashlib.sha256(request).digest()
                if self.lose_first and digest not in self._seen:
                    self._seen.add(digest)
                    self.lost += 1
                    break
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer.partition(b"\r\n\r\n")[0].lower():
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for each in (writer, *(upstream or ())[1:]):
                with contextlib.suppress(RuntimeError):
                    each.close()


async def _message(reader):
    """A request or an answer with its length, None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    length = 0
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)
