"""The hospital's server."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ompd.errors import BusyError, OmpdError
from ompd.roles import Hospital
from ompd.service.answers import Busy, Refused, octets
from ompd.service.application import Application, route
from ompd.service.batching import Batching
from ompd.service.blind import KINDS, BlindAnswers
from ompd.service.cds.mounted import mounted
from ompd.service.config import HospitalConfig
from ompd.service.crew import Crew
from ompd.service.duties import Duties
from ompd.service.intake import Intake, read_body
from ompd.service.journal import Journal
from ompd.service.link import Link
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.service.operations import operations_app
from ompd.service.parties import open_hospital_server
from ompd.service.running import Running, told
from ompd.service.serving import Addresses, run
from ompd.service.uploading import Order, Uploading
from ompd.wire import Kind

#: Calls of the hospital at a time, and of what is done beside.
_THREADS = 4
_SIDE_THREADS = 3
#: Seconds after which a catalogue is made anew; it is valid for days.
_CATALOGUE = 3600.0
#: Seconds that accepted queries have when the server is to end.
_GRACE = 30.0
_MOST_ORDER = 64 << 10


class HospitalServer:
    """Answers users, and does what a hospital has to do beside that.

    Parameters
    ----------
    hospital : Hospital
    config : HospitalConfig
    journal : Journal
    """

    def __init__(self, hospital: Hospital, config: HospitalConfig, journal: Journal) -> None:
        self._hospital = hospital
        self._config = config
        self._journal = journal
        self._link = Link(config.clouds, config.connect)
        self._crew = Crew("hospital", _THREADS)
        self._side = Crew("beside", _SIDE_THREADS)
        self._intake = Intake(hospital.check_header, Kind.QUERY, *KINDS)
        self._blind = BlindAnswers(hospital, self._crew, journal)
        self._catalogue: tuple[object, float, bytes] = (None, 0.0, b"")
        self._started = time.time()
        # What orders have to come with, once there is one.
        self.token = ""
        self._ready = False
        self._orders: set[asyncio.Task[None]] = set()

    def app(self, others: Sequence[Route] = ()) -> Application:
        """Return what users reach; `others` is what else is mounted."""
        routes = [
            route("POST", "/v1/frames", self._frames),
            route("GET", "/v1/diseases", self._diseases),
            route("GET", "/v1/identity", self._identity),
            route("GET", "/health/live", self._live),
            route("GET", "/health/ready", self._is_ready),
            *others,
        ]
        return Application(routes, self._life, self._journal.metrics.strangers.inc)

    def side(self) -> Application:
        """Return what the machine itself reaches."""
        outsource = route("POST", "/outsource", self._outsource)
        return operations_app(self._journal.metrics, self.status, [outsource])

    async def answer(self, query: bytes) -> bytes | None:
        """Answer a query that came by another road than the endpoint; as `Batching.answer`."""
        return await self._batching.answer(query)

    def status(self) -> dict[str, Any]:
        """Return how the server does, as JSON says it; no users and no values."""
        hospital, figure = self._hospital, self._journal.metrics.figure
        outcomes = ("answered", "refused", "failed", "busy", "repeated")
        return {
            "party": hospital.id,
            "role": "hospital",
            "profile": hospital.profile,
            "seconds": time.time() - self._started,
            "ready": self._can_answer(),
            "queries": {each: int(figure("ompd_queries_total", outcome=each)) for each in outcomes},
            "batches": int(figure("ompd_batch_queries_count")),
            "open": len(self._batching),
            "jobs": hospital.open_jobs,
            "clouds": self._link.reached,
            "tables": [
                {
                    "disease": disease,
                    "cloud": table.cloud,
                    "rows": table.rows,
                    "k": table.k,
                    "left": hospital.remaining(disease),
                }
                for disease, table in sorted(hospital.tables.items())
            ],
            "blind": [
                {"disease": disease, "rows": model.rows, "answers": model.answers}
                for disease, model in sorted(hospital.blind.items())
            ],
            "waiting": list(hospital.unconfirmed),
            "damaged": sorted(hospital.damaged),
        }

    @contextlib.asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        async with self._link:
            self._batching = Batching(
                self._hospital,
                self._link.ask,
                self._crew,
                self._journal,
                share=self._config.users_share,
            )
            self._uploading = Uploading(self._hospital, self._link, self._side, self._journal)
            duties = Duties(self._hospital, self._link, self._uploading, self._side, self._journal)
            tasks = [
                asyncio.ensure_future(self._batching.run()),
                asyncio.ensure_future(duties.run(list(self._config.clouds))),
            ]
            self._ready = True
            try:
                yield
            finally:
                self._ready = False
                await self._batching.drain(_GRACE)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        # Not in the loop: what is being done may need it to end.
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._crew.close()
        self._side.close()

    async def _frames(self, request: Request) -> Response:
        async with self._intake.frame(request) as received:
            asks = received.header.kind == Kind.QUERY
            try:
                answer = await (self._batching if asks else self._blind).answer(received.data)
            except BusyError as error:
                raise Busy(error.seconds) from None
        if answer is None:
            raise Refused
        return octets(answer)

    async def _diseases(self, _: Request) -> Response:
        return octets(await self._present_catalogue())

    async def _present_catalogue(self) -> bytes:
        now = time.time()
        tables: list[object] = [
            (name, table.ref, table.k) for name, table in self._hospital.tables.items()
        ]
        tables += [(name, model.edition) for name, model in self._hospital.blind.items()]
        known, made, catalogue = self._catalogue
        if known != tables or not 0 <= now - made < _CATALOGUE:
            catalogue = await self._crew.do(self._hospital.catalogue)
            self._catalogue = tables, now, catalogue
        return catalogue

    async def _identity(self, _: Request) -> Response:
        return octets(self._hospital.public.to_bytes())

    async def _live(self, _: Request) -> Response:
        return Response()

    async def _is_ready(self, _: Request) -> Response:
        return Response(status_code=200 if self._can_answer() else 503)

    def _can_answer(self) -> bool:
        return self._ready and (any(self._link.reached.values()) or bool(self._hospital.blind))

    async def _outsource(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = self.token.encode()
        if scheme != "Bearer" or not known or not hmac.compare_digest(token.encode(), known):
            raise Refused
        order = None
        with contextlib.suppress(ValueError):
            order = msgspec.json.decode(await read_body(request, _MOST_ORDER), type=Order)
        if order is None:
            raise Refused
        return StreamingResponse(self._carried_out(order), media_type="application/x-ndjson")

    async def _carried_out(self, order: Order) -> AsyncIterator[bytes]:
        """Carry out an order and tell how far it is, in lines of JSON."""
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

        def progress(stage: str, share: float) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, {"stage": stage, "share": share})

        async def carry_out() -> None:
            try:
                done = await self._uploading.outsource(order, progress)
                lines.put_nowait({"done": msgspec.to_builtins(done)})
            except OmpdError as error:
                lines.put_nowait({"error": str(error)})
            finally:
                lines.put_nowait(None)

        # It goes on if whoever asked for it goes.
        task = asyncio.ensure_future(carry_out())
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)
        while (line := await lines.get()) is not None:
            yield msgspec.json.encode(line) + b"\n"
        await task


def serve_hospital(config: HospitalConfig, started: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    config : HospitalConfig
    started : callable
        Told the addresses once they answer.

    Raises
    ------
    OmpdError
        If the hospital cannot be opened, or an address not be listened on.
    """
    log = logger(config.id)
    with open_hospital_server(config) as (hospital, audit), contextlib.ExitStack() as stack:
        server = HospitalServer(hospital, config, Journal(Metrics(), audit, log))
        for disease in hospital.damaged:
            log.error("a table is damaged", disease=disease)

        def begin(addresses: Addresses) -> None:
            running = Running.of(addresses)
            server.token = running.token
            stack.enter_context(told(config.state, running))
            log.info("serving", profile=hospital.profile, signers=config.signers)
            started(addresses)

        others = stack.enter_context(mounted(config, hospital.catalogue, server.answer))
        run(server.app(others), config.listen, metrics=server.side(), started=begin)
