"""What was counted equals the formulas, and the reference equals the library."""

from __future__ import annotations

import pytest

from bench import operations


@pytest.mark.parametrize(
    ("rows", "features", "k", "weighted"),
    [(1, 1, 1, True), (9, 2, 9, True), (30, 9, 5, True), (17, 5, 3, False), (40, 1, 7, False)],
)
def test_counts_equal_the_formulas(rows, features, k, weighted):
    counted = operations.count_ompd(rows, features, k=k, weighted=weighted)
    expected = operations.formulas_ompd(rows, features, k, weighted=weighted)
    for stage, numbers in expected.items():
        present = {operation: number for operation, number in numbers.items() if number}
        assert counted.pop(stage, {}) == present
    assert counted == {}


def test_more_queries_multiply_only_their_own_stages():
    one, three = operations.count_ompd(10, 4, k=3), operations.count_ompd(10, 4, 3, k=3)
    assert three["table blinding"] == one["table blinding"]
    assert three["distances"] == {name: 3 * count for name, count in one["distances"].items()}


def test_a_result_that_differs_from_the_library_is_noticed(monkeypatch):
    wrong = operations.blind_table
    monkeypatch.setattr(
        operations, "blind_table", lambda key, sums: wrong(key, sums[:, ::-1].copy())
    )
    with pytest.raises(RuntimeError, match="table blinding"):
        operations.count_ompd(6, 3, k=1)


@pytest.mark.parametrize(("rows", "features", "k"), [(12, 3, 3), (25, 6, 9)])
def test_table4_is_consistent(rows, features, k):
    """All four schemes, and the formulas in symbols give the same numbers."""
    table = operations.table4(rows, features, k)
    assert {row["scheme"] for row in table} == {"OMPD", "OMPD-MW", "EPDK", "PPDP"}
    names = {"N": rows, "n": features, "K": k}
    for row in table:
        assert row["counted"] == row["formula"] > 0
        if not {"R", "M"} & set(row["symbols"]):
            value = eval(row["symbols"], {"__builtins__": {}}, names)  # noqa: S307
            assert value == row["counted"], row


def test_the_index_measures_far_fewer_rows_than_there_are():
    small, large = (operations.count_index(rows, queries=4) for rows in (100, 4000))
    assert 9 <= small["exact distances"] <= 100
    assert 9 <= large["exact distances"] < 400
    assert large["head distances"] < 4000
