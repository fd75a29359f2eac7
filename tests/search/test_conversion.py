"""Montgomery products against Python integers, on every path."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd._kernels import montgomery
from ompd.search.conversion import Modulus, convert
from tests import naive


def limbs(value, width):
    return np.frombuffer(value.to_bytes(8 * width, "little"), np.uint64)


def check(p, width, masked, tokens):
    values = np.array([[limbs(value, width) for value in row] for row in masked])
    result = convert(values, np.array([limbs(t, width) for t in tokens]), Modulus.of(p, width))
    assert [naive.from_limbs(row) for row in result] == [
        [t * value % p for value in row] for t, row in zip(tokens, masked, strict=True)
    ]


@given(st.integers(1, 17), st.data())
def test_convert(width, data):
    p = data.draw(st.integers(1, 2 ** (64 * width - 1) - 1)) * 2 + 1
    value = st.one_of(st.integers(0, p - 1), st.just(p - 1))
    count = data.draw(st.integers(1, 5))
    masked = [[data.draw(value) for _ in range(3)] for _ in range(count)]
    check(p, width, masked, [data.draw(value) for _ in range(count)])


@pytest.mark.parametrize("ifma", [False, True])
def test_eight_limbs(ifma, monkeypatch):
    if ifma and not montgomery.IFMA:
        pytest.skip("no AVX-512 IFMA")
    if not montgomery.COMPILED and ifma:
        pytest.skip("not compiled")
    rng = np.random.default_rng(1)
    if ifma != montgomery.IFMA:
        monkeypatch.setattr(montgomery, "IFMA", ifma)
        montgomery.products.recompile()
    try:
        for top in (2**512 - 1, 2**511 + 111, 2**400 + 1, 3):
            masked = [[int.from_bytes(rng.bytes(64)) % top for _ in range(11)] for _ in range(17)]
            tokens = [int.from_bytes(rng.bytes(64)) % top for _ in range(17)]
            masked[0][0] = masked[1][1] = tokens[0] = top - 1
            check(top, 8, masked, tokens)
    finally:
        monkeypatch.undo()
        if montgomery.COMPILED:
            montgomery.products.recompile()
