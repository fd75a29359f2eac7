"""A disk that refuses: one step that reaches it fails, or all that need room from then on."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ompd.errors import OmpdError

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

    def step(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its failures."""

        def called(*arguments: Any, **options: Any) -> Any:
            reading = name == "open" and not arguments[1] & os.O_CREAT
            if self._full and (reading or name not in _NEED_ROOM):
                return plain(*arguments, **options)
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
    kept: int = 0,
    every: bool = True,
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
    kept : int, default 0
        Descriptors that a refused action may keep open, for another try.
    every : bool, default True
        False leaves steps out, the more the later they are.

    Returns
    -------
    set of str
        Which steps failed.
    """
    kinds = set()
    at = 0
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
        if not disk.failed:
            return kinds
        kinds.add(disk.failed)
        at += 1 if every else 1 + at // 3
    raise AssertionError("the action has no end")
