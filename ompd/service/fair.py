"""How users share a server: in turn, and no more than there is room for."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from ompd.errors import BusyError

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Holds what users hand in until it is taken: users in turn, not first come first served."""

    def __init__(self) -> None:
        # The user whose turn is next comes first.
        self._lines: OrderedDict[str, deque[tuple[T, int]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, user: str, item: T, size: int) -> None:
        """Let an item of some size wait."""
        self._lines.setdefault(user, deque()).append((item, size))
        self._count += 1

    def take(self, items: int, size: int) -> list[T]:
        """Return up to so many items, and of no more than `size` together unless it is one."""
        taken: list[T] = []
        total = 0
        while self._lines and len(taken) < items:
            user, line = next(iter(self._lines.items()))
            total += line[0][1]
            if taken and total > size:
                break
            taken.append(line.popleft()[0])
            if line:
                self._lines.move_to_end(user)
            else:
                del self._lines[user]
        self._count -= len(taken)
        return taken


class Room:
    """Bounds what users have open at a time.

    Parameters
    ----------
    items, size : int
        How many there may be, and their sizes in sum. One is let in whatever its size.
    share : float
        Above 0, up to 1: what of both one user may have; one item in any case.
    """

    def __init__(self, items: int, size: int, share: float) -> None:
        self._most = items, size
        self._share = share
        self._items: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._held = [0, 0]

    def __len__(self) -> int:
        return self._held[0]

    def enter(self, user: str, size: int) -> None:
        """Let an item of a user in.

        Raises
        ------
        BusyError
            If there is no room, or the user has taken as much as one may.
        """
        items, most = self._most
        if self._held[0] and (self._held[0] >= items or self._held[1] + size > most):
            raise BusyError("room: there is none at present")
        mine = self._items[user], self._sizes[user]
        if mine[0] and (mine[0] >= self._share * items or mine[1] + size > self._share * most):
            raise BusyError("room: this user has taken as much as one may")
        self._change(user, 1, size)

    def leave(self, user: str, size: int) -> None:
        """Let an item go that was let in."""
        self._change(user, -1, -size)
        if not self._items[user]:
            del self._items[user], self._sizes[user]

    def _change(self, user: str, items: int, size: int) -> None:
        self._items[user] += items
        self._sizes[user] += size
        self._held[0] += items
        self._held[1] += size


class Pace:
    """Bounds how often something is done for one address.

    Parameters
    ----------
    rate : float
        How often per second, in the long run.
    burst : float
        How many seconds of that at once.
    clock : callable
        Seconds.
    """

    def __init__(
        self, rate: float, burst: float = 2.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._step = 1 / rate
        # One at least, however slow.
        self._ahead = max(burst, self._step)
        self._clock = clock
        # Until when each address has used up what it may; the one that was here last comes last.
        self._used: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def enter(self, address: str) -> float:
        """Count one more of an address, and return 0; or count nothing, and return when to come.

        Returns
        -------
        float
            Seconds to wait.
        """
        now = self._clock()
        whose = network_of(address)
        used = max(self._used.get(whose, now), now) + self._step
        if used > now + self._ahead:
            return used - now - self._ahead
        self._used[whose] = used
        self._used.move_to_end(whose)
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        return 0.0


def network_of(address: str) -> str:
    """Return what one party is taken to have: an address, or a network of 64 bits of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return found.packed[:8].hex()
