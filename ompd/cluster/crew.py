"""Workers, what each of them holds, and questions that survive the loss of any.

A question goes to whoever holds what it is about and has least to do; if that worker is lost before
it has answered, another one is asked. A thread of the crew starts workers in place of lost ones and
brings everybody what is to be held.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ompd.cluster.copies import Copy
from ompd.cluster.rounds import Hands, Member, Pace, Round
from ompd.cluster.worker import Ask
from ompd.errors import OmpdError, UnreachableError

_LOGGER = logging.getLogger("ompd.cluster")
#: Seconds until something that is brought and indexed is given up.
_BRINGING = 3600.0
#: Seconds until what failed is tried again: at first, and at most.
_AGAIN, _LONGEST = 0.5, 30.0
#: Seconds that what is to be brought waits for workers that are being started.
_GATHERING = 20.0
#: Seconds between looks who is still there, and how long an answer to that may take.
_HEARTBEAT, _ALIVE = 10.0, 5.0
#: Workers that are brought something at a time.
_AT_ONCE = 8


class Crew:
    """Workers that hold things and answer questions; for several threads.

    Parameters
    ----------
    hands : Hands
    workers : int
        How many there are to be.

    Attributes
    ----------
    hands : Hands
    pace : Pace
    """

    def __init__(self, hands: Hands, workers: int) -> None:
        self.hands = hands
        self._workers = workers
        self._members: list[Member] = []
        self._wanted: dict[str, Copy] = {}
        # Guards what is above; `_news` says that something changed, `_settled` that it is done.
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._news = threading.Event()
        self._asked_for = 0
        self._done = 0
        self._lost: list[Any] = []
        self._starting, self._begun = 0, 0.0
        self._closed = False
        self.pace = Pace()
        self._thread = threading.Thread(target=self._keep_up, name="ompd-crew", daemon=True)
        self._thread.start()

    # --- what is held

    def place(self, wanted: dict[str, Copy]) -> None:
        """Let workers hold these as well, soon."""
        with self._lock:
            self._wanted |= wanted
        self._plan()

    def forget(self, keys: Sequence[str]) -> None:
        """Let workers drop these, soon."""
        with self._lock:
            for key in keys:
                self._wanted.pop(key, None)
        self._plan()

    def settle(self, seconds: float) -> bool:
        """Wait until all is held as it is to be, and nothing else; returns whether it is."""
        with self._settled:
            goal = self._asked_for
            return self._settled.wait_for(lambda: self._done >= goal or self._closed, seconds)

    def let_go(self, seconds: float) -> bool:
        """Wait until no worker has anything that it was to drop; returns whether that is so."""
        with self._settled:
            return self._settled.wait_for(
                lambda: (
                    not any(
                        each.owed or not self._wanted.keys() >= each.held.keys()
                        for each in self._members
                    )
                ),
                seconds,
            )

    def holders(self, key: str) -> int:
        """Return how many workers hold something now."""
        with self._lock:
            return sum(key in member.held for member in self._members)

    def status(self) -> list[dict[str, Any]]:
        """Return what each worker says of itself."""
        with self._lock:
            members = list(self._members)
        told = []
        for member in members:
            try:
                told.append(self._call(member)("status"))
            except UnreachableError:
                self.lose(member)
        return told

    # --- questions

    def ask(self, asks: Sequence[Ask]) -> list[Any]:
        """Ask all, and return their answers in the same order.

        Raises
        ------
        UnreachableError
            If nobody is left who could answer one of them.
        """
        return Round(self, asks).answers()

    def shared_out(
        self,
        asks: Sequence[Ask],
        waiting: Sequence[int],
        tried: Sequence[Sequence[Member]],
        *,
        idle: bool = False,
    ) -> dict[Member, list[int]]:
        """Choose who is asked what: those who hold it and have least to do.

        Parameters
        ----------
        asks : sequence of Ask
        waiting : sequence of int
            Which of them.
        tried : sequence of sequences of Member
            For each ask, who is not asked again.
        idle : bool, default False
            Only those that have nothing to do; what nobody can be asked is left out then.

        Raises
        ------
        UnreachableError
            If nobody is left.
        """
        given: dict[Member, list[int]] = {}
        stuck = False
        with self._lock:
            busy = {each: each.busy for each in self._members}
            for number in waiting:
                able = [
                    each
                    for each in self._members
                    if asks[number].key in each.held
                    and each not in tried[number]
                    and not (idle and each.busy)
                ]
                if able:
                    member = min(able, key=lambda each: busy[each])
                    busy[member] += 1
                    given.setdefault(member, []).append(number)
                elif not idle:
                    stuck = True
            if not stuck:
                for member, numbers in given.items():
                    member.busy += len(numbers)
        if stuck:
            raise UnreachableError("worker: nobody has what is asked")
        return given

    def freed(self, member: Member, numbers: Sequence[int]) -> None:
        """Note that a worker has these no more to do."""
        with self._lock:
            member.busy -= len(numbers)

    def lose(self, member: Member) -> None:
        """Do without a worker from now on, and start another."""
        with self._lock:
            known = member in self._members
            if known:
                self._members.remove(member)
                # Ended by the crew's thread: whoever found out has others to ask.
                self._lost.append(member.worker)
        if known:
            _LOGGER.warning("a worker was lost, another takes its place")
            self._plan()

    # --- upkeep

    def _plan(self) -> None:
        with self._lock:
            self._asked_for += 1
        self._news.set()

    def _keep_up(self) -> None:
        pause = 0.0
        while True:
            self._news.wait(pause or _HEARTBEAT)
            self._news.clear()
            with self._lock:
                if self._closed:
                    return
                goal = self._asked_for
            failed = True
            try:
                failed = self._mend()
            except Exception:  # the thread must not end, whatever a worker met
                _LOGGER.exception("workers do not hold yet what they should")
            pause = min(_LONGEST, 2 * pause or _AGAIN) if failed else 0.0
            with self._settled:
                if not failed:
                    self._done = goal
                self._settled.notify_all()

    def _mend(self) -> bool:
        """Let there be enough workers, and all hold what they should; whether to try again."""
        self._look()
        with self._lock:
            lost, self._lost = self._lost, []
        for worker in lost:
            self.hands.stop(worker)
        with self._lock:
            missing = self._workers - len(self._members)
            begun = max(0, missing - self._starting)
            if begun:
                self._starting += begun
                self._begun = time.monotonic()
            # Or the first one that is there would have to take all.
            early = self._starting > 0 and time.monotonic() - self._begun < _GATHERING
        for _ in range(begun):
            threading.Thread(target=self._start, name="ompd-crew-start", daemon=True).start()
        with self._lock:
            jobs = [self._dropping(each) for each in self._members]
            jobs += [
                self._sending(member, key, copy)
                for key, copy in self._wanted.items()
                for member in ([] if early else self._takers(key, copy))
            ]
        failed = False
        if jobs:
            with ThreadPoolExecutor(_AT_ONCE, "ompd-crew") as pool:
                failed = not all(pool.map(lambda job: job(), jobs))
        with self._lock:
            short = any(
                sum(key in each.held for each in self._members) < min(copy.copies, self._workers)
                for key, copy in self._wanted.items()
            )
        return failed or short or missing > 0

    def _start(self) -> None:
        """Start a worker, which may have to wait for room, while others are asked."""
        worker = None
        try:
            worker = self.hands.start()
        except OmpdError as error:
            _LOGGER.warning("no worker in place of a lost one yet: %s", error)
        except Exception:  # whatever it is, another try follows
            _LOGGER.exception("no worker in place of a lost one yet")
        with self._lock:
            self._starting -= 1
            joins = worker is not None and not self._closed
            if joins:
                self._members.append(Member(worker))
        if joins:
            self._news.set()
        elif worker is not None:
            self.hands.stop(worker)

    def _look(self) -> None:
        """Find out who is gone, though nobody asked."""
        with self._lock:
            members = list(self._members)
        for member in members:
            try:
                call = self.hands.call(member.worker, "status")
                if self.hands.wait([call], _ALIVE):
                    self.hands.result(call)
            except UnreachableError:
                self.lose(member)

    def _takers(self, key: str, copy: Copy) -> list[Member]:
        """Choose who is to hold another copy: whoever has least; counted as theirs at once."""
        missing = copy.copies - sum(key in each.held for each in self._members)
        free = [each for each in self._members if key not in each.held]
        free.sort(key=lambda each: sum(each.held.values()) + each.promised)
        takers = free[: max(0, missing)]
        for each in takers:
            each.promised += copy.nbytes
        return takers

    def _dropping(self, member: Member) -> Callable[[], bool]:
        gone = [key for key in member.held if key not in self._wanted]
        for key in gone:
            # From now on nobody asks for it.
            del member.held[key]
        member.owed = [*member.owed, *gone]

        def drop() -> bool:
            if member.owed:
                try:
                    self._call(member)("drop", member.owed)
                except UnreachableError:
                    self.lose(member)
                    return False
                member.owed = []
            return True

        return drop

    def _sending(self, member: Member, key: str, copy: Copy) -> Callable[[], bool]:
        def send() -> bool:
            try:
                copy.send(key, self._call(member))
            except UnreachableError:
                self.lose(member)
                return False
            except OmpdError as error:
                _LOGGER.warning("something cannot be brought to a worker: %s", error)
                return False
            finally:
                member.promised -= copy.nbytes
            with self._lock:
                member.held[key] = copy.nbytes
            return True

        return send

    def _call(self, member: Member) -> Callable[..., Any]:
        def call(method: str, *arguments: Any) -> Any:
            begun = self.hands.call(member.worker, method, *arguments)
            if not self.hands.wait([begun], _BRINGING):
                raise UnreachableError("worker: does not answer")
            return self.hands.result(begun)

        return call

    def close(self) -> None:
        """End all workers; may be repeated."""
        with self._settled:
            self._closed = True
            workers = [*(each.worker for each in self._members), *self._lost]
            self._members, self._lost = [], []
            self._settled.notify_all()
        self._news.set()
        for worker in workers:
            self.hands.stop(worker)
        if threading.current_thread() is not self._thread:
            self._thread.join(_LONGEST)

    def __repr__(self) -> str:
        return f"<Crew of {len(self._members)} workers>"
