"""The second port: how a server does, for the machine that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ompd.service.application import Application, route
from ompd.service.metrics import Metrics


def operations_app(
    metrics: Metrics,
    status: Callable[[], Mapping[str, object]],
    others: Sequence[Route] = (),
) -> Application:
    """Return the app with ``GET /metrics``, for Prometheus, and ``GET /status``, in JSON.

    Parameters
    ----------
    metrics : Metrics
    status : callable
        Returns what JSON can say; no value of a patient and no secret.
    others : sequence of Route
        What else is there.
    """

    async def figures(_: Request) -> Response:
        body, form = metrics.render()
        return Response(body, headers={"content-type": form})

    async def state(_: Request) -> Response:
        return JSONResponse(status())

    return Application([route("GET", "/metrics", figures), route("GET", "/status", state), *others])
