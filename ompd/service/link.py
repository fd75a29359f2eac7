"""From a hospital to its clouds, over HTTP."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import aiohttp

from ompd.crypto.identity import MAX_PUBLIC_IDENTITY_BYTES
from ompd.errors import ConfigError, OmpdError, UnreachableError
from ompd.service.config import Connect
from ompd.service.tls import client_context

#: Seconds for which a cloud is tried that is away, and for which an answer is waited for.
PATIENCE = 10.0
_ANSWER = 60.0
_CONNECT = 3.0
#: Seconds between tries: the first, which doubles, and the longest.
_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
#: Connections to one cloud: jobs of several tables, and tables on their way.
_CONNECTIONS = 64


class Link:
    """Takes frames to clouds; the same one again where an answer is lost, which costs nothing.

    Parameters
    ----------
    clouds : mapping of str to str
        URL of each, by its id.
    connect : Connect
    patience : float
        Seconds for which a cloud that cannot be reached is tried.

    Raises
    ------
    ConfigError
        If a file of TLS cannot be used.
    """

    def __init__(
        self, clouds: Mapping[str, str], connect: Connect, *, patience: float = PATIENCE
    ) -> None:
        self._urls = {cloud: url.rstrip("/") for cloud, url in clouds.items()}
        self._patience = patience
        secure = any(url.startswith("https:") for url in clouds.values())
        self._tls = client_context(connect) if secure else True
        # When each was last heard of, or found to be away.
        self._reached: dict[str, bool] = {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit_per_host=_CONNECTIONS, limit=0, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_ANSWER),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A table does not get shorter, and what comes is what is counted.
            headers={"accept-encoding": "identity"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    @property
    def reached(self) -> dict[str, bool]:
        """Whether each cloud was there when it was last tried."""
        return dict(self._reached)

    def check(self, cloud: str) -> None:
        """Refuse a cloud that nobody said the place of.

        Raises
        ------
        ConfigError
        """
        self._url(cloud)

    async def ask(self, cloud: str, frame: bytes, longest: int) -> bytes:
        """Return what a cloud answers to a frame.

        Parameters
        ----------
        cloud : str
        frame : bytes
        longest : int
            Bytes that the answer may have; no more are read.

        Raises
        ------
        UnreachableError
            If it is away for `patience`, refuses the frame without an answer, or answers with more.
        ConfigError
            If nobody said where it is.
        """
        reading = _Reading(longest)
        end = time.monotonic() + self._patience
        pause = _PAUSE
        while True:
            try:
                wait = await self._exchange(cloud, frame, reading)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if isinstance(error, OmpdError):
                    raise
                self._reached[cloud] = False
                wait, pause = pause, min(2 * pause, _LONGEST_PAUSE)
            if wait is None:
                self._reached[cloud] = True
                return reading.body
            if reading.grew:
                # What comes in pieces does come.
                end = time.monotonic() + self._patience
            if time.monotonic() + wait > end:
                raise UnreachableError("cloud: cannot be reached, or is busy")
            await asyncio.sleep(wait)

    async def identity(self, cloud: str) -> bytes:
        """Return what a cloud says who it is, with its present short-lived key.

        Raises
        ------
        UnreachableError, ConfigError
        """
        reading = _Reading(MAX_PUBLIC_IDENTITY_BYTES)
        try:
            url = self._url(cloud) + "/v1/identity"
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status == 200:
                    await reading.read(response)
                    self._reached[cloud] = True
                    return reading.body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, OmpdError):
                raise
        self._reached[cloud] = False
        raise UnreachableError("cloud: cannot be reached")

    async def introduce(self, cloud: str, identity: bytes) -> None:
        """Tell a cloud the present short-lived key of this hospital.

        Raises
        ------
        UnreachableError
            If it is away, or has the hospital under other keys or with a newer one.
        ConfigError
        """
        try:
            url = self._url(cloud) + "/v1/identity"
            asked = self._session.post(url, data=identity, allow_redirects=False)
            async with asked as response:
                if response.status == 200:
                    return
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, OmpdError):
                raise
        raise UnreachableError("cloud: did not take this hospital's short-lived key")

    async def _exchange(self, cloud: str, frame: bytes, reading: _Reading) -> float | None:
        """Send a frame once; returns None when the answer is whole, else when to try again."""
        headers = {"content-type": "application/octet-stream"}
        if len(reading):
            headers["range"] = f"bytes={len(reading)}-"
        url = self._url(cloud) + "/v1/frames"
        asked = self._session.post(url, data=frame, headers=headers, allow_redirects=False)
        async with asked as response:
            if response.status == 503:
                return _seconds(response.headers.get("retry-after", ""))
            if response.status == 200:
                # All of it, though some is here.
                reading.clear()
            elif response.status != 206 or not reading.continues(response):
                raise UnreachableError("cloud: refused the frame")
            await reading.read(response)
        return None

    def _url(self, cloud: str) -> str:
        url = self._urls.get(cloud)
        if url is None:
            raise ConfigError("clouds: the configuration does not say where this one is")
        return url


class _Reading:
    """What has come of an answer."""

    def __init__(self, longest: int) -> None:
        self._body = io.BytesIO()
        self._longest = longest
        self._seen = 0

    def __len__(self) -> int:
        return self._body.tell()

    @property
    def body(self) -> bytes:
        """All of it; not copied, since it may be long."""
        return self._body.getvalue()

    @property
    def grew(self) -> bool:
        """Whether more has come since this was last asked."""
        seen, self._seen = self._seen, len(self)
        return self._seen > seen

    def clear(self) -> None:
        """Begin anew."""
        self._body = io.BytesIO()

    def continues(self, response: aiohttp.ClientResponse) -> bool:
        """Whether a part begins where the last one ended."""
        start = response.headers.get("content-range", "").removeprefix("bytes ")
        return len(self) > 0 and start.startswith(f"{len(self)}-")

    async def read(self, response: aiohttp.ClientResponse) -> None:
        """Read what comes.

        Raises
        ------
        UnreachableError
            If it is more than there can be.
        """
        async for part in response.content.iter_any():
            if len(self) + len(part) > self._longest:
                raise UnreachableError("cloud: its answer is too long to be one")
            self._body.write(part)


def _seconds(text: str) -> float:
    # Not at once, whatever it says.
    return max(float(text), _PAUSE) if text.isdecimal() and len(text) < 4 else 1.0
