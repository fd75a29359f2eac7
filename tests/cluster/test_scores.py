"""Batches are diagnosed as files are, whoever hands them over."""

from __future__ import annotations

import pickle
import shutil
import sys

import numpy as np
import pytest

from ompd.bulk.score import score as score_file
from ompd.cluster import Scorer
from ompd.datasets import load
from ompd.errors import BackendUnavailableError, ParameterError
from tests.marks import LONG

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path, rows=700):
    """People with ids, one of whom cannot be."""
    records = load("wbc")
    rng = np.random.default_rng(1)
    features = records.features[rng.integers(0, len(records), rows)].copy()
    features[7, 0] = 99
    columns = {each.name: features[:, j] for j, each in enumerate(records.schema.features)}
    table = pa.table(columns | {"who": np.arange(rows)})
    pq.write_table(table, path, row_group_size=300)
    return records, table


def assert_alike(found, expected):
    """Compare all cells bit by bit, whatever the order of rows and the kind of missing texts."""
    found = found.sort_values("id", key=lambda ids: ids.astype(int)).reset_index(drop=True)
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        mine, theirs = found[name], expected[name]
        if theirs.dtype.kind == "f":
            np.testing.assert_array_equal(mine.to_numpy(), theirs.to_numpy())
        else:
            told = [[str(each) for each in column[column.notna()]] for column in (mine, theirs)]
            assert told[0] == told[1], name
            assert mine.isna().tolist() == theirs.isna().tolist(), name


@pytest.mark.parametrize("method", ["relief-mw", "evidence"])
def test_a_batch_is_diagnosed_as_a_file_is(tmp_path, method):
    records, table = write(tmp_path / "in.parquet")
    score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", records, method=method, id="who")
    expected = pq.read_table(tmp_path / "out.parquet")
    # As it gets to other machines.
    scorer = pickle.loads(pickle.dumps(Scorer(records, method=method, id="who")))
    for batch in (table, table.to_pandas()):
        assert scorer(batch).schema == expected.schema
        assert scorer(batch).to_pandas().equals(expected.to_pandas())
    parts = [table.slice(first, 250).to_pandas() for first in (0, 250, 500)]
    frames = list(scorer.frames(parts))
    assert [len(frame) for frame in frames] == [250, 250, 200]
    labels = [label for frame in frames for label in frame["label"]]
    assert labels[:7] + labels[8:] == [each for each in expected["label"].to_pylist() if each]
    assert list(scorer.columns) == expected.column_names
    assert expected.column("error").null_count == 699
    assert len(pickle.dumps(scorer)) < 2 * len(pickle.dumps(records))


def test_without_ids(tmp_path):
    records, table = write(tmp_path / "in.parquet", 20)
    found = Scorer(records)(table.drop_columns(["who"]))
    assert "id" not in found.column_names
    assert list(Scorer(records).columns) == found.column_names
    assert "who" not in repr(Scorer(records, id="who"))


def test_what_is_not_possible_is_refused(monkeypatch):
    from ompd.cluster import score

    with pytest.raises(ParameterError, match="method"):
        Scorer(load("wbc"), method="guess")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ompd.bulk.openly", None)
        with pytest.raises(BackendUnavailableError, match="scikit-learn"):
            Scorer(load("wbc"))
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(BackendUnavailableError, match=r"pip install 'ompd\[cluster\]'"):
        score(None, load("wbc"))


@LONG
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
@pytest.mark.filterwarnings("ignore")
def test_spark_scores_as_a_file_is_scored(tmp_path, monkeypatch):
    sql = pytest.importorskip("pyspark.sql")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    records, _ = write(tmp_path / "in.parquet")
    score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", records, id="who")
    expected = pq.read_table(tmp_path / "out.parquet").to_pandas()
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "512m")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "200")
        .config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
        .getOrCreate()
    )
    try:
        scorer = Scorer(records, id="who")
        frame = session.read.parquet(str(tmp_path / "in.parquet")).repartition(3)
        found = frame.mapInPandas(scorer.frames, scorer.ddl).toPandas()
    finally:
        session.stop()
    assert_alike(found, expected)
