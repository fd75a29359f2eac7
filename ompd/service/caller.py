"""Requests of a client to one server, again until there is an answer."""

from __future__ import annotations

import math
import random
import time
from typing import Self

import httpx

from ompd.errors import BusyError, OmpdError, UnreachableError
from ompd.service.config import Connect
from ompd.service.tls import client_context

#: Seconds for one answer: a hospital may try for a while to reach its cloud.
_ANSWER = 90.0
_CONNECT = 5.0
#: Seconds between tries where nobody answers: the first, which doubles, and the longest.
PAUSE = 0.1
LONGEST_PAUSE = 2.0
#: Longest wait that a server may ask for.
_MOST_LATER = 30.0


class Caller:
    """Asks one server over HTTP. For several threads.

    Parameters
    ----------
    role : str
        What the server is, for messages.
    url : str
        Where it is: ``https://name:port``.
    connect : Connect
        Files of TLS.

    Raises
    ------
    ConfigError
        If a file of TLS cannot be used.
    """

    def __init__(self, role: str, url: str, connect: Connect) -> None:
        self._role = role
        self._http = httpx.Client(
            base_url=url,
            verify=client_context(connect) if url.startswith("https:") else True,
            timeout=httpx.Timeout(_ANSWER, connect=_CONNECT),
            limits=httpx.Limits(max_connections=256, keepalive_expiry=30.0),
            headers={"accept-encoding": "identity"},
            # What a patient sends goes where the configuration says, and nowhere else.
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def request(
        self, method: str, path: str, content: bytes | None, most: int, end: float
    ) -> bytes | None:
        """Ask until there is an answer, or it is late; None if that says nothing.

        Parameters
        ----------
        method, path : str
        content : bytes or None
        most : int
            Bytes that the answer may have.
        end : float
            Of `time.monotonic`, until when it is tried.

        Raises
        ------
        UnreachableError
            If nobody can be reached, or the answer is too long.
        BusyError
            If the server is busy until then.
        """
        pause = PAUSE
        while True:
            problem: OmpdError
            try:
                status, later, body = self._once(method, path, content, most)
            except httpx.TransportError as error:
                problem = UnreachableError(
                    f"{self._role}: cannot be reached: {type(error).__name__}"
                )
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE)
            else:
                if status == 200:
                    return body
                if status < 500:
                    return None
                problem = BusyError(f"{self._role}: is busy", math.ceil(later))
                wait = later
            # Not all that were told so at the same moment.
            wait *= random.uniform(1.0, 1.5)  # noqa: S311  (nothing hangs on it)
            if time.monotonic() + wait > end:
                raise problem
            time.sleep(wait)

    def _once(
        self, method: str, path: str, content: bytes | None, most: int
    ) -> tuple[int, float, bytes]:
        """Ask once; returns the status, when to come again, and the answer."""
        kind = {} if content is None else {"content-type": "application/octet-stream"}
        with self._http.stream(method, path, content=content, headers=kind) as response:
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > most:
                    raise UnreachableError(f"{self._role}: its answer is too long to be one")
            return response.status_code, _seconds(response), bytes(body)


def _seconds(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    # Not at once, whatever it says.
    return max(PAUSE, min(float(text), _MOST_LATER)) if text.isdecimal() else 1.0
