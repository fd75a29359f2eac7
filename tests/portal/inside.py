"""Pages without a server: a record, its door, and who went through it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx

from ompd.crypto import Identity
from ompd.portal.app import App
from ompd.portal.door import Door
from ompd.portal.house import House
from ompd.record import Record
from ompd.record.fhir import observation

ORIGIN = "http://127.0.0.1:4321"
WHEN = datetime(2026, 3, 9, 7, 30, tzinfo=UTC)


def made(folder):
    """A new record, without a password that takes a second."""
    return Record.create(folder, Identity.generate("me", suite="mlkem768x25519"))


class Browser:
    """Asks an app, and keeps its cookies; opens no page that an answer leads to."""

    def __init__(self, app, language):
        self._app = app
        self.cookies = httpx.Cookies()
        self._headers = {"accept-language": language}

    def request(self, method, path, **options):
        """Return an answer."""

        async def ask():
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(self._app, raise_app_exceptions=True),
                base_url=ORIGIN,
                cookies=self.cookies,
                headers=self._headers,
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(ask())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)


class Inside:
    """A browser that entered the pages of a record.

    Parameters
    ----------
    record : Record
    language : str
    **options
        Of `House`.
    """

    def __init__(self, record, language="en", **options):
        self.told = []
        self.door = Door(self.told.append)
        self.closed = []
        self.house = House(record, self.door, close=lambda: self.closed.append(1), **options)
        self.app = App(self.house)
        self.browser = self.client(language)
        self.door.open(ORIGIN)
        assert self.browser.get(self.address()).status_code == 303

    def client(self, language="en"):
        """Another browser, which did not enter."""
        return Browser(self.app, language)

    def address(self):
        """What the terminal shows, below the origin."""
        parts = urlsplit(self.told[-1])
        return f"{parts.path}?{parts.query}"

    @property
    def key(self):
        return parse_qs(urlsplit(self.told[-1]).query)["key"][0]

    def get(self, place, status=200):
        """Text of a page."""
        answer = self.browser.get(self.door.path + place)
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, place, status=303, *, files=None, **fields):
        """Send a form; returns the answer."""
        data = {"csrf": self.door.csrf} | fields
        headers = {"origin": ORIGIN}
        answer = self.browser.post(self.door.path + place, data=data, files=files, headers=headers)
        assert answer.status_code == status, answer.text
        return answer

    def follow(self, answer):
        """Text of the page that an answer leads to."""
        return self.get(answer.headers["location"].removeprefix(self.door.path))

    @property
    def cookie(self):
        """What the browser's cookie is called."""
        (name,) = self.browser.cookies
        return name

    def leave(self):
        self.house.leave()


def forms(text):
    """Actions of the forms of a page."""
    return re.findall(r'<form method="post" action="([^"]+)"', text)


def weights(number):
    """So many observations, a day apart."""
    return [
        observation("29463-7", 70 + day % 30, "kg", WHEN - timedelta(days=day), id=f"w{day}")
        for day in range(number)
    ]
