"""Running an app: addresses, TLS, signals, and an end that lets answers finish."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol as Form

import msgspec
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from ompd.errors import ConfigError
from ompd.service.config import Listen, Tls
from ompd.service.protocol import PATIENCE, Protocol

#: Seconds for which a connection may be idle; longer than clients keep theirs.
_KEEP_ALIVE = 75
#: Seconds that answers have to finish when the server is to end.
_GRACE = 60
#: Files that are no connections.
_OTHER_FILES = 256
_MOST_FILES = 16384
_BACKLOG = 2048


class Served(Form):
    """An ASGI app with a life, such as `Application`."""

    life: Callable[[], AbstractAsyncContextManager[object]]

    def refused(self) -> object:
        """Called for each request that was refused before the app was asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""


class Addresses(msgspec.Struct, frozen=True):
    """Where a server listens indeed: URLs without a path."""

    service: str
    metrics: str | None


def check_free(listen: Listen) -> None:
    """Refuse addresses that cannot be listened on, before whatever takes long.

    Raises
    ------
    ConfigError
    """
    for name, host, port in (
        ("listen", listen.host, listen.port),
        ("metrics", listen.metrics_host, listen.metrics_port),
    ):
        _bind(name, host, port).close()


def run(
    app: Served,
    listen: Listen,
    *,
    metrics: Served | None = None,
    started: Callable[[Addresses], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then accept nothing more, and let answers finish.

    Parameters
    ----------
    app : Served
        Its life begins before anybody can connect, and ends when all is answered.
    listen : Listen
    metrics : callable, optional
        App of the other port, which is there until the end.
    started : callable, optional
        Told the addresses once both answer.

    Raises
    ------
    ConfigError
        If an address cannot be listened on, or a file of TLS not be used.
    OmpdError
        As the app's life raises it.
    """

    async def until_told() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(app, listen, stop, metrics=metrics, started=started)

    # What is here stays until the end. The collector of cycles would look through all of it (Numba
    # has half a million objects) again and again, while everybody waits.
    gc.collect()
    gc.freeze()
    # Nor need it look at every 700 objects: a thousand open requests are many more, and no garbage.
    gc.set_threshold(50_000, 20, 20)
    # Whoever computes lets others have the interpreter after so long; 5 ms by default, which a
    # request would wait for at each of its steps.
    sys.setswitchinterval(0.001)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_told())


async def serve(
    app: Served,
    listen: Listen,
    stop: asyncio.Event,
    *,
    metrics: Served | None = None,
    started: Callable[[Addresses], None] | None = None,
    patience: float = PATIENCE,
) -> None:
    """Serve until an event; as `run`, in a loop that runs already.

    Parameters
    ----------
    app, listen, metrics, started
        As for `run`.
    stop : asyncio.Event
    patience : float
        Seconds to receive a request.
    """
    context = None if listen.tls is None else _tls(listen.tls)
    most = _raise_file_limit() - _OTHER_FILES
    door = _bind("listen", listen.host, listen.port)
    with contextlib.closing(door), contextlib.ExitStack() as stack:
        main = _Server(app, context, patience, most)
        servers = [(main, door)]
        if metrics is not None:
            side = _bind("metrics", listen.metrics_host, listen.metrics_port)
            stack.enter_context(contextlib.closing(side))
            servers.append((_Server(metrics, None, patience, most), side))
        async with app.life():
            tasks = [asyncio.ensure_future(each.serve(sockets=[at])) for each, at in servers]
            scheme = "http" if context is None else "https"
            urls = [_url(scheme, door), *(_url("http", at) for _, at in servers[1:])]
            while not all(each.started for each, _ in servers):
                await asyncio.sleep(0.01)
            if started is not None:
                started(Addresses(urls[0], urls[1] if urls[1:] else None))
            await stop.wait()
            # The figures can be read until the last answer.
            for (each, _), task in zip(servers, tasks, strict=True):
                each.should_exit = True
                await task


class _Server(uvicorn.Server):
    """uvicorn's, which is told by its caller when to end."""

    def __init__(
        self, app: Served, context: ssl.SSLContext | None, patience: float, most: int
    ) -> None:
        self._context = context
        self._patience = patience
        super().__init__(
            uvicorn.Config(
                app,
                http=functools.partial(Protocol, patience=patience, most=most, refused=app.refused),  # type: ignore[arg-type]
                ws="none",
                interface="asgi3",
                # Its errors would end the process; see `Application.life`.
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; a handshake of TLS has as long as a request."""
        loop = asyncio.get_running_loop()
        config = self.config

        def connection() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state={}, _loop=loop
            )

        self.servers = [
            await loop.create_server(
                connection,
                sock=each,
                ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else self._patience,
                backlog=config.backlog,
            )
            for each in sockets or []
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the caller."""
        yield


def _bind(name: str, host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be listened on: {error.strerror}") from None


def _url(scheme: str, at: socket.socket) -> str:
    host, port = at.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _tls(files: Tls) -> ssl.SSLContext:
    """Return the context of a server.

    Raises
    ------
    ConfigError
        If a file is missing or of another form, or a key of another certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password, so that nobody is asked for one.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (OSError, ValueError):
        raise ConfigError(
            "tls: expected the certificate and its key, without a password, in PEM"
        ) from None
    if files.clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.clients)
        except (OSError, ValueError):
            raise ConfigError("tls: expected the certificates of clients in PEM") from None
    return context


def _raise_file_limit() -> int:
    """Let the process have as many files as it may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return min(max(soft, most), _MOST_FILES)
