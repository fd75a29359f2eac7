"""Long answers, kept in files, so that whoever got a part of one gets the rest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
import time
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ompd.errors import StoreError
from ompd.files import make_folder, refusing, sweep, write_private
from ompd.service.answers import OCTETS

#: Bytes of all files; beyond that the oldest go.
_MOST_BYTES = 4 << 30
_PART = 1 << 20
_RANGE = re.compile(r"bytes=([0-9]{1,18})-")


class LongAnswers:
    """Answers in a folder, each found by the request that it answers, byte for byte.

    For several threads. They outlive the process, as the claims of their requests do.

    Parameters
    ----------
    folder : Path
    window : float
        Seconds that the timestamp of a request may differ from the clock.

    Raises
    ------
    StoreError
        If the folder cannot be used.
    """

    def __init__(self, folder: Path, window: float) -> None:
        self._folder = folder
        # The timestamp may be ahead by one window, and count for another.
        self._lasting = 2 * window
        self._lock = threading.Lock()
        with refusing(StoreError, "answers"):
            make_folder(folder)
            self._tidy()

    def put(self, digest: bytes, answer: bytes) -> None:
        """Keep the answer to a request of this SHA-256.

        Raises
        ------
        StoreError
            If the place refuses.
        """
        with self._lock, refusing(StoreError, "answers"):
            self._tidy(len(answer))
            write_private(self._path(digest), [answer])

    def open(self, digest: bytes) -> BinaryIO | None:
        """Return the file with the answer to a request of this SHA-256, if it is kept."""
        try:
            return self._path(digest).open("rb")
        except OSError:
            return None

    def _path(self, digest: bytes) -> Path:
        # Only those who have the request, with its signature, can name it.
        return self._folder / digest.hex()

    def _tidy(self, more: int = 0) -> None:
        """Remove what nobody may ask for any more, and what takes the room of so many bytes."""
        sweep(self._folder)
        held = more
        now = time.time()
        found = [(entry, entry.stat()) for entry in os.scandir(self._folder)]
        for entry, stat in sorted(found, key=lambda each: -each[1].st_mtime):
            held += stat.st_size
            if held > _MOST_BYTES or abs(now - stat.st_mtime) > self._lasting:
                with contextlib.suppress(OSError):
                    os.unlink(entry)


class FileAnswer(Response):
    """A file, or what of it follows the bytes that the peer has; it is closed at the end.

    Parameters
    ----------
    request : Request
        ``Range: bytes=N-`` says that the peer has N bytes. Any other range is none, and so is one
        that begins behind the end.
    file : binary file
    """

    def __init__(self, request: Request, file: BinaryIO) -> None:
        self._request = request
        self._file = file
        size = os.fstat(file.fileno()).st_size
        found = _RANGE.fullmatch(request.headers.get("range", ""))
        start = int(found[1]) if found is not None and int(found[1]) < size else 0
        file.seek(start)
        self._left = size - start
        headers = {"content-length": str(self._left)}
        if start:
            headers["content-range"] = f"bytes {start}-{size - 1}/{size}"
        super().__init__(None, 206 if start else 200, headers, OCTETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it part by part, as fast as the peer takes it."""
        loop = asyncio.get_running_loop()
        with self._file as file:
            begin = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start"} | begin)
            while self._left and not await self._request.is_disconnected():
                part = await loop.run_in_executor(None, file.read, min(_PART, self._left))
                if not part:
                    raise StoreError("answers: a file ends early")
                self._left -= len(part)
                more = self._left > 0
                await send({"type": "http.response.body", "body": part, "more_body": more})
