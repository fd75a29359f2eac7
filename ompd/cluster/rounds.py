"""One round of questions to workers, of which any may be lost or late."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ompd.cluster.worker import Ask
from ompd.errors import OmpdError, UnreachableError

#: Seconds until an answer is given up, whatever became of the worker.
PATIENCE = 60.0
#: A worker is late after so many times what its answer should take, and so many seconds at least;
#: what it was asked is asked of another one as well. To learn that a process is dead takes longer.
_LATE, _SOONEST = 1.5, 0.01
#: Share of the pace so far in the pace that is known then.
_MEMORY = 0.8


class Hands(Protocol):
    """How workers are started and called."""

    def start(self) -> Any:
        """Start a worker, and return what stands for it once it answers.

        Raises
        ------
        UnreachableError, ClusterError
            If there is no room for one, or it does not fit.
        """

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Begin a call, and return what stands for its result."""

    def wait(self, calls: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return calls that are over, once at least one is; none after so many seconds."""

    def result(self, call: Any) -> Any:
        """Return the result of a call that is over.

        Raises
        ------
        UnreachableError
            If there is none, since the worker is gone.
        """

    def stop(self, worker: Any) -> None:
        """End a worker, if it is still there."""


@dataclass(slots=True, eq=False, repr=False)
class Member:
    """A worker, and what is known of it."""

    worker: Any
    # Bytes by key; what is dropped and may still be there; bytes on their way.
    held: dict[str, int] = field(default_factory=dict)
    owed: list[str] = field(default_factory=list)
    promised: int = 0
    # Questions that are not answered.
    busy: int = 0
    # Since when it has answered nothing that it was asked.
    silent: float | None = None


class Pace:
    """How long answers take: seconds per query, by what is done; for several threads."""

    def __init__(self) -> None:
        self._rates: dict[str, float] = {}

    def note(self, asks: Sequence[Ask], seconds: float) -> None:
        """Learn from some asks that one worker has answered."""
        size = sum(each.size for each in asks)
        if size:
            method, rate = asks[0].method, seconds / size
            self._rates[method] = rate + _MEMORY * (self._rates.get(method, rate) - rate)

    def late(self, asks: Sequence[Ask]) -> float:
        """Return after how many seconds they are late."""
        rate = self._rates.get(asks[0].method)
        if rate is None:
            return PATIENCE
        return min(PATIENCE, max(_SOONEST, _LATE * rate * sum(each.size for each in asks)))


class Asked(Protocol):
    """Whom a round asks: a crew."""

    hands: Hands
    pace: Pace

    def shared_out(
        self,
        asks: Sequence[Ask],
        waiting: Sequence[int],
        tried: Sequence[Sequence[Member]],
        *,
        idle: bool = False,
    ) -> dict[Member, list[int]]:
        """As `Crew.shared_out`."""

    def freed(self, member: Member, numbers: Sequence[int]) -> None:
        """As `Crew.freed`."""

    def lose(self, member: Member) -> None:
        """As `Crew.lose`."""


@dataclass(slots=True, eq=False, repr=False)
class _Flight:
    """What one worker was asked, when, and when that is late."""

    member: Member
    numbers: list[int]
    begun: float
    late: float


class Round:
    """Some questions, and who was asked them.

    Parameters
    ----------
    crew : Crew
    asks : sequence of Ask
    """

    def __init__(self, crew: Asked, asks: Sequence[Ask]) -> None:
        self._crew = crew
        self._asks = asks
        self._answers: list[Any] = [None] * len(asks)
        self._left = set(range(len(asks)))
        self._tried: list[list[Member]] = [[] for _ in asks]
        self._flying: dict[Any, _Flight] = {}

    def answers(self) -> list[Any]:
        """Ask until all are answered.

        Raises
        ------
        UnreachableError
            If nobody is left who could answer one of them.
        """
        try:
            self._send(sorted(self._left))
            while self._left:
                now = time.monotonic()
                first = min(each.late for each in self._flying.values())
                over = self._crew.hands.wait(list(self._flying), max(0.0, first - now))
                for call in over:
                    self._land(call)
                if not over:
                    self._press()
        finally:
            self._leave()
        return self._answers

    def _send(self, numbers: Sequence[int], *, idle: bool = False) -> bool:
        """Ask some; returns whether anybody is asked."""
        given = self._crew.shared_out(self._asks, numbers, self._tried, idle=idle)
        unsent: list[int] = []
        for member, some in given.items():
            asks = [self._asks[each] for each in some]
            for number in some:
                self._tried[number].append(member)
            try:
                call = self._crew.hands.call(member.worker, "do", asks)
            except UnreachableError:
                self._crew.freed(member, some)
                self._crew.lose(member)
                unsent += some
            else:
                now = time.monotonic()
                self._flying[call] = _Flight(member, some, now, now + self._crew.pace.late(asks))
        if unsent and not idle:
            self._send(unsent)
        return bool(given)

    def _land(self, call: Any) -> None:
        flight = self._flying.pop(call)
        flight.member.silent = None
        self._crew.freed(flight.member, flight.numbers)
        told: Sequence[Any]
        try:
            told = self._crew.hands.result(call)
        except UnreachableError as error:
            self._crew.lose(flight.member)
            told = [error] * len(flight.numbers)
        else:
            asks = [self._asks[each] for each in flight.numbers]
            self._crew.pace.note(asks, time.monotonic() - flight.begun)
        for number, answer in zip(flight.numbers, told, strict=True):
            if not isinstance(answer, OmpdError) and number in self._left:
                self._answers[number] = answer
                self._left.remove(number)
        under_way = {each for other in self._flying.values() for each in other.numbers}
        again = [each for each in flight.numbers if each in self._left and each not in under_way]
        if again:
            self._send(again)

    def _leave(self) -> None:
        """Wait no more for those that others were faster than."""
        now = time.monotonic()
        for flight in self._flying.values():
            member = flight.member
            self._crew.freed(member, flight.numbers)
            member.silent = member.silent or flight.begun
            if now - member.silent >= PATIENCE:
                self._crew.lose(member)

    def _press(self) -> None:
        """Ask others what is late; who is silent for very long counts as lost."""
        now = time.monotonic()
        for call, flight in list(self._flying.items()):
            if flight.late > now:
                continue
            if now - flight.begun >= PATIENCE:
                del self._flying[call]
                self._crew.freed(flight.member, flight.numbers)
                self._crew.lose(flight.member)
                lost = [each for each in flight.numbers if each in self._left]
                under_way = {each for other in self._flying.values() for each in other.numbers}
                if again := [each for each in lost if each not in under_way]:
                    self._send(again)
                continue
            wanted = [each for each in flight.numbers if each in self._left]
            # Others first finish what they have; then they are asked.
            asked = bool(wanted) and self._send(wanted, idle=True)
            late = PATIENCE if asked or not wanted else _SOONEST
            flight.late = min(now + late, flight.begun + PATIENCE)
