"""The second port of a server: how it does, for the machine that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ompd.service.application import Application, route
from ompd.service.metrics import Metrics


def side_app(
    metrics: Metrics, status: Callable[[], dict[str, Any]], routes: Sequence[Route] = ()
) -> Application:
    """Return the app of ``GET /metrics`` for Prometheus and ``GET /status`` for people, and more.

    Parameters
    ----------
    metrics : Metrics
    status : callable
        Returns what JSON can say.
    routes : sequence of Route
    """

    async def figures(_: Request) -> Response:
        body, kind = metrics.render()
        return Response(body, media_type=kind)

    async def told(_: Request) -> Response:
        return Response(msgspec.json.encode(status()), media_type="application/json")

    return Application([route("GET", "/metrics", figures), route("GET", "/status", told), *routes])
