"""From the hospital to its clouds: what is lost, late, in parts, or too long."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

from ompd.errors import ConfigError, UnreachableError
from ompd.service import link as links
from ompd.service.config import Connect
from ompd.service.link import Link
from tests.service.certificates import Authority

FRAME, ANSWER = b"frame" * 100, bytes(range(256)) * 40
LENGTH = len(ANSWER)


class Cloud:
    """A server that does with each request what its script says, and then answers."""

    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.tasks = []

    @contextlib.asynccontextmanager
    async def serving(self, context=None):
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0, ssl=context)
        try:
            yield f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await server.wait_closed()

    async def connected(self, reader, writer):
        self.tasks.append(asyncio.current_task())
        with contextlib.closing(writer):
            await self.serve(reader, writer)

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(lines.get("content-length", 0)))
                self.requests.append((head.split()[1], body, lines.get("range")))
                what = self.script.pop(0) if self.script else 200
                if callable(what):
                    what = await what()
                if what == "drop":
                    break
                if not await self.answer(writer, what, lines.get("range")):
                    break

    async def answer(self, writer, what, wanted):
        status, content, more = (what, b"", "") if what != 200 else (200, ANSWER, "")
        if isinstance(what, tuple):  # so many bytes, and then nothing
            status, content = 200, ANSWER
        if wanted and status == 200:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status, content = 206, ANSWER[first:]
            more = f"content-range: bytes {first}-{len(ANSWER) - 1}/{len(ANSWER)}\r\n"
        if status == 307:
            more = "location: /elsewhere\r\n"
        if status == 503:
            more = "retry-after: 0\r\n"
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n{more}\r\n"
        sent = content[: what[0]] if isinstance(what, tuple) else content
        writer.write(head.encode() + sent)
        await writer.drain()
        return sent == content


def asked(cloud, *, longest=LENGTH, patience=20.0, name="cloud", call="ask"):
    async def run():
        async with cloud.serving() as url:
            link = Link({"cloud": url + "/"}, Connect(), patience=patience)
            async with link:
                try:
                    if call == "identity":
                        return await link.identity(name)
                    return await link.ask(name, FRAME, longest)
                finally:
                    cloud.reached = link.reached

    return asyncio.run(run())


def test_a_frame_is_answered():
    cloud = Cloud()
    assert asked(cloud) == ANSWER
    assert cloud.requests == [("/v1/frames", FRAME, None)]
    assert cloud.reached == {"cloud": True}


def test_the_same_frame_goes_again_where_the_answer_is_lost():
    cloud = Cloud("drop", "drop", 503, 503)
    assert asked(cloud) == ANSWER
    assert cloud.requests == [("/v1/frames", FRAME, None)] * 5


def test_a_long_answer_goes_on_where_it_was_cut_off():
    cloud = Cloud((1000,), (500,), (0,), "drop")
    assert asked(cloud) == ANSWER
    ranges = [wanted for _, _, wanted in cloud.requests]
    assert ranges == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-", "bytes=1500-"]
    assert {body for _, body, _ in cloud.requests} == {FRAME}


def test_a_cloud_that_begins_anew_is_read_anew():
    cloud = Cloud((1000,))
    answer = cloud.answer

    async def whole(writer, what, _):
        return await answer(writer, what, None)

    cloud.answer = whole
    assert asked(cloud) == ANSWER


@pytest.mark.parametrize("script", [(400,), (404,), (307,), (204,)])
def test_a_refusal_is_not_asked_for_again(script):
    cloud = Cloud(*script)
    with pytest.raises(UnreachableError, match="refused"):
        asked(cloud)
    assert len(cloud.requests) == 1


def test_no_more_is_read_than_there_can_be():
    cloud = Cloud()
    with pytest.raises(UnreachableError, match="too long"):
        asked(cloud, longest=LENGTH - 1)
    assert len(cloud.requests) == 1


def test_patience_ends():
    for script in (["drop"] * 1000, [503] * 1000):
        cloud = Cloud(*script)
        with pytest.raises(UnreachableError, match="reached, or is busy"):
            asked(cloud, patience=0.3)
        assert len(cloud.requests) > 1
    cloud = Cloud(*["drop"] * 1000)
    with pytest.raises(UnreachableError):
        asked(cloud, patience=0.3)
    assert cloud.reached == {"cloud": False}


def test_an_answer_that_does_not_come_is_lost(monkeypatch):
    monkeypatch.setattr(links, "_ANSWER", 0.2)

    async def late():
        await asyncio.sleep(0.6)
        return "drop"

    cloud = Cloud(late)
    assert asked(cloud) == ANSWER
    assert len(cloud.requests) == 2


def test_nobody_said_where_the_cloud_is():
    with pytest.raises(ConfigError):
        asked(Cloud(), name="other")
    with pytest.raises(ConfigError):
        Link({"cloud": "http://localhost:1"}, Connect()).check("other")


def test_who_a_cloud_is(monkeypatch):
    monkeypatch.setattr(links, "MAX_PUBLIC_IDENTITY_BYTES", LENGTH)
    cloud = Cloud()
    assert asked(cloud, call="identity") == ANSWER
    assert cloud.requests == [("/v1/identity", b"", None)]
    assert cloud.reached == {"cloud": True}
    monkeypatch.setattr(links, "MAX_PUBLIC_IDENTITY_BYTES", 100)
    for script in ((), ("drop", "drop", "drop"), (400,)):
        with pytest.raises(UnreachableError):
            asked(Cloud(*script), call="identity")


def test_tls_with_certificates_of_both_sides(tmp_path):
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ours.file)
    context.load_cert_chain(*ours.issue("cloud"))
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = ours.issue("hospital")
    stranger, its_key = others.issue("stranger")

    async def run(**files):
        cloud = Cloud()
        async with cloud.serving(context) as url:
            link = Link({"cloud": url}, Connect(**files), patience=0.3)
            async with link:
                return await link.ask("cloud", FRAME, LENGTH)

    known = {"authorities": ours.file, "certificate": certificate, "key": key}
    assert asyncio.run(run(**known)) == ANSWER
    for files in (
        known | {"authorities": others.file},
        {"authorities": ours.file},
        known | {"certificate": stranger, "key": its_key},
        {},
    ):
        with pytest.raises(UnreachableError):
            asyncio.run(run(**files))
