"""The endpoints of CDS Hooks 2.0."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ompd.errors import BusyError, FeatureError, OmpdError, OutdatedError, UnknownDiseaseError
from ompd.schema import Schema
from ompd.service.cds.cards import diagnosis_card, lacking_card, title_of
from ompd.service.cds.config import Cds, Service
from ompd.service.cds.desk import Desk
from ompd.service.cds.features import Row, check, row_of, templates
from ompd.service.cds.fhir import ID
from ompd.service.cds.tokens import Tokens

PATH = "/cds-services"
#: Largest request, in bytes.
MAX_REQUEST = 1 << 20
#: Seconds until another try, where the hospital cannot answer now.
_LATER = 5


class _Context(msgspec.Struct, frozen=True, rename="camel"):
    patient_id: str
    user_id: str
    encounter_id: str = ""

    def __repr__(self) -> str:
        return "<_Context>"


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    """What of a request is used. An access token, and other services' data, are not even read."""

    hook: str
    hook_instance: str
    context: _Context
    prefetch: dict[str, msgspec.Raw] = {}

    def __repr__(self) -> str:
        return f"<_Request with {len(self.prefetch)} resources>"


class _Refusal(Exception):  # noqa: N818  (an answer)
    """An answer other than cards."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def routes(
    config: Cds, hospital: str, desk: Desk, *, now: Callable[[], float] = time.time
) -> list[Route]:
    """Return the endpoints of a hospital's CDS services.

    Parameters
    ----------
    config : Cds
    hospital : str
        The hospital's id.
    desk : Desk
        Asks for the EHR.
    now : callable
        Seconds since the epoch.

    Raises
    ------
    ConfigError
        If a client's keys cannot be used.
    """
    return _Endpoints(config, hospital, desk, now).routes()


class _Endpoints:
    def __init__(self, config: Cds, hospital: str, desk: Desk, now: Callable[[], float]) -> None:
        self._config = config
        self._hospital = hospital
        self._desk = desk
        self._now = now
        self._tokens = Tokens(config.clients, now) if config.clients else None
        self._diseases = {
            service.id or disease: disease for disease, service in config.services.items()
        }
        self._decoder = msgspec.json.Decoder(_Request)

    def routes(self) -> list[Route]:
        middleware = []
        options = []
        if self._config.origins:
            options = ["OPTIONS"]
            middleware = [
                Middleware(
                    CORSMiddleware,
                    allow_origins=list(self._config.origins),
                    allow_methods=["GET", "POST"],
                    allow_headers=["Authorization", "Content-Type"],
                )
            ]
        return [
            Route(path, self._answering(make), methods=[method, *options], middleware=middleware)
            for path, method, make in (
                (PATH, "GET", self._discovery),
                (PATH + "/{id}", "POST", self._cards),
            )
        ]

    def _answering(
        self, make: Callable[[Request], Awaitable[dict[str, Any]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if request.method == "OPTIONS":
                # Without what makes it a question of a browser.
                return Response(status_code=204)
            try:
                self._admit(request)
                return _json(await make(request))
            except _Refusal as refusal:
                return _json({"message": str(refusal)}, refusal.status, refusal.headers)
            except ClientDisconnect:
                return Response(status_code=400)

        return answer

    def _admit(self, request: Request) -> None:
        """Refuse whoever is no client, before anything else of a request is looked at."""
        if self._tokens is None:
            return
        problem = ""
        try:
            self._tokens.check(
                request.headers.get("authorization", ""),
                self._config.base.rstrip("/") + request.url.path,
            )
        except OmpdError as error:
            problem = str(error)
        if problem:
            raise _Refusal(401, problem, {"WWW-Authenticate": "Bearer"})

    async def _discovery(self, _request: Request) -> dict[str, Any]:
        services = []
        for disease, service in self._config.services.items():
            title = title_of(service, disease)
            services.append(
                {
                    "hook": service.hook,
                    "title": title,
                    "description": service.description
                    or f"{title}, from the most similar records of {self._hospital}",
                    "id": service.id or disease,
                    "prefetch": templates(service),
                }
            )
        return {"services": services}

    async def _cards(self, request: Request) -> dict[str, Any]:
        disease = self._diseases.get(request.path_params["id"])
        if disease is None:
            raise _Refusal(404, "id: there is no such service")
        asked = self._decoded(await _body(request))
        service = self._config.services[disease]
        if asked.hook != service.hook:
            raise _Refusal(400, f"hook: expected {service.hook}")
        context = asked.context
        if not asked.hook_instance or not context.user_id:
            raise _Refusal(400, "hookInstance, context.userId: expected texts that are not empty")
        if not ID.fullmatch(context.patient_id) or (
            context.encounter_id and not ID.fullmatch(context.encounter_id)
        ):
            raise _Refusal(400, "context: expected ids of FHIR resources")
        return {"cards": [await self._card(disease, asked)]}

    def _decoded(self, body: bytes) -> _Request:
        try:
            return self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            # Not in its words, which may hold keys of what came.
            problem = "body: expected a CDS Hooks request in JSON, with hook, hookInstance, context"
        raise _Refusal(400, problem)

    async def _card(self, disease: str, asked: _Request) -> dict[str, Any]:
        with _refusing():
            try:
                return await self._told(disease, asked)
            except OutdatedError:
                await self._desk.learn()
                return await self._told(disease, asked)

    async def _told(self, disease: str, asked: _Request) -> dict[str, Any]:
        service = self._config.services[disease]
        context = asked.context
        now = self._now()
        schema = await self._desk.schema(disease)
        check(service, schema)
        row = _row(service, schema, asked, now)
        _, _, faults = schema.check_rows([row.values], "collect")
        if faults and row.absent:
            raise _Refusal(412, f"prefetch: expected {', '.join(row.absent)}")
        if faults:
            told = [(fault.column, fault.reason) for fault in faults]
            return lacking_card(self._config, self._hospital, disease, told)
        diagnosis = await self._desk.ask(disease, row.values, schema)
        return diagnosis_card(
            self._config, self._hospital, disease, schema, row, diagnosis,
            (context.patient_id, context.encounter_id), now,
        )  # fmt: skip


def _row(service: Service, schema: Schema, asked: _Request, now: float) -> Row:
    try:
        return row_of(service, schema, asked.prefetch, asked.context.patient_id, now)
    except FeatureError as error:
        problem = str(error)
    raise _Refusal(400, problem)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what a hospital cannot do now into an answer that says so."""
    words, seconds = "", _LATER
    try:
        yield
    except UnknownDiseaseError:
        words = "service: its table is not there yet"
    except BusyError as busy:
        words, seconds = "service: has as much to do as it takes on", busy.seconds
    except OmpdError:
        words = "service: cannot answer at present"
    if words:
        raise _Refusal(503, words, {"Retry-After": str(seconds)})


async def _body(request: Request) -> bytes:
    """Return the body of a request, or refuse it before it takes memory."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/fhir+json"}:
        raise _Refusal(415, "content-type: expected application/json")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > MAX_REQUEST:
        raise _too_large()
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_REQUEST:
            raise _too_large()
    return bytes(body)


def _too_large() -> _Refusal:
    return _Refusal(413, f"body: expected at most {MAX_REQUEST} bytes")


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    # Of a patient: nothing on the way may keep it.
    return Response(
        msgspec.json.encode(body),
        status,
        {"Cache-Control": "no-store"} | (headers or {}),
        "application/json",
    )
