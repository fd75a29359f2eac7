"""What a form brings, within bounds, and in memory only."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from typing import BinaryIO
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ompd.errors import FeatureError, FramingError, TooLargeError

#: Bytes of a form: more than the longest note takes.
MOST_FORM = 1 << 18
#: Bytes of a form with a file; `ompd record import` takes longer ones.
MOST_UPLOAD = 64 << 20
_MOST_FIELDS = 500


class TooLongError(TooLargeError):
    """A field has more characters than it may have."""


class MissingError(FeatureError):
    """A field that has to be filled in is empty."""


class _InMemory(MultiPartParser):
    # Above its size a file would be written to the disk, where it could be read.
    spool_max_size = MOST_UPLOAD + 1

    def close(self) -> None:
        """Let go of what came; older versions of the parser keep it after some errors."""
        for file in self._files_to_close_on_error:
            file.close()


class Form(dict[str, str]):
    """Fields of a form, and the file that came with it.

    Attributes
    ----------
    file : BinaryIO or None
    file_name : str
        As the browser says, for a message only.
    """

    file: BinaryIO | None = None
    file_name: str = ""

    def text(self, name: str, longest: int = 200, *, required: bool = False) -> str:
        """Return a field without blanks around it; empty if it is not there.

        Raises
        ------
        TooLongError
            If it is longer.
        MissingError
            If it is required, and empty.
        """
        found = self.get(name, "").strip()
        if len(found) > longest:
            raise TooLongError(f"{name}: expected at most {longest} characters")
        if required and not found:
            raise MissingError(f"{name}: expected a text")
        return found


async def read_form(request: Request, *, upload: bool) -> Form:
    """Read the body of a request.

    Parameters
    ----------
    request : Request
    upload : bool
        Whether a file may come.

    Raises
    ------
    TooLargeError
        If it is longer than such a form is.
    FramingError
        If it is no form.
    """
    most = MOST_UPLOAD if upload else MOST_FORM
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > most:
        raise TooLargeError(f"form: expected at most {most} bytes")
    stream = _bounded(request, most)
    if kind == "application/x-www-form-urlencoded":
        body = b"".join([part async for part in stream])
        try:
            fields = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
            )
        except ValueError:
            raise FramingError("form: is not of its form") from None
        return Form(fields)
    if upload and kind == "multipart/form-data":
        parser = _InMemory(
            request.headers, stream, max_files=1, max_fields=20, max_part_size=MOST_FORM
        )
        with ExitStack() as stack:
            stack.callback(parser.close)
            try:
                form = _of(await parser.parse())
            except TooLargeError:
                raise
            except (MultiPartException, KeyError, ValueError):
                raise FramingError("form: is not of its form") from None
            stack.pop_all()
            return form
    raise FramingError("form: is of another type than forms have")


def _of(read: FormData) -> Form:
    form = Form()
    for name, value in read.multi_items():
        if isinstance(value, UploadFile):
            form.file, form.file_name = value.file, (value.filename or "")[:200]
        else:
            form[name] = value
    return form


async def _bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    left = most
    async for part in request.stream():
        left -= len(part)
        if left < 0:
            raise TooLargeError(f"form: expected at most {most} bytes")
        yield part
