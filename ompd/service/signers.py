"""Processes that sign and verify: the libraries that do it hold the interpreter's lock."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import pairwise
from typing import Any, Self, TypeVar

from ompd.crypto import SigningKey
from ompd.errors import OmpdError, ParameterError
from ompd.roles.clerk import Clerk, Letter
from ompd.service.signer import receive, send

T = TypeVar("T")
R = TypeVar("R")

_LOGGER = logging.getLogger("ompd.signers")
# Silent unless the application asks for it.
_LOGGER.addHandler(logging.NullHandler())

MOST_PROCESSES = 64
#: Fewer than this are not worth another process: what is verified together is cheaper.
_LEAST = 8
#: Up to so many are not worth the way to a process.
_FEW = 2
#: Seconds that a process has to begin; and for a part: once, and as many for each of its items.
_BEGIN = 60.0
_EACH = 2.0
#: Seconds after which it is looked whether a process that has nothing to do still lives.
_LOOK = 1.0
#: Seconds until another is started: after the first one ended, and if they end again and again.
_SOONEST, _LATEST = 0.1, 30.0
#: Seconds that a process has to end by itself.
_ENDING = 5.0


class _GoneError(Exception):
    """The process that should have done it ended."""


class _Task:
    """A part of a call, for one process."""

    def __init__(self, call: str, items: Sequence[Any]) -> None:
        self.call = call
        self.items = items
        self.result: Future[list[Any]] = Future()


class _Process:
    """One process, of one thread.

    Raises
    ------
    OSError, EOFError
        From every method but `end`, if it does not begin, ended, or is too slow.
    """

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        # Before the process exists, whatever happens to it.
        try:
            with theirs:
                number = theirs.fileno()
                self._process = subprocess.Popen(  # noqa: S603  (this program's own)
                    [sys.executable, "-P", "-m", "ompd.service.signer", str(number)],
                    pass_fds=[number],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # Of the same installation, wherever this one was found.
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    # What a terminal tells all processes in it is for the first alone.
                    process_group=0,
                )
        except BaseException:
            self._socket.close()
            raise

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def begin(self, signing_key: SigningKey) -> None:
        """Hand over the key, and wait until it can be used."""
        self._socket.settimeout(_BEGIN)
        send(self._socket, (signing_key.backend.name, signing_key.to_bytes()))
        if receive(self._socket) != signing_key.public_key:
            raise EOFError

    def do(self, task: _Task) -> list[Any]:
        """Have it do a part of a call."""
        self._socket.settimeout(_EACH * (1 + len(task.items)))
        send(self._socket, (task.call, task.items))
        result: list[Any] = receive(self._socket)
        return result

    def check(self) -> None:
        """See that it lives."""
        if self._process.poll() is not None:
            raise EOFError

    def end(self) -> None:
        """Let it end, or make it; may be repeated."""
        self._socket.close()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


class Signers(Clerk):
    """A clerk that has processes do its work, and does it itself where there are none.

    The processes end with this one, whatever ends it, and are started anew if they end before.
    What one of them did not finish is done by the calling thread. For several threads.

    Parameters
    ----------
    signing_key : SigningKey
        It is handed to the processes through sockets that nobody else has.
    processes : int
        How many, from 1 to 64; more than there are cores are of no use.

    Raises
    ------
    ParameterError
        If it is no such number.
    """

    def __init__(self, signing_key: SigningKey, processes: int) -> None:
        if type(processes) is not int or not 1 <= processes <= MOST_PROCESSES:
            raise ParameterError(f"processes: expected 1 to {MOST_PROCESSES}")
        super().__init__(signing_key)
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        # Guards which processes there are, and that no task is put where there is none.
        self._lock = threading.Lock()
        self._beginning: set[_Process] = set()
        self._ready: set[_Process] = set()
        self._threads = [
            threading.Thread(target=self._keep_one, name=f"signer-{number}", daemon=True)
            for number in range(processes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pids(self) -> tuple[int, ...]:
        """Numbers of the processes that are at work; they begin some time after the clerk does."""
        with self._lock:
            return tuple(process.pid for process in self._ready)

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[OmpdError | None]:
        """As `SignatureBackend.verify_many`: a bad signature is told, not raised."""
        return self._shared("verify", items, super().verify_many)

    def seal_many(self, letters: Sequence[Letter]) -> list[bytes | OmpdError]:
        """As `Clerk.seal_many`."""
        return self._shared("seal", letters, super().seal_many)

    def close(self) -> None:
        """End the processes, once they have done what they were asked for; may be repeated."""
        with self._lock:
            self._closing.set()
            for process in self._beginning:
                process.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shared(
        self, call: str, items: Sequence[T], alone: Callable[[Sequence[T]], list[R]]
    ) -> list[R]:
        """Do a call in parts, each in a process, or in this thread where there is none for it."""
        if len(items) <= _FEW:
            return alone(items)
        with self._lock:
            present = 0 if self._closing.is_set() else len(self._ready)
            tasks = [_Task(call, part) for part in _parts(items, present)]
            for task in tasks:
                self._tasks.put(task)
        if not present:
            return alone(items)
        results: list[R] = []
        for task in tasks:
            try:
                results += task.result.result()
            except _GoneError:
                results += alone(task.items)
        return results

    def _keep_one(self) -> None:
        """Keep one process alive, in a thread of its own."""
        pause = 0.0
        while not self._closing.wait(pause):
            begun = time.monotonic()
            try:
                self._live()
            except Exception as error:
                lasted = time.monotonic() - begun > _LATEST
                pause = _SOONEST if lasted else min(max(2 * pause, _SOONEST), _LATEST)
                if not self._closing.is_set():
                    _LOGGER.warning(
                        "a signature process ended (%s); another is started", type(error).__name__
                    )

    def _live(self) -> None:
        """Start a process and hand it work; returns when the clerk closes."""
        process = _Process()
        try:
            with self._lock:
                if self._closing.is_set():
                    return
                self._beginning.add(process)
            try:
                process.begin(self._signing_key)
            finally:
                with self._lock:
                    self._beginning.remove(process)
            with self._lock:
                self._ready.add(process)
            try:
                self._work(process)
            finally:
                self._leave(process)
        finally:
            process.end()

    def _work(self, process: _Process) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=_LOOK)
            except queue.Empty:
                if self._closing.is_set():
                    return
                process.check()
                continue
            if task is None:
                return
            try:
                result = process.do(task)
            except BaseException:
                task.result.set_exception(_GoneError())
                raise
            task.result.set_result(result)

    def _leave(self, process: _Process) -> None:
        """Count a process as gone; with the last one, return what waits to those who asked."""
        with self._lock:
            self._ready.remove(process)
            with contextlib.suppress(queue.Empty):
                while not self._ready:
                    task = self._tasks.get_nowait()
                    if task is not None:
                        task.result.set_exception(_GoneError())


def _parts(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Split into at most so many parts of almost one size, none smaller than is worth it."""
    count = min(most, -(-len(items) // _LEAST))
    bounds = [len(items) * place // count for place in range(count + 1)] if count else []
    return [items[start:stop] for start, stop in pairwise(bounds)]
