"""A disk that refuses: one step that reaches it fails, or all that need room from then on."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ompd.errors import OmpdError

#: Some steps in every run of the tests, each of them in the long ones.
EVERY = pytest.mark.parametrize(
    "every",
    [False, pytest.param(True, marks=pytest.mark.long)],
    ids=["some steps", "every step"],
)

#: Functions of `os` by which anything reaches the disk.
STEPS = (
    "open", "write", "ftruncate", "posix_fallocate", "fsync", "replace", "link", "unlink", "rmdir",
    "mkdir", "chmod",
)  # fmt: skip
#: Those that fail on a full disk.
_NEED_ROOM = {"open", "write", "posix_fallocate", "link", "mkdir"}


class Disk:
    """What happened to the steps since the disk began to count."""

    def __init__(self, at: int, *, full: bool) -> None:
        self._left = at
        self._full = full
        self.failed = ""
        #: Those that could fail, in their order.
        self.steps: list[str] = []

    def step(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its failures."""

        def called(*arguments: Any, **options: Any) -> Any:
            reading = name == "open" and not arguments[1] & os.O_CREAT
            if self._full and (reading or name not in _NEED_ROOM):
                return plain(*arguments, **options)
            self.steps.append(name)
            self._left -= 1
            if self._left == -1 or (self._full and self._left < -1):
                self.failed = self.failed or name
                if name == "write":
                    # Part of it arrives.
                    plain(arguments[0], arguments[1][: len(arguments[1]) // 2])
                number = errno.ENOSPC if self._full else errno.EIO
                raise OSError(number, os.strerror(number))
            return plain(*arguments, **options)

        return called


@contextlib.contextmanager
def failing(at: int, *, full: bool = False) -> Iterator[Disk]:
    """Let the step of this number fail, from 0; with `full`, all that need room from there on."""
    disk = Disk(at, full=full)
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            if hasattr(os, name):
                patch.setattr(os, name, disk.step(name, getattr(os, name)))
        yield disk


def torture(
    prepare: Callable[[int], Any],
    act: Callable[[Any], object],
    check: Callable[[Any, bool], None],
    *,
    full: bool,
    every: bool,
    kept: int = 0,
) -> set[str]:
    """Let an action fail at each of its steps, or at some of them.

    Parameters
    ----------
    prepare : callable
        Makes a fresh world from the number of the step.
    act : callable
        What is tried on the world.
    check : callable
        Called with the world and whether the action was refused. Tries again, and compares.
    full : bool
    every : bool
        False takes the first and the last step of each kind.
    kept : int, default 0
        Descriptors that a refused action may keep open, for another try.

    Returns
    -------
    set of str
        Which steps failed.
    """
    kinds: set[str] = set()
    at = 0
    chosen: list[int] = []
    if not every:
        world = prepare(1000)
        with failing(1000, full=full) as disk:
            act(world)
        check(world, False)
        last = {name: number for number, name in enumerate(disk.steps)}
        chosen = sorted({*last.values(), *map(disk.steps.index, last)}, reverse=True)
        if not chosen:
            return kinds
        at = chosen.pop()
    while at < 1000:
        world = prepare(at)
        descriptors = len(os.listdir("/proc/self/fd"))
        with failing(at, full=full) as disk:
            try:
                act(world)
                refused = False
            except OmpdError:
                refused = True
        if refused:
            assert disk.failed
            assert len(os.listdir("/proc/self/fd")) <= descriptors + kept
        check(world, refused)
        if disk.failed:
            kinds.add(disk.failed)
        elif every:
            return kinds
        if not every and not chosen:
            return kinds
        at = at + 1 if every else chosen.pop()
    raise AssertionError("the action has no end")
