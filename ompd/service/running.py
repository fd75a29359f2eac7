"""How commands find a server that runs, and prove to it that they may."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from ompd.errors import StoreError
from ompd.files import refusing, write_private
from ompd.service.serving import Addresses

#: Name of the file, within the state of the server.
FILE = "running.json"
_MOST_BYTES = 4096


class Running(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a running server tells the commands of its owner.

    Attributes
    ----------
    pid : int
    service, metrics : str
        URLs of its two ports.
    token : str
        Fresh for each start; who can read it may command the server.
    """

    pid: int
    service: str
    metrics: str
    token: str

    @classmethod
    def of(cls, addresses: Addresses) -> Self:
        """Return what this process tells, with a fresh token."""
        assert addresses.metrics is not None  # noqa: S101  (servers have both ports)
        return cls(os.getpid(), addresses.service, addresses.metrics, secrets.token_urlsafe(32))

    def __repr__(self) -> str:
        return f"<Running at {self.service}>"


@contextlib.contextmanager
def told(state: Path, running: Running) -> Iterator[None]:
    """Keep the file, of mode 0600, for as long as the block takes.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = state / FILE
    with refusing(StoreError, FILE):
        write_private(path, [msgspec.json.encode(running)])
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def find(state: Path) -> Running | None:
    """Return what a server on this state told; None if none runs or ended as it should.

    A server that was killed leaves its file: then nobody answers there.

    Raises
    ------
    StoreError
        If the file cannot be read.
    """
    path = state / FILE
    if not os.path.lexists(path):
        return None
    with refusing(StoreError, FILE), path.open("rb") as file:
        data = file.read(_MOST_BYTES)
    found: Running | None = None
    with contextlib.suppress(ValueError):
        found = msgspec.json.decode(data, type=Running)
    if found is None:
        raise StoreError(f"{FILE}: is damaged; remove it if no server runs")
    return found
