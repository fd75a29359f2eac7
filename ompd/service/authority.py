"""The authority's server: sells tokens to those who are known, evaluates for whoever has one."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response

from ompd.errors import OmpdError, StoreError
from ompd.roles.authority import Authority
from ompd.service.acquaintance import renew_prekey
from ompd.service.answers import Busy, octets
from ompd.service.application import Application, route
from ompd.service.config import AuthorityConfig
from ompd.service.crew import Crew
from ompd.service.fair import Pace
from ompd.service.intake import Intake, read_body
from ompd.service.journal import Journal
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.service.operations import operations_app
from ompd.service.parties import open_authority_server
from ompd.service.running import Running, told
from ompd.service.serving import Addresses, run
from ompd.stores.audit_lines import Event
from ompd.wire import Kind
from ompd.wire.payments import MAX_LETTER_BYTES

#: Requests that may be here at a time; others are told to come again.
_MOST = 64
_THREADS = 2
#: Seconds after which another try is worth its while.
_SOON, _LATER = 1, 5
#: Seconds between looks at the authority's own short-lived key.
_KEYS = 600.0


class AuthorityServer:
    """An authority behind HTTP.

    Parameters
    ----------
    authority : Authority
        With a memory of frames that outlives the process.
    journal : Journal
    evaluations : float
        Most evaluations per second from one address.

    Attributes
    ----------
    app : Application
    """

    def __init__(self, authority: Authority, journal: Journal, evaluations: float) -> None:
        self._authority = authority
        self._journal = journal
        self._pace = Pace(evaluations)
        self._intake = Intake(authority.check_header, Kind.ACCOUNT_REQUEST)
        self._crew = Crew("ompd-answers", _THREADS)
        self._count = 0
        self._failing = False
        self.app = Application(
            [
                route("POST", "/v1/frames", self._frames),
                route("POST", "/v1/evaluations", self._evaluations),
                route("GET", "/v1/identity", self._identity),
                route("GET", "/health/live", self._live),
                route("GET", "/health/ready", self._ready),
            ],
            self._life,
            refused=journal.metrics.strangers.inc,
        )

    def status(self) -> dict[str, object]:
        """Return what ``/status`` tells."""
        return {
            "party": self._authority.id,
            "role": "authority",
            "ready": not self._failing,
            "requests": self._count,
        }

    @contextlib.asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        duty = asyncio.ensure_future(self._keep_key())
        try:
            yield
        finally:
            duty.cancel()
            await asyncio.gather(duty, return_exceptions=True)
            self._crew.close()

    async def _identity(self, _: Request) -> Response:
        return octets(self._authority.public.to_bytes())

    async def _live(self, _: Request) -> Response:
        return Response()

    async def _ready(self, _: Request) -> Response:
        return Response(status_code=503 if self._failing else 200)

    async def _frames(self, request: Request) -> Response:
        async with self._intake.frame(request) as received:
            answer = await self._do(self._authority.serve_or_refuse, received.data)
            header = received.header
            event = Event(time.time(), header.sender, header.kind.words, "", "answered")
            await self._crew.do(self._journal.write, [event])
            return octets(answer)

    async def _evaluations(self, request: Request) -> Response:
        # Nobody's name is known here, and nothing is noted: the books have a receipt.
        letter = await read_body(request, MAX_LETTER_BYTES)
        # A letter costs work before it shows whether it is paid for, and nobody's name is on it.
        if wait := self._pace.enter(request.client.host if request.client else ""):
            raise Busy(math.ceil(wait))
        return octets(await self._do(self._authority.evaluate, letter))

    async def _do(self, work: Callable[[bytes], bytes], data: bytes) -> bytes:
        if self._count >= _MOST:
            raise Busy(_SOON)
        self._count += 1
        try:
            with self._journal.metrics.timed("answer"):
                # Whoever is gone meanwhile may ask again, and gets the same.
                answer = await self._crew.do(work, data)
            self._failing = False
        except StoreError as error:
            self._failing = True
            self._journal.trouble("the disk refused", error)
            raise Busy(_LATER) from None
        finally:
            self._count -= 1
        return answer

    async def _keep_key(self) -> None:
        """Have a short-lived key that is valid for a while."""
        while True:
            try:
                if await self._crew.do(renew_prekey, self._authority):
                    self._journal.event("rotate", "", "done")
            except OmpdError as error:
                self._journal.trouble("a short-lived key cannot be made", error)
            await asyncio.sleep(_KEYS)


def serve_authority(config: AuthorityConfig, started: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; as `serve_cloud`.

    Raises
    ------
    OmpdError
        If the authority cannot be opened, or an address not be listened on.
    """
    log = logger(config.id)
    with open_authority_server(config) as (authority, audit), contextlib.ExitStack() as stack:
        metrics = Metrics()
        server = AuthorityServer(authority, Journal(metrics, audit, log), config.evaluations)

        def begin(addresses: Addresses) -> None:
            stack.enter_context(told(config.state, Running.of(addresses)))
            log.info("serving")
            started(addresses)

        operations = operations_app(metrics, server.status)
        run(server.app, config.listen, metrics=operations, started=begin)
