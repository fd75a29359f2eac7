"""Who asks for very much waits, and nobody else."""

from __future__ import annotations

import pytest

from ompd.service.fair import Pace, network_of


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_one_address_keeps_its_pace_and_keeps_nobody_else_out():
    clock = Clock()
    pace = Pace(10, burst=1.0, clock=clock)
    assert [pace.enter("a") for _ in range(10)] == [0.0] * 10
    wait = pace.enter("a")
    assert wait == pytest.approx(0.1)
    assert pace.enter("b") == 0.0
    # Being told to wait costs nothing.
    for _ in range(100):
        assert pace.enter("a") == pytest.approx(0.1)
    clock.now += wait + 1e-9
    assert pace.enter("a") == 0.0
    assert pace.enter("a") > 0
    # In the long run, ten a second.
    passed = 0
    for _ in range(1000):
        clock.now += 0.01
        passed += pace.enter("a") == 0.0
    assert passed == pytest.approx(100, abs=2)


def test_a_slow_pace_lets_one_in():
    clock = Clock()
    pace = Pace(0.01, clock=clock)
    assert pace.enter("a") == 0.0
    assert pace.enter("a") == pytest.approx(100)


def test_addresses_are_forgotten():
    clock = Clock()
    pace = Pace(10, clock=clock)
    for number in range(1000):
        pace.enter(str(number))
        clock.now += 0.01
    assert len(pace) < 50


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "unix", False),
    ],
)
def test_whose_an_address_is(address, other, same):
    assert (network_of(address) == network_of(other)) == same
