"""Ranges cover everything once, whoever works on them."""

import threading

import pytest

from ompd.errors import ParameterError
from ompd.threads import at_most, default_threads, processors, run_ranges


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


def test_how_many_there_may_be(monkeypatch):
    monkeypatch.delenv("OMPD_THREADS", raising=False)
    assert default_threads() == processors() >= 1
    monkeypatch.setenv("OMPD_THREADS", " 3 ")
    assert default_threads() == 3
    for wrong in ("0", "-1", "two", "1.5", "²"):
        monkeypatch.setenv("OMPD_THREADS", wrong)
        with pytest.raises(ParameterError, match="OMPD_THREADS"):
            default_threads()
        # Whoever says how many needs no variable.
        with at_most(2):
            assert default_threads() == 2


def test_at_most_holds_within_and_no_longer(monkeypatch):
    monkeypatch.setenv("OMPD_THREADS", "5")
    with at_most(2):
        assert default_threads() == 2
        with at_most(None):
            assert default_threads() == 2
        with at_most(-1):
            assert default_threads() == processors()
        with at_most(-processors() - 7):
            assert default_threads() == 1
    assert default_threads() == 5
    elsewhere = []
    with at_most(7):
        thread = threading.Thread(target=lambda: elsewhere.append(default_threads()))
        thread.start()
        thread.join()
    # Other threads were not asked.
    assert elsewhere == [5]


@pytest.mark.parametrize("wrong", [0, 1.5, "2", True])
def test_no_number_of_threads(wrong):
    with pytest.raises(ParameterError, match="threads"), at_most(wrong):
        pass
