"""The measured correlation is NumPy's and TenSEAL's; invented patients are told apart."""

from __future__ import annotations

import pytest

from bench import text
from tests.marks import long


def test_patients_are_told_apart():
    found = text.people(12)
    assert found["patients"] == 12
    assert 0.5 < found["auroc"] <= 1
    assert found["note_us"] > 0


@pytest.mark.parametrize("rounds", long(1))
def test_tenseal_has_the_same_correlation(rounds):
    """`Ours` compares itself with NumPy, and `Peer` with that, before they are measured."""
    pytest.importorskip("tenseal")
    found = text.parties(rounds)
    assert found["lags"] == 119
    assert found["all lags"]["ratio"] > 100
