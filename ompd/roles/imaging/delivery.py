"""Frames on their way between the parties of one process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

#: A frame and the id of whom it is for.
Outgoing = tuple[str, bytes]


class Receiver(Protocol):
    """A party that takes frames."""

    @property
    def id(self) -> str:
        """Name under which others know it."""

    def receive(self, frame: bytes) -> list[Outgoing]:
        """Take a frame; return what is to be sent."""


def deliver(
    outgoing: Iterable[Outgoing],
    *parties: Receiver,
    watch: Callable[[str, bytes], None] | None = None,
) -> None:
    """Hand frames to their parties, and what these send, until nothing is left.

    Parameters
    ----------
    outgoing : iterable of (str, bytes)
        Taken one by one, so that material need not be in memory as a whole.
    *parties : Authority, Patient, ImageCloud or Physician
    watch : callable, optional
        Called with recipient and frame before each is handed over.

    Raises
    ------
    OmpdError
        What a party raises; frames that are on their way then are lost.
    """
    known = {party.id: party for party in parties}
    waiting: deque[Outgoing] = deque()

    def hand_over(recipient: str, frame: bytes) -> None:
        if watch is not None:
            watch(recipient, frame)
        waiting.extend(known[recipient].receive(frame))

    for each in outgoing:
        hand_over(*each)
    while waiting:
        hand_over(*waiting.popleft())
