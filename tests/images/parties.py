"""Five parties that know one another, and ways between them."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections import deque

from ompd.roles import introduce
from ompd.roles.imaging import Authority, ImageCloud, Patient, Physician, deliver
from ompd.wire import Frame, Kind

NAMES = {"clouds": ("left", "right"), "patient": "pat", "physician": "doc"}
IMAGE_KINDS = [kind for kind in Kind if kind >= Kind.IMAGE_KEY]


class Parties:
    """All five, and what was sent."""

    def __init__(self, **stocks):
        self.authority = Authority.create("dealer")
        self.patient = Patient.create("pat")
        self.left = ImageCloud.create("left", stock=stocks.get("left"))
        self.right = ImageCloud.create("right", stock=stocks.get("right"))
        self.physician = Physician.create("doc")
        introduce(self.authority, *self.all)
        self.sent = []

    @property
    def all(self):
        return self.patient, self.left, self.right, self.physician

    def watch(self, recipient, frame):
        header = Frame.decode(frame, *IMAGE_KINDS).header
        self.sent.append((header.kind, header.sender, recipient, len(frame), frame))

    def deal(self, image, mode="extract"):
        shape = (*image.shape, 8 * image.itemsize)
        deliver(self.authority.deal(*shape, mode=mode, **NAMES), *self.all, watch=self.watch)

    def extract(self, image):
        self.deal(image)
        deliver(self.submit(image), *self.all, watch=self.watch)
        return self.physician.features()

    def submit(self, image, mode="extract"):
        return self.patient.submit(image, mode=mode)

    def until(self, outgoing, kind, sender=None):
        """Deliver until a frame of a kind is next; returns it with its recipient, and the rest."""
        waiting = deque(outgoing)
        known = {each.id: each for each in self.all}
        while waiting:
            recipient, frame = waiting.popleft()
            header = Frame.decode(frame, *IMAGE_KINDS).header
            if header.kind is kind and sender in (None, header.sender):
                return known[recipient], frame, waiting
            waiting.extend(known[recipient].receive(frame))
        raise AssertionError(f"no {kind.words} was sent")


class Line:
    """Frames over TCP, each behind its length and its recipient."""

    def __init__(self, party, ports, finished=bool):
        self.party = party
        self.finished = finished
        self.server = socket.create_server(("127.0.0.1", 0))
        ports[party.id] = self.server.getsockname()[1]
        self.ports = ports
        self.lock = threading.Lock()
        self.errors = []
        self.done = threading.Event()
        self.waiting = queue.SimpleQueue()
        for work in (self.serve, self.send):
            threading.Thread(target=work, daemon=True).start()

    def send(self):
        """One after the other, each until it was taken: a sender's frames stay in order."""
        while True:
            recipient, frame = self.waiting.get()
            with socket.create_connection(("127.0.0.1", self.ports[recipient])) as link:
                link.sendall(struct.pack(">I", len(frame)) + frame)
                link.recv(1)

    def put(self, outgoing):
        for each in outgoing:
            self.waiting.put(each)

    def serve(self):
        while True:
            try:
                link, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.take, args=(link,), daemon=True).start()

    def take(self, link):
        with link:
            (length,) = struct.unpack(">I", read(link, 4))
            frame = read(link, length)
            try:
                with self.lock:
                    self.put(self.party.receive(frame))
                    if self.finished():
                        self.done.set()
                link.sendall(b"\x01")
            except Exception as error:  # told by the test's own thread
                self.errors.append(error)
                self.done.set()


def read(link, length):
    data = bytearray()
    while len(data) < length:
        part = link.recv(length - len(data))
        assert part
        data += part
    return bytes(data)
