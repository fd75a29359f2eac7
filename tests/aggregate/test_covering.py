"""Coefficients that are covered, and those that are left."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.aggregate import Evaluator, covered, encrypt, keygen, residues
from ompd.errors import Bottom, ParameterError


def test_what_is_asked_for_is_left_and_nothing_else():
    secret, public = keygen(depth=0, bound=1000)
    values = np.arange(8192) % 1000
    fresh = encrypt(public, values, bound=1000)
    finished = Evaluator(public).finish(fresh)
    places = [0, 5, 8191]
    hidden = covered(finished, places)
    assert residues(secret, hidden, places).tolist() == values[places].tolist()
    assert residues(secret, finished, [7]).tolist() == [7]
    with pytest.raises(Bottom):
        residues(secret, hidden)
    assert residues(secret, covered(finished, range(8192))).tolist() == values.tolist()
    for attempt in (
        lambda: covered(fresh, places),
        lambda: covered(None, places),
        lambda: covered(finished, [8192]),
        lambda: covered(finished, [-1]),
    ):
        with pytest.raises(ParameterError):
            attempt()


def test_the_sum_of_all_slots_is_one_coefficient():
    secret, public = keygen(depth=1, bound=1000, packing="slots")
    degree, t = public.parameters.degree, public.parameters.plain_modulus
    values = np.random.default_rng(1).integers(-1000, 1001, degree)
    finished = Evaluator(public).finish(encrypt(public, values, bound=1000))
    (found,) = residues(secret, covered(finished, [0]), [0])
    assert found * degree % t == values.sum() % t
