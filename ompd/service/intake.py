"""Reading requests: the header of a frame before its body, and no more than there is room for."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from starlette.requests import Request

from ompd.errors import OmpdError
from ompd.service.answers import Busy, Refused
from ompd.wire import CAPS, HEAD_BYTES, Header, Kind, peek

_MIB = 1 << 20
#: What an upload may have in one frame. The library makes pieces of 2 MiB.
_MOST_UPLOAD = 16 * _MIB
#: Bytes of long bodies that may be here at a time, from their announcement to their answer.
ROOM = 128 * _MIB
#: Bytes of a body that is not counted there: connections are limited too. A sender is believed by
#: its name alone until its signature is verified, so nobody may be kept out by others in its name.
_SHORT = 16 << 10


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """A frame of which only the header was looked at."""

    header: Header
    data: bytes


class Intake:
    """What a server reads, and how much of it at a time.

    Parameters
    ----------
    check : callable
        Refuses a header, as `Party.check_header` does.
    *kinds : Kind
        What is expected.
    room : int
        Bytes of long bodies that may be here at a time, half of them of one sender. Whoever has
        none here may have one of any length.
    """

    def __init__(self, check: Callable[[Header], None], *kinds: Kind, room: int = ROOM) -> None:
        self._check = check
        self._caps = {kind: _cap(kind) for kind in kinds}
        self._room = room
        self._held: Counter[str] = Counter()

    @property
    def held(self) -> int:
        """Bytes of long bodies that are here, or announced by those who send one now."""
        return self._held.total()

    @contextlib.asynccontextmanager
    async def frame(self, request: Request) -> AsyncIterator[Received]:
        """Read a frame, whose room is taken until the block ends.

        Raises
        ------
        Refused
            If it has no length, or one above the cap of its kind; is of no kind that is expected;
            or its header is refused. Little more than the header was read then.
        Busy
            If there is no room. The body was read, and forgotten.
        """
        size = announced(request, max(self._caps.values()))
        parts = request.stream()
        body = io.BytesIO()
        async for part in parts:
            body.write(part)
            if body.tell() >= HEAD_BYTES:
                break
        try:
            header = peek(body.getvalue()[:HEAD_BYTES], size, *self._caps)
            self._check(header)
        except OmpdError:
            raise Refused from None
        if size > self._caps[header.kind]:
            raise Refused
        # Whoever sends much may take longer.
        request.state.patience(size)
        if not self._has_room(header.sender, size):
            async for _ in parts:
                pass
            raise Busy
        with self._hold(header.sender, size):
            async for part in parts:
                body.write(part)
            # Not copied: the buffer has just these bytes, and nobody else.
            yield Received(header, body.getvalue())

    def _has_room(self, sender: str, size: int) -> bool:
        own = self._held[sender]
        others = self._held.total() - own
        return size <= _SHORT or (
            others + min(size, self._room // 2) <= self._room
            and (not own or own + size <= self._room // 2)
        )

    @contextlib.contextmanager
    def _hold(self, sender: str, size: int) -> Iterator[None]:
        if size <= _SHORT:
            yield
            return
        self._held[sender] += size
        try:
            yield
        finally:
            self._held[sender] -= size
            if not self._held[sender]:
                del self._held[sender]


async def read_body(request: Request, most: int) -> bytes:
    """Read a body that is no frame.

    Raises
    ------
    Refused
        If it has no length, or more than `most` bytes, none of which was read then.
    """
    announced(request, most)
    return await request.body()


def announced(request: Request, most: int) -> int:
    """Return the length that a request says its body has.

    Raises
    ------
    Refused
        If it says none, or more than `most`.
    """
    text = request.headers.get("content-length", "")
    # That it is one number the parser made sure of; the limit is on what `int` takes.
    if not text or len(text) > 20 or int(text) > most:
        raise Refused
    return int(text)


def _cap(kind: Kind) -> int:
    """Most bytes of a frame over HTTP; a table comes in pieces."""
    is_upload = kind in (Kind.PAPER_UPLOAD, Kind.HARDENED_UPLOAD, Kind.SEALED_UPLOAD)
    return min(CAPS[kind], _MOST_UPLOAD) if is_upload else CAPS[kind]
