"""What a party asks before it accepts a frame."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

from ompd.errors import ExpiredError, FrameError, ParameterError, ReplayError, TooLargeError
from ompd.wire import Header

#: Frames remembered at once; beyond that a party refuses rather than forgets.
CAPACITY = 1_000_000
#: Answers kept at once, in bytes and number; beyond that the oldest go. A single one above a
#: quarter is not kept.
OUTBOX_BYTES = 64 << 20
OUTBOX_ANSWERS = 100_000
#: Forgotten at once, or per claim if many come together; more than one, so that memory shrinks, and
#: few, so that no frame pays for the thousands before it.
FORGET_AT_ONCE = 64
FORGET_PER_CLAIM = 2
# What a SQLite integer holds.
FIRST, LAST = -(2**63), 2**63 - 1


class FrameGuard(ABC):
    """What a party asks before it accepts a frame.

    Parameters
    ----------
    window : float
        Seconds that a timestamp may lie in the past or future.
    """

    def __init__(self, window: float) -> None:
        self.window = window

    def check_time(self, header: Header, now: float, oldest: float | None = None) -> None:
        """Refuse a timestamp outside the window around `now` (seconds since the epoch).

        Parameters
        ----------
        header : Header
        now : float
        oldest : float, optional
            Seconds that it may lie in the past; the window's by default.

        Raises
        ------
        ExpiredError
        """
        age = now - header.timestamp / 1000
        if -age > self.window or (oldest is None and age > self.window):
            raise self._expired()
        if oldest is not None and age > oldest:
            raise ExpiredError(f"frame: expected a timestamp of the last {oldest:g} s")

    @abstractmethod
    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing.

        Raises
        ------
        ReplayError
        """

    def claim(self, header: Header, now: float, content: bytes = b"") -> None:
        """Remember a frame as received; of several claims of the same frame one succeeds.

        Parameters
        ----------
        header : Header
        now : float
        content : bytes
            Digest of all of the frame, if it may be answered again; see `answer`.

        Raises
        ------
        ReplayError
            If it was claimed before.
        ExpiredError
            If it has become too old since `check_time`, or is of a time whose frames are no longer
            remembered because the clock was ahead.
        TooLargeError
            If too many frames are fresh at the same time.
        """
        (refusal,) = self.claim_many([(header, content)], now)
        if refusal is not None:
            raise refusal

    @abstractmethod
    def claim_many(
        self, claims: Sequence[tuple[Header, bytes]], now: float
    ) -> list[FrameError | None]:
        """Claim frames one after the other, in one step: an error of the store is of all of them.

        **Raises nothing for a frame that is refused**: the caller has to look at every verdict.

        Parameters
        ----------
        claims : sequence of (header, content)
            As for `claim`. Of equal headers the first can succeed.
        now : float

        Returns
        -------
        list
            One entry per claim, in order: None if it succeeded, else the error that `claim` would
            raise.
        """

    def keep(self, header: Header, answer: bytes) -> None:
        """Remember the answer to a claimed frame until its freshness ends, if there is room."""
        self.keep_many([(header, answer)])

    @abstractmethod
    def keep_many(self, answers: Sequence[tuple[Header, bytes]]) -> None:
        """As `keep` for each of them, in one step."""

    @abstractmethod
    def answer(self, header: Header, content: bytes) -> bytes | None:
        """Return the answer to a claimed frame; None if there is none yet, or no longer.

        Raises
        ------
        ReplayError
            If the frame that was claimed under this header had another content.
        """

    def _outdated(self, header: Header, now: float) -> ExpiredError | None:
        return self._expired() if header.timestamp / 1000 + self.window < now else None

    def _expired(self) -> ExpiredError:
        return ExpiredError(f"frame: expected a timestamp within {self.window:g} s of now")

    def _bounds(self, now: float) -> tuple[int, int]:
        """Whole milliseconds before and after which no frame is fresh."""
        if not math.isfinite(now):
            # It would be remembered, and everything refused for ever.
            raise ParameterError("now: expected a finite number of seconds")
        # One late rather than early: the clock's floating-point number is no whole millisecond.
        before = math.floor((now - self.window) * 1000) - 1
        after = math.ceil((now + self.window) * 1000) + 1
        return max(before, FIRST), min(after, LAST)


def digest_of(header: Header) -> bytes:
    """Return what a frame is remembered by: its sender, kind and place in a session."""
    named = header.sender, int(header.kind), header.nonce, header.sequence
    return hashlib.sha256(msgspec.msgpack.encode(named)).digest()


def replayed() -> ReplayError:
    """Return the error for a frame that was claimed before."""
    return ReplayError("frame: was received before")


def let_go(until: int, now: float) -> ExpiredError:
    """Return the error for a frame of a time that was forgotten early."""
    return ExpiredError(
        "frame: is of a time whose frames are no longer remembered, since this party's clock was "
        f"ahead; new frames are accepted in {max(0, math.ceil(until / 1000 - now))} s"
    )


def full() -> TooLargeError:
    """Return the error where nothing more can be remembered."""
    return TooLargeError("frame: too many frames within the freshness window")
