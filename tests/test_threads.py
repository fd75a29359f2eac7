"""Ranges cover everything once, whoever works on them."""

import threading

import pytest

from ompd.errors import ParameterError
from ompd.threads import at_most, default_threads, part_of, processors, run_halves, run_ranges


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


def test_whoever_interrupts_waits_for_what_is_begun_and_no_more():
    caller = threading.get_ident()
    stopped = threading.Event()
    seen = []

    def task(first, last):
        seen.append(first)
        if threading.get_ident() == caller:
            stopped.set()
            raise KeyboardInterrupt
        stopped.wait(10)

    with pytest.raises(KeyboardInterrupt):
        run_ranges(task, 1000, 2)
    # One by the caller; by the other thread those that it took before the rest was given up.
    assert len(seen) <= 4


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("count", "most"), [(0, 5), (1, 1), (7, 7), (100, 1), (1000, 30)])
def test_halves_are_finished_once_and_their_halves_before(count, most, threads):
    halved, finished, shares = [], [], []

    def halve(first, last):
        halved.append((first, last))
        return first + (last - first + 2) // 3 if last - first > 2 else first + 1

    run_halves(halve, lambda *part: finished.append(part), count, most, threads, shares.append)
    assert sorted(each for part in finished for each in range(*part)) == list(range(count))
    assert all(last - first <= most for first, last in finished)
    assert all(last - first > most for first, last in halved)
    assert len(set(halved)) == len(halved)
    assert shares == sorted(shares)
    assert threads > 1 or not count or shares[-1] == 1.0
    assert max(shares, default=0) <= 1.0


def test_a_part_of_the_work_has_its_part_of_the_shares():
    shares = []
    told = part_of(shares.append, 0.5, 0.75)
    for share in (0, 0.5, 1):
        told(share)
    assert shares == [0.5, 0.625, 0.75]
    part_of(None, 0, 1)(0.5)


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
