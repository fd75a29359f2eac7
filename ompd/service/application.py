"""An app of which everything that is wrong gets one answer."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ompd.errors import OmpdError
from ompd.service.answers import Busy, Refused, busy, refused
from ompd.service.logs import logger


class Plain(Route):
    """A route of one path and one method, on the short way: most requests are of these."""


def route(method: str, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Plain:
    """Return a route for just one method."""
    made = Plain(path, endpoint, methods=[method])
    # Starlette adds HEAD to GET.
    made.methods = {method}
    return made


def _nothing() -> None:
    """Count nothing."""


class Application:
    """An ASGI app that gives `REFUSAL` wherever a handler has no answer.

    A handler may raise `Refused`, `Busy` or any error of `ompd.errors`; these are answers. Any
    other exception is one as well, and an entry in the log.

    Parameters
    ----------
    routes : sequence of Route
    life : callable
        Returns what is entered before the first request and left after the last answer.
    refused : callable
        Called for each request that is answered so.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        life: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
        refused: Callable[[], object] = _nothing,
    ) -> None:
        self.life = life
        self.refused = refused
        self._plain: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
            (method, each.path): each.endpoint
            for each in routes
            if isinstance(each, Plain)
            for method in each.methods or ()
        }
        self._inner = Starlette(
            routes=[each for each in routes if not isinstance(each, Plain)],
            exception_handlers={
                HTTPException: self._refuse,
                Refused: self._refuse,
                OmpdError: self._refuse,
                Busy: _put_off,
                ClientDisconnect: _forget,
                Exception: self._refuse,
            },
        )
        # No redirection to paths that are alike.
        self._inner.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        endpoint = self._plain.get((scope["method"], scope["path"]))
        try:
            if endpoint is None:
                await self._inner(scope, receive, send)
                return
            # What Starlette does besides would take a third of the time of a query.
            response = await self._answer(endpoint, Request(scope, receive))
            await response(scope, receive, send)
        except Exception as error:
            logger().error("a request failed", error=error)

    async def _answer(
        self, endpoint: Callable[[Request], Awaitable[Response]], request: Request
    ) -> Response:
        try:
            return await endpoint(request)
        except (Refused, OmpdError) as error:
            return await self._refuse(request, error)
        except Busy as error:
            return await _put_off(request, error)
        except ClientDisconnect as error:
            return await _forget(request, error)
        except Exception as error:
            logger().error("a request failed", error=error)
            return await self._refuse(request, error)

    async def _refuse(self, _request: Request, _error: Exception) -> Response:
        self.refused()
        return refused()


async def _put_off(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Busy)  # noqa: S101  (it was chosen by its type)
    return busy(error.seconds)


async def _forget(_request: Request, _error: Exception) -> Response:
    # Whoever it was for is gone, or was told.
    return refused()
