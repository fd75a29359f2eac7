"""Forms within bounds."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from ompd.errors import FramingError, TooLargeError
from ompd.portal import forms
from ompd.portal.forms import MOST_FORM, MOST_UPLOAD, Form, read_form

PLAIN = "application/x-www-form-urlencoded"


def read(parts, kind=PLAIN, *, upload=False, **headers):
    """Read a body that comes in parts."""
    waiting = iter(parts)
    sent = []

    async def receive():
        part = next(waiting, None)
        if part is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        sent.append(len(part))
        return {"type": "http.request", "body": part, "more_body": True}

    raw = [(b"content-type", kind.encode())]
    raw += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "headers": raw}, receive)
    try:
        return asyncio.run(read_form(request, upload=upload))
    finally:
        read.sent = sum(sent)


def multipart(*fields):
    """Body and type of a form with files: (name, file name or None, content)."""
    body = b""
    for name, file, content in fields:
        more = f'; filename="{file}"' if file is not None else ""
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return body + b"--B--\r\n", "multipart/form-data; boundary=B"


def test_fields_are_read_as_they_were_typed():
    found = read([b"a=1&b=%C3%A4+%26", b"&c="])
    assert found == {"a": "1", "b": "ä &", "c": ""}
    assert found.text("b") == "ä &"
    assert found.text("d") == ""
    with pytest.raises(TooLargeError, match="b: expected at most 2 characters"):
        found.text("b", 2)


def test_a_long_body_is_not_read_to_its_end():
    with pytest.raises(TooLargeError):
        read([b"a" * 65536] * 100)
    assert read.sent <= MOST_FORM + 65536
    with pytest.raises(TooLargeError):
        read([b"a"], content_length=str(MOST_FORM + 1))
    assert read.sent == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"a=1", "text/plain"),
        (b"a=1", "application/json"),
        (b"a=\xff", PLAIN),
        (b"&".join([b"a=1"] * 1000), PLAIN),
        (b"--B", "multipart/form-data; boundary=B"),
    ],
)
def test_no_form_is_none(body, kind):
    with pytest.raises(FramingError):
        read([body], kind)


def test_a_file_stays_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(forms.MultiPartParser, "spool_max_size", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    content = b"secret" * 500_000
    body, kind = multipart(("csrf", None, b"x"), ("file", "a.json", content))
    found = read([body[at : at + 65536] for at in range(0, len(body), 65536)], kind, upload=True)
    assert found == {"csrf": "x"}
    assert found.file_name == "a.json"
    with found.file as file:
        assert file.read() == content
    # The control: as Starlette has it by default, it would have gone to a file.
    monkeypatch.setattr(forms._InMemory, "spool_max_size", 1)
    with pytest.raises(OSError, match="not there"):
        read([body], kind, upload=True)


@pytest.mark.parametrize(
    "fields",
    [
        [("file", "a", b"1"), ("file", "b", b"2")],
        [(f"f{number}", None, b"") for number in range(50)],
        [("csrf", None, b"x" * (MOST_FORM + 1))],
    ],
)
def test_more_than_one_file_and_some_fields_is_no_form(fields):
    body, kind = multipart(*fields)
    with pytest.raises(FramingError):
        read([body], kind, upload=True)


def test_a_long_file_is_not_read_to_its_end():
    body, kind = multipart(("file", "a.zip", b""))
    start = body[: -len(b"\r\n--B--\r\n")]
    part = bytes(1 << 20)

    def parts():
        yield start
        for _ in range(200):
            yield part

    with pytest.raises(TooLargeError):
        read(parts(), kind, upload=True)
    assert read.sent <= MOST_UPLOAD + (2 << 20)


def test_a_form_is_a_plain_mapping():
    assert Form().file is None
