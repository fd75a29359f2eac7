"""Who may come in: the person at this device, by a browser that was shown the address.

Three secrets keep others out. The *key* is in the address that the terminal shows; it opens once,
and becomes a *cookie*, which no script and no other site gets. All pages lie below a *path* that
nobody can guess, since browsers send cookies to every port of a host: another program's server on
this device, which the person visits, is not sent this one. Forms carry a fourth, so that no page
but ours can fill them in.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from ompd.confidential import Confidential

#: Seconds without a page after which a new address is needed.
IDLE = 3600.0
#: What every answer says. Pages and their style come from here, and nothing from anywhere else.
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'",
    ),
    # Nothing of a record stays in the browser's files.
    (b"cache-control", b"no-store"),
    # With `no-referrer` browsers would say nothing of where a form comes from.
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"x-dns-prefetch-control", b"off"),
]
_OWN = {"", "none", "same-origin"}


class Door(Confidential):
    """Lets one browser in at a time.

    Parameters
    ----------
    announce : callable
        Told each address that opens, which is a secret.
    clock : callable, optional
        Seconds, of any beginning.

    Attributes
    ----------
    path : str
        What all pages are below.
    csrf : str
        What every form carries.
    """

    def __init__(
        self, announce: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._announce = announce
        self._clock = clock
        self._origin = ""
        self._key = ""
        self._cookie = ""
        # Servers of other ports can set cookies for this one, but know no name to replace.
        self._name = f"ompd-{secrets.token_hex(8)}"
        self._used = 0.0
        self.path = f"/{secrets.token_urlsafe(16)}"
        self.csrf = secrets.token_urlsafe(32)

    def open(self, origin: str) -> None:
        """Know where the pages are, ``http://127.0.0.1:port``, and announce an address."""
        # As browsers write it.
        self._origin = origin.removesuffix(":80")
        self._renew()

    def _renew(self) -> None:
        self._key = secrets.token_urlsafe(32)
        self._announce(f"{self._origin}/enter?key={self._key}")

    def is_ours(self, headers: Headers, method: str) -> bool:
        """Whether a request was meant for this server, and comes from no other site's page.

        Another name that points to this device (DNS rebinding) is not ours, nor is a request that a
        page of another origin makes: one of another port is one.
        """
        hosts = headers.getlist("host")
        if not self._origin or hosts != [self._origin.partition("://")[2]]:
            return False
        site = headers.get("sec-fetch-site", "")
        if method in {"GET", "HEAD"}:
            return site in _OWN
        origin = headers.get("origin")
        # Browsers that say neither are too old for anything here.
        return origin == self._origin if origin is not None else site == "same-origin"

    def enter(self, key: str, headers: Headers) -> str | None:
        """Return the cookie for whoever has the key; it is good for one."""
        hosts = headers.getlist("host")
        ours = bool(self._origin) and hosts == [self._origin.partition("://")[2]]
        if not ours or not same(key, self._key):
            return None
        self._cookie = secrets.token_urlsafe(32)
        self.csrf = secrets.token_urlsafe(32)
        self._used = self._clock()
        # For another browser, or for this one after a while: it is on the terminal only.
        self._renew()
        return f"{self._name}={self._cookie}; Path={self.path}; HttpOnly; SameSite=Strict"

    def is_inside(self, cookies: Mapping[str, str]) -> bool:
        """Whether a request has the cookie, and the last one was not long ago."""
        if not same(cookies.get(self._name, ""), self._cookie):
            return False
        now = self._clock()
        if now - self._used > IDLE:
            self.leave()
            return False
        self._used = now
        return True

    def leave(self) -> None:
        """Let nobody in any more who was."""
        self._cookie = ""


def same(given: str, expected: str) -> bool:
    """Compare secrets in a time that does not depend on them; nothing is equal to none."""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


class Guard:
    """An app of which every answer carries the headers that keep others away from it.

    Parameters
    ----------
    inner : callable
        An ASGI app.
    """

    def __init__(self, inner: Callable[[Scope, Receive, Send], object]) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in _HEADERS if header[0] not in names),
                ]
            await send(message)

        await self._inner(scope, receive, guarded)  # type: ignore[misc]
