"""Servers in a thread of the test, and peers that speak to them byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from concurrent.futures import Future

import uvloop

from ompd.service.config import Listen
from ompd.service.serving import serve
from ompd.wire import Header, encode_signed_part


@contextlib.contextmanager
def serving(app, *, patience=10.0, tls=None, metrics=None):
    """Serve an app in a thread; gives its addresses, and ends it."""
    told = Future()
    listen = Listen(port=0, metrics_port=0, tls=tls)

    async def main():
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def started(addresses):
            told.set_result((addresses, lambda: loop.call_soon_threadsafe(stop.set)))

        await serve(app, listen, stop, metrics=metrics, started=started, patience=patience)

    def run():
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            if told.done():
                raise
            told.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        addresses, stop = told.result(60)
        try:
            yield addresses
        finally:
            stop()
    finally:
        thread.join(60)
        assert not thread.is_alive()


class Peer:
    """A connection to a server."""

    def __init__(self, url, context: ssl.SSLContext | None = None):
        host, port = url.rpartition("//")[2].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Send; what the server does not want to read any more is lost."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def rest(self):
        """All that comes until the server closes."""
        found = b""
        while part := self.socket.recv(65536):
            found += part
        return found

    def answer(self):
        """Status, headers and body of the next answer, which has a length."""
        found = b""
        while b"\r\n\r\n" not in found:
            part = self.socket.recv(65536)
            assert part, found
            found += part
        head, _, body = found.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        while len(body) < int(headers[b"content-length"]):
            part = self.socket.recv(1 << 20)
            assert part
            body += part
        return int(first.split()[1]), headers, body


def post(frame, path="/v1/frames", extra=""):
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(frame)}\r\n{extra}\r\n"
    return head.encode() + frame


def get(path):
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def headed(sender, recipient, kind, size, sequence=0):
    """A frame of which no more than the header is true."""
    now = int(time.time() * 1000)
    header = Header(1, kind, sender, recipient, os.urandom(16), now, sequence)
    return encode_signed_part(header, bytes(size))[0] + bytes(96)


def said(url, data):
    """What a server says to these bytes, until it closes."""
    with Peer(url) as peer:
        peer.send(data)
        return peer.rest()


def answer_to(url, data):
    """Status and body of an answer."""
    with Peer(url) as peer:
        peer.send(data)
        status, _, body = peer.answer()
        return status, body
