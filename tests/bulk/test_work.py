"""Parts cover everything once, whoever works on them and whatever their size."""

from __future__ import annotations

import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from ompd.bulk import work
from ompd.bulk.work import in_parts
from ompd.roles import Diagnoses
from ompd.threads import at_most, default_threads


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_parts_cover_everything_once(threads, rows):
    sizes = iter(np.random.default_rng(3).integers(1, 9, 200).tolist())
    told = []
    found = in_parts(
        lambda first, last: Diagnoses.failed(f"{first}", last - first),
        rows, lambda: next(sizes), threads, told.append,
    )  # fmt: skip
    edges = sorted(found)
    assert edges[0][0] == 0
    assert edges[-1][1] == rows
    assert all(one[1] == other[0] for one, other in pairwise(edges))
    assert all(found[part].error[0] == f"{part[0]}" for part in edges)
    assert sum(told) == rows


def test_the_first_error_is_raised_and_nothing_is_begun_after_it():
    begun = []
    reached = threading.Event()

    def work(first, last):
        begun.append(first)
        if first:
            reached.wait(10)
            raise ValueError("part")
        reached.set()
        return Diagnoses.failed("x", last - first)

    with pytest.raises(ValueError, match="part"):
        in_parts(work, 100, lambda: 1, 1, lambda count: None)
    assert begun == [0, 1]


def test_what_holds_for_the_caller_holds_for_the_work():
    seen = []

    def work(first, last):
        seen.append(default_threads())
        return Diagnoses.failed("x", last - first)

    with at_most(17):
        in_parts(work, 3, lambda: 1, 2, lambda count: None)
    assert seen == [17] * 3


def interrupted_at(number, call):
    """Call, and raise KeyboardInterrupt at the so manieth line of `in_parts`; whether it was."""
    left = number

    def inside(frame, event, argument):
        nonlocal left
        left -= event == "line"
        if event == "line" and left == 0:
            raise KeyboardInterrupt
        return inside

    def tracer(frame, event, argument):
        return inside if frame.f_code.co_filename == work.__file__ else None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        call()
    finally:
        sys.settrace(before)
    return left <= 0


def test_nothing_is_begun_after_an_interruption_wherever_it_comes(monkeypatch):
    monkeypatch.setattr(work, "_LOOK", 0.001)
    ended = set()
    for number in range(1, 90):
        begun = []

        def part(first, last, begun=begun):
            begun.append(first)
            time.sleep(0.002)
            return Diagnoses.failed("x", last - first)

        def call(part=part):
            return in_parts(part, 40, lambda: 1, 2, lambda more: None)

        try:
            ended.add(interrupted_at(number, call))
        except KeyboardInterrupt:
            # What each thread was about to begin may still begin.
            known = len(begun)
            time.sleep(0.02)
            assert len(begun) <= known + 2
            ended.add("raised")
    assert ended >= {True, "raised"}
