"""HTTP/1.1 as these servers speak it: uvicorn's protocol with deadlines, and one refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ompd.service.answers import REFUSAL

#: Seconds to receive a request from its first byte; a long body has one more for each MiB, once its
#: header was accepted.
PATIENCE = 10.0
#: Bytes of a request before its body.
_MOST_HEAD = 16 << 10
#: Seconds for which a connection that is to end goes on discarding what comes, so that the answer
#: is not lost to a reset.
_LINGER = 1.0
#: Seconds in which a peer takes something of an answer.
_STALL = 30.0
_MIB = 1 << 20


class _Broken(Exception):  # noqa: N818  (told to the parser, and to nobody else)
    """The request is not one of HTTP/1.1 as it is spoken here."""


class _Transport:
    """A transport that closes only when the peer has had time to read its answer.

    The head of an answer leaves with what follows it: each write is a packet, and wakes the peer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._ending: asyncio.TimerHandle | None = None
        # Whether a head comes next, and one that waits.
        self._is_head = False
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Tell whether nothing more is sent."""
        return self._ending is not None or self._transport.is_closing()

    def expect_head(self) -> None:
        """Keep what is written next until more is."""
        self._is_head = True

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        if self._is_head:
            self._is_head = False
            self._head = bytes(data)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.write(b"".join((head, data)))
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Send what is written, tell the peer that it is all, and wait for it a moment."""
        if self.is_closing():
            return
        if self._head:
            self.write(b"")
        self._ending = self._loop.call_later(_LINGER, self._transport.close)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()

    def close_now(self) -> None:
        """Close without waiting for the peer."""
        if self._ending is not None:
            self._ending.cancel()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """One connection.

    A request is received within its time, has a short head and a length, and follows the answer to
    the one before. Anything else is answered with `REFUSAL`, after the answers that are due.

    Parameters
    ----------
    *args, **kwargs
        As uvicorn has them.
    patience : float
        Seconds to receive a request.
    most : float
        Connections at a time.
    refused : callable
        Called for each refusal that no app knows of.
    """

    def __init__(
        self,
        *args: Any,
        patience: float,
        most: float,
        refused: Callable[[], object],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._refused = refused
        self._patience = patience
        self._most = most
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        # Of the request that is awaited or being received: whether something of it came, since
        # when it is awaited, and the bytes of its head until now; None behind its head.
        self._is_begun = False
        self._began = 0.0
        self._head: int | None = 0
        # Whether nothing is read any more.
        self._deaf = False

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; one that never comes does not stay either."""
        self._line = _Transport(transport, self.loop)
        super().connection_made(self._line)  # type: ignore[arg-type]
        if len(self.connections) > self._most:
            self._line.close_now()
        else:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; whoever waits for the rest of a request is told."""
        self._stop(self._deadline, self._stalled)
        self._line.close_now()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Close, where the answer was all that the peer waited for."""
        if self._line.is_closing():
            self._line.close_now()

    def data_received(self, data: bytes) -> None:
        """Read on, unless what came before was the last that is read."""
        if self._deaf or self._line.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._is_idle() and not self._is_begun:
            self._is_begun = True
            self._expect()
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse()
            return
        if self._head is not None:
            self._head += len(data)
            if self._head > _MOST_HEAD:
                self._refuse()

    def pause_writing(self) -> None:
        """Wait until the peer took what is written, and not for ever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALL, self._line.abort)

    def resume_writing(self) -> None:
        """Go on writing."""
        self._stop(self._stalled)
        super().resume_writing()

    # --- the parser, to which exceptions say that the request is broken

    def on_message_begin(self) -> None:
        """Begin a request, if the one before was answered."""
        if not self._is_idle():
            raise _Broken
        self._head = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; nobody is told to go on before it is known who sends."""
        super().on_header(name, value)
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Hand a request with a good head to the app."""
        self._head = None
        found = dict(self.headers)
        if (
            self.parser.get_http_version() != "1.1"
            or b"transfer-encoding" in found
            or (b"content-length" in found) != (self.parser.get_method() == b"POST")
            or sum(len(name) + len(value) for name, value in self.headers) > _MOST_HEAD
        ):
            raise _Broken
        self.scope["state"]["patience"] = self._allow
        self._line.expect_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock of a request that is here."""
        self._stop(self._deadline)
        self._deadline = None
        self._is_begun = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, if all of the one that was answered came."""
        super().on_response_complete()
        if self._deadline is not None:
            self._line.close()

    # --- deadlines and the refusal

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        """Give a request its time from now on."""
        self._stop(self._deadline)
        self._began = self.loop.time()
        self._deadline = self.loop.call_later(self._patience, self._refuse)

    def _allow(self, size: int) -> None:
        """Give the request that is being received the time that its length takes."""
        if self._deadline is not None:
            self._deadline.cancel()
            end = self._began + self._patience + size / _MIB
            self._deadline = self.loop.call_at(end, self._refuse)

    def _refuse(self) -> None:
        """Answer what is due, else with the refusal, and close."""
        cycle = self.cycle
        self._deaf = True
        if self._is_idle():
            self._refused()
            self._line.write(REFUSAL)
            self._line.close()
        elif cycle.more_body:
            # The app is told that the rest does not come.
            cycle.disconnected = True
            cycle.message_event.set()
            if not cycle.response_started:
                self._refused()
                self._line.write(REFUSAL)
            self._line.close()
        else:
            # uvicorn closes after it.
            cycle.keep_alive = False

    @staticmethod
    def _stop(*timers: asyncio.TimerHandle | None) -> None:
        for timer in timers:
            if timer is not None:
                timer.cancel()
