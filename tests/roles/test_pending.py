"""Requests that await an answer."""

from __future__ import annotations

import msgspec
import pytest

from ompd.errors import ContextMismatchError, TooLargeError
from ompd.roles.pending import Pending
from ompd.wire import Header, Kind

HEADER = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_000_000, 7)


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
