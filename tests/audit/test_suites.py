from __future__ import annotations

import builtins

import numpy as np
import pytest

from ompd import Feature, Schema, audit, datasets
from ompd.audit.scenes import Records
from ompd.errors import BackendUnavailableError, DatasetError, ParameterError, TrainingError


@pytest.fixture(scope="module")
def results(mixed):
    heard = []
    found = audit.run_audit(
        mixed, ["paper", "hardened", "sealed"], windows=30, progress=heard.append
    )
    assert len(heard) > len(found)
    return found


@pytest.mark.long
def test_json_shape(results):
    shares = audit.as_dict(results)
    assert set(shares) == {"paper", "hardened", "sealed"}
    assert sum(len(attacks) for attacks in shares.values()) == len(results)
    for attacks in shares.values():
        for numbers in attacks.values():
            assert set(numbers) == {"recovered", "baseline", "seconds"}
            assert 0 <= numbers["recovered"] <= 1
            assert 0 <= numbers["baseline"] <= 1
            assert numbers["seconds"] >= 0


def test_what_every_profile_shows(results):
    shares = audit.as_dict(results)
    for attack in ("cells_from_ciphertext", "queries_from_ciphertext", "scalar_of_table"):
        assert shares["paper"][attack]["recovered"] == 1
    knowing = shares["hardened"]["cells_knowing_weights"]
    assert knowing["recovered"] > knowing["baseline"] + 0.1
    assert shares["sealed"]["control_hints_reused"]["recovered"] > 0.6


def test_controls_are_marked(results):
    marked = {result.attack for result in results if result.control}
    assert marked == {result.attack for result in results if result.attack.startswith("control_")}
    assert len(marked) == 4


def test_known_rows_may_be_all_but_one():
    schema = Schema([Feature("x", "ordinal", 0, 3)], ["a", "b"])
    rows = [[0], [1], [0], [1], [2], [3], [3], [2]]
    tiny = datasets.Dataset.from_arrays(schema, rows, list("aaaabbbb"))
    found = audit.as_dict(audit.run_audit(tiny, ["paper", "hardened"]))
    assert found["paper"]["cells_from_ciphertext"]["recovered"] == 1


def test_large_tables_are_attacked_in_part(rng):
    schema = Schema([Feature("x", "ordinal", 0, 9)], ["a", "b"])
    labels = np.where(np.arange(9000) >= 8950, "b", "a")
    data = datasets.Dataset.from_arrays(schema, rng.integers(0, 10, (9000, 1)), labels)
    records = Records.of(data, 0)
    assert len(records.table) + len(records.queries) < 2100
    assert min(records.table.class_rows) >= 4


def test_wrong_input(mixed):
    few = mixed.take(np.concatenate([np.flatnonzero(mixed.labels == c)[: 3 + c] for c in range(3)]))
    one = datasets.Dataset.from_arrays(
        Schema([Feature("x", "ordinal", 0, 9)], ["a"]), np.arange(10)[:, np.newaxis], ["a"] * 10
    )
    with pytest.raises(DatasetError, match="at least 4 rows of each class"):
        audit.run_audit(few, ["paper"])
    with pytest.raises(TrainingError, match="at least two classes"):
        audit.run_audit(one, ["paper"])
    with pytest.raises(ParameterError, match="profile"):
        audit.run_audit(mixed, ["plain"])
    with pytest.raises(ParameterError, match="windows"):
        audit.run_audit(mixed, ["sealed"], windows=29)
    for seed in (-1, 1.0, True):
        with pytest.raises(ParameterError, match="seed"):
            audit.run_audit(mixed, ["paper"], seed=seed)


def test_plot_is_a_picture(results, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "audit.png"
    audit.plot(results, "What the cloud recovers", path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_refuses_what_cannot_be_written(results, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ParameterError, match="ends in one of"):
        audit.check_plot(tmp_path / "audit.doc")
    with pytest.raises(ParameterError, match="folder does not exist"):
        audit.check_plot(tmp_path / "none" / "audit.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ParameterError, match="cannot be written"):
        audit.plot(results[:1], "x", tmp_path / "taken.png")


def test_missing_matplotlib_names_the_extra(monkeypatch, tmp_path):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BackendUnavailableError, match=r"ompd\[audit\]"):
        audit.check_plot(tmp_path / "audit.png")
