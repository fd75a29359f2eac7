"""A file of any size, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ompd
from ompd import datasets
from ompd.bulk import score as module
from ompd.bulk.score import score
from ompd.errors import DatasetError, ParameterError, StoreError
from tests.bulk.conftest import records
from tests.faults import failing
from tests.marks import long
from tests.places import ROOT


def write(path, count=500, bad=(3, 77), seed=9):
    """People in a file, some of them at fault."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(0, 12, (count, 3)), columns=["f0", "f1", "f2"])
    frame.insert(0, "case", [f"p{i}" for i in range(count)])
    frame["doctor"] = "x"
    for row in bad:
        frame.loc[row, "f1"] = 99.0
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=64)
    else:
        frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def pieces(monkeypatch):
    """Files are read in pieces of a hundred rows or so."""
    monkeypatch.setattr("ompd.datasets._scan.PIECE", 6000)
    monkeypatch.setattr("ompd.schema.arrow.BATCH_ROWS", 100)


def read(path):
    return pq.read_table(path).to_pandas() if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("source", ["in.csv", "in.parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("profile", [None, "sealed", "hardened"])
def test_says_what_diagnose_says(tmp_path, pieces, source, out, profile):
    frame = write(tmp_path / source)
    data = records()
    scored = score(
        tmp_path / source, tmp_path / out, data, profile=profile, id="case", k=5, progress=False
    )
    assert (scored.rows, scored.failures, scored.resumed) == (500, 2, 0)
    found = read(tmp_path / out)
    direct = ompd.diagnose(frame.set_index("case"), data, profile=profile or "sealed", k=5)
    expected = direct.to_frame().reset_index()
    if profile is None:
        expected["certified"] = expected["label"].notna()
    assert found["error"][77].startswith("f1: expected a ")
    assert found["error"].notna().sum() == 2
    # Readers of text and of frames have words of their own.
    expected["error"] = found["error"]
    none = {"label": "", "error": ""}
    pd.testing.assert_frame_equal(found.fillna(none), expected.fillna(none), check_dtype=False)
    labels = expected["label"].value_counts().to_dict()
    assert scored.labels == labels
    assert scored.certified == expected["certified"].sum()
    assert not (tmp_path / f"{out}.partial").exists()


@pytest.mark.parametrize("method", ["relief-mw", "evidence"])
def test_a_classifier_says_what_the_parties_say(tmp_path, method):
    write(tmp_path / "in.csv", 200)
    data = records(120)
    for name, profile in (("plain", None), ("sealed", "sealed")):
        score(tmp_path / "in.csv", tmp_path / f"{name}.csv", data, profile=profile, method=method)
    plain, sealed = (read(tmp_path / f"{name}.csv") for name in ("plain", "sealed"))
    pd.testing.assert_frame_equal(
        plain.drop(columns="certified"), sealed.drop(columns="certified"), rtol=1e-12
    )


def test_classes_without_records_have_columns_too(tmp_path):
    write(tmp_path / "in.csv", 20, bad=())
    data = records()
    schema = ompd.Schema(data.schema.features, ("never", "no", "yes"))
    wide = datasets.Dataset.from_arrays(
        schema, data.features, [("no", "yes")[code] for code in data.labels]
    )
    score(tmp_path / "in.csv", tmp_path / "out.csv", wide, k=5)
    found = read(tmp_path / "out.csv")
    assert (found["p(never)"] == 0).all()
    assert set(found["label"]) == {"no", "yes"}


class StopError(Exception):
    """Ends a run."""


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("profile", [None, "sealed"])
def test_what_is_interrupted_goes_on_and_ends_alike(tmp_path, pieces, out, profile, monkeypatch):
    write(tmp_path / "in.csv")
    data = records()
    options = {"profile": profile, "id": "case", "k": 5}
    score(tmp_path / "in.csv", tmp_path / f"whole-{out}", data, **options)
    plain = module.found_of
    for most in (0, 1, 2):
        calls = []

        def found(*arguments, most=most, calls=calls):
            if len(calls) == most:
                raise StopError
            calls.append(1)
            return plain(*arguments)

        monkeypatch.setattr(module, "found_of", found)
        with pytest.raises(StopError):
            score(tmp_path / "in.csv", tmp_path / out, data, **options)
    monkeypatch.setattr(module, "found_of", plain)
    assert not (tmp_path / out).exists()
    scored = score(tmp_path / "in.csv", tmp_path / out, data, **options)
    assert scored.rows == 500
    assert 0 < scored.resumed < 500
    assert scored.failures == 2
    assert (tmp_path / out).read_bytes() == (tmp_path / f"whole-{out}").read_bytes()


def test_nothing_is_trained_where_all_parts_are_there(tmp_path, pieces, monkeypatch):
    write(tmp_path / "in.csv")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_join", None)
        with pytest.raises(TypeError):
            score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    monkeypatch.setattr(module, "_judge", None)
    scored = score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    assert scored.resumed == scored.rows == 500


@pytest.mark.parametrize(
    "change",
    ["input", "records", "profile", "id", "k", "schema"],
)
def test_what_was_changed_is_noticed(tmp_path, pieces, monkeypatch, change):
    write(tmp_path / "in.csv")
    arguments = {"records": records(), "k": 5}
    with monkeypatch.context() as patch:
        patch.setattr(module, "_join", None)
        with pytest.raises(TypeError):
            score(tmp_path / "in.csv", tmp_path / "out.csv", **arguments)
    if change == "input":
        write(tmp_path / "in.csv", seed=10)
    elif change == "schema":
        form = ompd.schema.TableForm(missing=("-",))
        arguments["schema"] = ompd.Schema(records().schema.features, records().schema.classes, form)
    else:
        arguments |= {
            "records": {"records": records(seed=1)}, "profile": {"profile": "sealed"},
            "id": {"id": "case"}, "k": {"k": 7},
        }[change]  # fmt: skip
    with pytest.raises(StoreError, match="another input, schema, records or option"):
        score(tmp_path / "in.csv", tmp_path / "out.csv", **arguments)


def test_a_file_that_changes_while_it_is_read(tmp_path, pieces, monkeypatch):
    write(tmp_path / "in.csv")
    plain = module.found_of

    def found(*arguments):
        os.utime(tmp_path / "in.csv", (1, 1))
        return plain(*arguments)

    monkeypatch.setattr(module, "found_of", found)
    with pytest.raises(DatasetError, match="changed while it was read"):
        score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    assert not (tmp_path / "out.csv").exists()


def test_nothing_is_overwritten(tmp_path):
    write(tmp_path / "in.csv")
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    # Also where something was begun before it came there.
    (tmp_path / "out.csv.partial").mkdir(mode=0o700)
    with pytest.raises(StoreError, match="is there already"):
        score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_what_was_finished_is_cleared_up(tmp_path, monkeypatch):
    write(tmp_path / "in.csv")
    with monkeypatch.context() as patch:
        patch.setattr(module.Partial, "clear", lambda partial: None)
        first = score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    content = (tmp_path / "out.csv").read_bytes()
    with pytest.raises(StoreError, match="is there already"):
        score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=7)
    assert score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5) == first
    assert sorted(os.listdir(tmp_path)) == ["in.csv", "out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == content
    with pytest.raises(StoreError, match="is there already"):
        score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)


@pytest.mark.parametrize("out", ["out.txt", "out", "out.csv.gz"])
def test_other_outputs_are_refused(tmp_path, out):
    with pytest.raises(ParameterError, match="out"):
        score(tmp_path / "in.csv", tmp_path / out, records())


@pytest.mark.parametrize("source", ["absent.csv", "."])
def test_an_input_that_is_none(tmp_path, source):
    with pytest.raises(DatasetError):
        score(tmp_path / source, tmp_path / "out.csv", records(), k=5)
    assert not (tmp_path / "out.csv").exists()


def test_one_process_at_a_time(tmp_path, monkeypatch):
    write(tmp_path / "in.csv")
    plain = module.found_of

    def found(*arguments):
        with pytest.raises(StoreError, match="another process"):
            score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "found_of", found)
        score(tmp_path / "in.csv", tmp_path / "out.csv", records(), k=5)
    assert len(read(tmp_path / "out.csv")) == 500


@pytest.mark.parametrize("full", [True, False])
def test_a_disk_that_refuses_loses_nothing(tmp_path, pieces, full):
    write(tmp_path / "in.csv", 120)
    data = records()
    score(tmp_path / "in.csv", tmp_path / "whole.csv", data, k=5)
    expected = (tmp_path / "whole.csv").read_bytes()
    refused = 0
    for at in range(200):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        with failing(at, full=full) as disk:
            try:
                score(tmp_path / "in.csv", folder / "out.csv", data, k=5)
            except StoreError:
                refused += 1
                assert disk.failed
        if not (folder / "out.csv").exists() or (folder / "out.csv.partial" / "done").exists():
            score(tmp_path / "in.csv", folder / "out.csv", data, k=5)
        assert (folder / "out.csv").read_bytes() == expected
        # At most an empty folder is left over.
        left = [path.name for path in folder.glob("out.csv.partial/*")]
        assert left in ([], ["lock"])
        if not disk.failed:
            break
    assert refused > 5


COMMAND = """
import resource, signal, sys
from pathlib import Path
import ompd.datasets._scan
ompd.datasets._scan.PIECE = 6000
limit = int(sys.argv[3])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from ompd.bulk.score import score
from ompd.errors import StoreError
from tests.bulk.conftest import records
try:
    score(sys.argv[1], sys.argv[2], records(), k=5, id="case")
except StoreError as error:
    print(error)
    sys.exit(3)
"""


def run(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)], cwd=ROOT,
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("out", ["out.csv", *long("out.parquet")])
def test_killed_at_any_time_it_goes_on(tmp_path, pieces, out):
    write(tmp_path / "in.csv", 4000)
    options = {"k": 5, "id": "case"}
    score(tmp_path / "in.csv", tmp_path / f"whole-{out}", records(), **options)
    folder = tmp_path / f"{out}.partial"
    for more in (1, 9):
        with run(tmp_path / "in.csv", tmp_path / out, 0) as process:
            end = time.monotonic() + 100
            while len(list(folder.glob("part-*"))) < more and process.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
    if not (tmp_path / out).exists() or folder.exists():
        score(tmp_path / "in.csv", tmp_path / out, records(), **options)
    assert (tmp_path / out).read_bytes() == (tmp_path / f"whole-{out}").read_bytes()
    assert not folder.exists()


@pytest.mark.long
@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
def test_a_full_disk_while_it_is_put_together(tmp_path, pieces, out):
    write(tmp_path / "in.csv", 4000)
    options = {"k": 5, "id": "case"}
    score(tmp_path / "in.csv", tmp_path / f"whole-{out}", records(), **options)
    # Each part fits, all of them do not.
    with run(tmp_path / "in.csv", tmp_path / out, 40_000) as process:
        assert process.wait(120) == 3
        assert "File too large" in process.stdout.read()
    assert not (tmp_path / out).exists()
    scored = score(tmp_path / "in.csv", tmp_path / out, records(), **options)
    assert scored.resumed == 4000
    assert (tmp_path / out).read_bytes() == (tmp_path / f"whole-{out}").read_bytes()


def test_memory_does_not_grow_with_the_file(tmp_path, pieces, monkeypatch):
    write(tmp_path / "in.parquet", 2000)
    sizes = []
    plain = module.found_of

    def found(people, *others):
        sizes.append(len(people.good))
        return plain(people, *others)

    monkeypatch.setattr(module, "found_of", found)
    score(tmp_path / "in.parquet", tmp_path / "out.parquet", records(), k=5)
    assert max(sizes) <= 100
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == len(sizes)
    assert pa.types.is_string(pq.read_schema(tmp_path / "out.parquet").field("error").type)
