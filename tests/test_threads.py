"""Ranges cover everything once, whoever works on them."""

import threading

import pytest

from ompd.threads import run_ranges


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_ranges_cover_everything_once(threads, count):
    seen = []
    run_ranges(lambda first, last: seen.extend(range(first, last)), count, threads)
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("helper", [True, False])
def test_errors_reach_the_caller(helper):
    caller = threading.get_ident()
    reached = threading.Event()

    def task(first, last):
        if (threading.get_ident() != caller) == helper:
            reached.set()
            raise ValueError("range")
        # The other thread waits, so that the failing one surely gets a range.
        reached.wait(10)

    with pytest.raises(ValueError, match="range"):
        run_ranges(task, 8, 2)
