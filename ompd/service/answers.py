"""What the servers answer, over HTTP."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: To everything that is wrong, whoever sends it: one answer, so that nobody learns from it.
REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_PART = 1 << 18
OCTETS = "application/octet-stream"


class Refused(Exception):  # noqa: N818  (an answer, and no fault of this server)
    """The request gets `REFUSAL`."""


class Busy(Exception):  # noqa: N818  (likewise)
    """A sender that is known is to send the same request again.

    Parameters
    ----------
    seconds : int
        Not before so many.
    """

    def __init__(self, seconds: int = 1) -> None:
        super().__init__(f"busy for {seconds} s")
        self.seconds = seconds


def refused() -> Response:
    """Return what is `REFUSAL` on the line."""
    response = Response(status_code=400)
    response.raw_headers = [(b"content-length", b"0"), (b"connection", b"close")]
    return response


def busy(seconds: int = 1) -> Response:
    """Return "try the same again", not before so many seconds."""
    return Response(status_code=503, headers={"retry-after": str(seconds)})


def octets(frame: bytes) -> Response:
    """Return a frame as an answer."""
    return _Octets(frame, media_type=OCTETS)


class _Octets(Response):
    """Bytes that are written part by part, so that it shows whether the peer takes them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start"} | begin)
        whole = memoryview(self.body)
        for start in range(0, max(1, len(whole)), _PART):
            more = start + _PART < len(whole)
            part = whole[start : start + _PART]
            await send({"type": "http.response.body", "body": part, "more_body": more})
