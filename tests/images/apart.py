"""A party in a process of its own, which can be killed at any step and started again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings

from ompd.crypto import Identity, PublicIdentity
from ompd.errors import OmpdError


class KilledError(Exception):
    """The party was killed; `frames` is what it had sent before."""

    def __init__(self, frames):
        super().__init__("killed")
        self.frames = frames


class Apart:
    """Stands for a party in a child process.

    make(identity) builds it there; others are parties in this process. `kill_at` counts down what
    it is given to do: at 0 it is killed `delay` seconds after it began.
    """

    def __init__(self, id, make, others):
        self.id = id
        self.identity = Identity.generate(id)
        self.make = make
        self.others = others
        self.received = []
        self.steps = 0
        self.kill_at = None
        self.delay = 0.0
        self.start()

    def start(self):
        context = multiprocessing.get_context("fork")
        self.line, theirs = context.Pipe()
        self.process = context.Process(target=self.serve, args=(theirs,), daemon=True)
        with warnings.catch_warnings():
            # The child runs no thread of this process.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()
        role, data = self.line.recv()
        for other in self.others:
            other.meet(PublicIdentity.from_bytes(data), role)

    def serve(self, line):
        os.environ["OMPD_THREADS"] = "1"
        party = self.make(self.identity)
        for other in self.others:
            party.meet(other.public, other.role)
        line.send((party.role, party.public.to_bytes()))
        while True:
            method, arguments, options = line.recv()
            try:
                found = getattr(party, method)(*arguments, **options)
                if method.startswith("deal"):
                    for each in found:
                        line.send(each)
                    found = None
            except OmpdError as error:
                found = error
            line.send(found)

    def call(self, method, *arguments, **options):
        """Let it do something; raises what it raises."""
        self.line.send((method, arguments, options))
        dying = self.dies()
        if dying:
            time.sleep(self.delay)
            self.kill()
            raise KilledError(self.rest())
        found = self.line.recv()
        if isinstance(found, OmpdError):
            raise found
        return found

    def receive(self, frame):
        self.received.append(frame)
        return self.call("receive", frame)

    def deal(self, method, *arguments, **options):
        """Yield the frames of a deal, one step each."""
        self.line.send((method, arguments, options))
        while (found := self.line.recv()) is not None:
            if isinstance(found, OmpdError):
                raise found
            yield found
            if self.dies():
                self.kill()
                raise KilledError([])

    def dies(self):
        self.steps += 1
        if self.kill_at is None:
            return False
        self.kill_at -= 1
        return self.kill_at < 0

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self.kill_at = None

    def rest(self):
        """What it had sent when it was killed."""
        try:
            found = self.line.recv() if self.line.poll() else []
        except (EOFError, OSError):
            return []
        return found if isinstance(found, list) else []

    def close(self):
        self.kill()
        self.line.close()
