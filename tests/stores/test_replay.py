from __future__ import annotations

import msgspec
import pytest

from ompd.errors import ContextMismatchError, ExpiredError, ReplayError, TooLargeError
from ompd.stores import Pending, ReplayGuard
from ompd.wire import Header, Kind

HEADER = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_000_000, 7)


def test_a_frame_is_claimed_once():
    guard = ReplayGuard(120)
    guard.check_new(HEADER)
    guard.claim(HEADER, 1000)
    with pytest.raises(ReplayError):
        guard.check_new(HEADER)
    with pytest.raises(ReplayError):
        guard.claim(HEADER, 1000)
    for change in ({"sender": "bob"}, {"kind": Kind.JOB}, {"nonce": b"m" * 16}, {"sequence": 8}):
        guard.claim(msgspec.structs.replace(HEADER, **change), 1000)


def test_a_forgotten_frame_stays_refused():
    guard = ReplayGuard(120)
    guard.claim(HEADER, 1000)
    other = msgspec.structs.replace(HEADER, timestamp=1_200_000)
    guard.claim(other, 1121)  # the first frame has left the memory
    for now in (1121, 1119, 1000):  # also for a clock that was set back
        with pytest.raises(ExpiredError):
            guard.claim(HEADER, now)
    with pytest.raises(ReplayError):
        guard.claim(other, 1121)


def test_memory_is_bounded_and_freed():
    guard = ReplayGuard(120, capacity=3)
    for sequence in range(3):
        guard.claim(msgspec.structs.replace(HEADER, sequence=sequence), 1000)
    late = msgspec.structs.replace(HEADER, timestamp=1_100_000)
    with pytest.raises(TooLargeError):
        guard.claim(late, 1100)
    guard.claim(late, 1121)
    assert len(guard._seen) == len(guard._expiry) == 1


def test_requests_expire_by_themselves():
    pending = Pending(120)
    answer = msgspec.structs.replace(HEADER, sender="st-mary", recipient="alice")
    pending.add("st-mary", answer.nonce, 7, "context", 1000)
    assert pending.find(answer, 1120) == "context"
    with pytest.raises(ContextMismatchError):
        pending.find(msgspec.structs.replace(answer, sender="st-john"), 1120)
    with pytest.raises(ContextMismatchError):
        pending.find(answer, 1121)
    assert len(pending) == 0


def test_a_request_is_closed_once():
    pending = Pending(120, capacity=1)
    pending.add("st-mary", b"n", 7, None, 1000)
    with pytest.raises(TooLargeError):
        pending.add("st-mary", b"n", 8, None, 1000)
    pending.close("st-mary", b"n", 7)
    with pytest.raises(ContextMismatchError):
        pending.close("st-mary", b"n", 7)
