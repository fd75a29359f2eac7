"""The public shape of sealed tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import FramingError, ParameterError
from ompd.sealed import Layout

GOOD = {
    "buckets": 128, "bucket_bytes": 128, "chunks": 8, "chunk": 16, "fetches": 6, "window": 12,
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"buckets": 127},
        {"buckets": 0, "chunks": 0},
        {"chunk": 12, "buckets": 96},
        {"chunk": 1 << 17, "buckets": 1 << 20},
        {"bucket_bytes": 100},
        {"bucket_bytes": 0},
        {"fetches": 0},
        {"window": 0},
        {"fetches": 0, "window": 0},
        {"fetches": -1},
        {"fetches": 1.0},
        {"window": 1 << 40},
    ],
)
def test_contradictions(change):
    with pytest.raises(ParameterError):
        Layout(**GOOD | change)


@given(st.integers(1, 10**8), st.integers(1, 40), st.integers(0, 2000), st.integers(1, 31))
def test_chosen_layouts_hold_the_table(rows, columns, row_bits, neighbors):
    layout = Layout.choose(rows, columns, row_bits, neighbors)
    assert layout.buckets <= rows
    assert -(-rows // layout.buckets) * row_bits + 128 <= 8 * layout.bucket_bytes
    assert layout.fetches == 0 or layout.fetches * (rows // layout.buckets) >= neighbors
    assert layout.fetches > 0 or layout.buckets == 1


def test_small_tables_are_sent_whole():
    assert Layout.choose(1024, 9, 160, 9).fetches == 0
    assert Layout.choose(1025, 9, 160, 9).fetches > 0
    with pytest.raises(ParameterError):
        Layout.choose(0, 9, 160, 9)


def test_cost_grows_slower_than_the_square_root():
    small, large = (Layout.choose(rows, 9, 165, 9).seconds() for rows in (10**5, 10**7))
    assert small < large < small * 10


def test_requests_are_counted():
    layout = Layout(**GOOD)
    assert layout.request_bytes == 6 * 8
    assert layout.queries_in(3 * 48) == 3
    for length in (0, 1, 47, 49):
        with pytest.raises(FramingError):
            layout.queries_in(length)
    whole = Layout(1, 192, 1, 1, 0, 0)
    assert whole.queries_in(0) == 0
    assert whole.answer_bytes == 192
    with pytest.raises(FramingError):
        whole.queries_in(1)
