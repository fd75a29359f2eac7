"""The pages as an app: who is let in, then which page, then on which thread."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from ompd.errors import FramingError, OmpdError, TooLargeError
from ompd.portal.door import Guard, same
from ompd.portal.forms import Form, read_form
from ompd.portal.house import House
from ompd.portal.pages import Page, all_pages
from ompd.portal.texts import Texts, preferred
from ompd.portal.visit import Visit, plain_page

_STATIC = {"/portal.css": "text/css", "/icon.svg": "image/svg+xml"}


class App:
    """The pages of one record.

    Parameters
    ----------
    house : House
    life : callable, optional
        Returns what is entered before the first request and left after the last answer.
    """

    def __init__(
        self,
        house: House,
        life: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self.life = life
        self._house = house
        self._routes = [
            (Route(page.path, _nowhere, methods=[page.method]), page)
            for page in all_pages(reads_only=house.reads_only)
        ]
        folder = files("ompd.portal").joinpath("static")
        self._static = {
            path: Response(folder.joinpath(path[1:]).read_bytes(), media_type=kind)
            for path, kind in _STATIC.items()
        }
        self._inner = Guard(self._serve)

    def refused(self) -> None:
        """Count no refusals."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._inner(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            # Its text may hold what is in the record.
            sys.stderr.write(f"ompd: a page failed: {type(error).__name__}\n")
            response = self._apart(request, plain_page(self._words(request), "outside.failed", 500))
        await response(scope, receive, send)

    def _words(self, request: Request) -> Texts:
        language = self._house.language or preferred(request.headers.get("accept-language", ""))
        return Texts(language)

    async def _answer(self, request: Request) -> Response:
        door, words = self._house.door, self._words(request)
        path = request.url.path
        if path == "/enter" and request.method == "GET":
            cookie = door.enter(request.query_params.get("key", ""), request.headers)
            if cookie is None:
                return plain_page(words, "outside.used", 403)
            return RedirectResponse(f"{door.path}/", 303, {"set-cookie": cookie})
        if not door.is_ours(request.headers, request.method):
            return plain_page(words, "outside.foreign", 403)
        if path in self._static and request.method == "GET":
            return self._static[path]
        head, _, rest = path[1:].partition("/")
        if not same(head, door.path[1:]) or not door.is_inside(request.cookies):
            if _is_a_tabs_form(request):
                return RedirectResponse("/", 303)
            return plain_page(words, "outside.stranger", 403)
        return await self._inside(request, f"/{rest}", words)

    async def _inside(self, request: Request, place: str, words: Texts) -> Response:
        found = self._find(place, request.method)
        if isinstance(found, int):
            return plain_page(words, "outside.nowhere", found)
        page, names = found
        visit = Visit(self._house, words, place, names, dict(request.query_params), Form())
        try:
            answer = await self._made(request, page, visit)
        except OmpdError as error:
            if self._house.opened is None:
                answer = visit.go("/open", words("open.none"))
            else:
                answer = visit.problem(error)
        finally:
            if visit.form.file is not None:
                visit.form.file.close()
        return self._apart(request, answer)

    async def _made(self, request: Request, page: Page, visit: Visit) -> Response:
        if page.method == "POST":
            try:
                visit.form = await read_form(request, upload=page.upload)
            except TooLargeError:
                return visit.page(
                    "problem.html", status=413, error=_only(visit.words("error.long"))
                )
            except FramingError:
                return visit.page(
                    "problem.html", status=400, error=_only(visit.words("error.form"))
                )
            if not same(visit.form.get("csrf", ""), self._house.door.csrf):
                return visit.page(
                    "problem.html", status=403, error=_only(visit.words("error.csrf"))
                )
        return await self._house.crew.do(page.answer, visit)

    def _apart(self, request: Request, answer: Response) -> Response:
        """Return what leads a tab from its form to the answer; see `pages.answering`."""
        door = self._house.door
        if answer.status_code == 303 or not _is_a_tabs_form(request):
            return answer
        # Nobody is, who closed the record.
        if not door.is_inside(request.cookies):
            return answer
        return RedirectResponse(f"{door.path}/answer/{self._house.keep(answer)}", 303)

    def _find(self, place: str, method: str) -> tuple[Page, dict[str, Any]] | int:
        """Return the page of a path, or the status that says that there is none."""
        status = 404
        scope = {"type": "http", "path": place, "method": "GET" if method == "HEAD" else method}
        for route, page in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return page, child["path_params"]
            if match is Match.PARTIAL:
                status = 405
        return status


def _is_a_tabs_form(request: Request) -> bool:
    """Whether what comes is a form of which the browser shows the answer in a tab."""
    return request.method == "POST" and request.headers.get("sec-fetch-mode") == "navigate"


def _only(text: str) -> dict[str, str]:
    return {"text": text, "detail": ""}


async def _nowhere(_: Request) -> Response:  # pragma: no cover  (routes are only matched)
    return Response(status_code=404)
