from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ompd.datasets import _builtin, available, load
from ompd.errors import DatasetError

FOLDER = Path(_builtin.__file__).parent / "data"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A copy of the installed files that a test may damage."""
    folder = tmp_path / "ompd" / "data"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(_builtin, "files", lambda _package: folder.parent)
    return folder


@pytest.mark.parametrize(
    ("name", "shape", "classes", "counts"),
    [
        ("wbc", (683, 9), ("benign", "malignant"), (444, 239)),
        ("mm", (830, 5), ("benign", "malignant"), (427, 403)),
        ("cleveland", (303, 13), ("absent", "present"), (164, 139)),
    ],
)
def test_counts(name, shape, classes, counts):
    dataset = load(name)
    assert dataset.name == name
    assert dataset.features.shape == shape
    assert len(dataset) == shape[0]
    assert dataset.schema.classes == classes
    assert dataset.class_rows == counts
    assert dataset.features.dtype == np.float64
    assert dataset.labels.dtype == np.int64
    assert dataset.features.flags.c_contiguous


def test_known_rows():
    assert load("wbc").features[:2].tolist() == [
        [5, 1, 1, 1, 2, 1, 3, 1, 1],
        [5, 4, 4, 5, 7, 10, 3, 2, 1],
    ]
    assert load("mm").features[0].tolist() == [5, 67, 3, 5, 3]
    assert load("mm").labels[:4].tolist() == [1, 1, 0, 1]
    # As published: 63, 1, 1, 145, 233, 1, 2, 150, 0, 2.3, 3, 0, 6, class 0.
    cleveland = load("cleveland")
    first = [63, 1, 1, 145, 233, 1, 2, 150, 0, 2.3, 3, 0, 1]
    assert cleveland.features[0].tolist() == first
    assert cleveland.labels[:4].tolist() == [0, 1, 1, 0]


def test_what_the_source_lacks_is_missing():
    cleveland = load("cleveland")
    gaps = np.argwhere(np.isnan(cleveland.features))
    features = [cleveland.schema.features[column].name for column in gaps[:, 1]]
    assert sorted(features) == ["perfusion"] * 2 + ["vessels"] * 4
    assert not any(np.isnan(load(name).features).any() for name in ("wbc", "mm"))
    # Frequencies that the source's description tells.
    for column, counts in ((2, [23, 50, 86, 144]), (12, [166, 18, 117])):
        values = cleveland.features[:, column]
        found = np.unique(values[~np.isnan(values)], return_counts=True)[1]
        assert found.tolist() == counts


def test_declared_domains_are_reached():
    for info in available():
        dataset = load(info.name)
        assert (np.nanmin(dataset.features, axis=0) == dataset.schema.low).all()
        assert (np.nanmax(dataset.features, axis=0) == dataset.schema.high).all()


def test_kinds():
    wbc, mm, _ = (info.schema.features for info in available())
    assert {feature.kind for feature in wbc} == {"ordinal"}
    assert [feature.kind for feature in mm] == [
        "ordinal",
        "ordinal",
        "nominal",
        "nominal",
        "ordinal",
    ]


def test_info_is_complete():
    infos = available()
    assert [info.name for info in infos] == ["wbc", "mm", "cleveland"]
    assert len({info.disease for info in infos}) == len(infos)
    for info in infos:
        assert info == load(info.name).info
        assert all((info.title, info.disease, info.source, info.url, info.citation, info.changes))
        assert info.licence.startswith("CC BY 4.0")
        assert info.doi in info.citation
        assert sum(info.class_rows) == info.rows
        assert re.fullmatch("[0-9a-f]{64}", info.sha256)
        raw = (FOLDER / f"{info.name}.csv").read_bytes()
        assert hashlib.sha256(raw).hexdigest() == info.sha256
        assert all(feature.about for feature in info.schema.features)


def test_codes_under_which_a_record_has_features():
    codes = {feature.name: feature.code for feature in load("cleveland").schema.features}
    assert codes["cholesterol"] == "loinc|2093-3"
    assert codes["chest_pain"] == "urn:ompd:questionnaire:heart|chest_pain"
    assert len(set(codes.values())) == len(codes)


def test_correction_is_on_record_and_applied():
    dataset = load("mm")
    (change,) = [change for change in dataset.info.changes if change.row is not None]
    assert (change.row, change.feature, change.was, change.now) == (257, "bi_rads", 55, 5)
    assert dataset.features[257].tolist() == [5, 46, 4, 3, 3]
    # The file keeps what was published; line 1 is the header.
    assert (FOLDER / "mm.csv").read_text().splitlines()[258] == "55,46,4,3,3,malignant"
    assert not [change for change in load("wbc").info.changes if change.row is not None]


@pytest.mark.parametrize("name", ["wbc", "mm", "cleveland"])
def test_any_changed_byte_is_noticed(installed, name):
    file = installed / f"{name}.csv"
    raw = bytearray(file.read_bytes())
    for position in np.random.default_rng(0).integers(0, len(raw), size=20).tolist():
        raw[position] ^= 1
        file.write_bytes(raw)
        with pytest.raises(DatasetError, match="SHA-256"):
            load(name)
        raw[position] ^= 1
    file.write_bytes(raw)
    assert len(load(name)) == sum(load(name).info.class_rows)


def test_line_endings_are_part_of_the_checksum(installed):
    file = installed / "mm.csv"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(DatasetError, match="SHA-256"):
        load("mm")


@pytest.mark.parametrize(
    ("key", "value"),
    [("row", 258), ("row", 830), ("row", -1), ("feature", "none"), ("was", 54.0), ("now", None)],
)
def test_correction_that_does_not_fit(installed, key, value):
    file = installed / "mm.json"
    info = json.loads(file.read_bytes())
    info["changes"][-1][key] = value
    file.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="correction"):
        load("mm")


def test_without_the_correction_the_domain_check_fires(installed):
    file = installed / "mm.json"
    info = json.loads(file.read_bytes())
    del info["changes"][-1]
    file.write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"mm\.csv, line 259, column 'bi_rads'.* 0 to 6$"):
        load("mm")


@pytest.mark.parametrize(("key", "value"), [("rows", 829), ("class_rows", [426, 404])])
def test_counts_must_match_the_record(installed, key, value):
    file = installed / "mm.json"
    info = json.loads(file.read_bytes())
    info[key] = value
    file.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="as many rows"):
        load("mm")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"name": 1}'])
def test_damaged_record(installed, content):
    (installed / "wbc.json").write_bytes(content)
    with pytest.raises(DatasetError, match="damaged"):
        load("wbc")


def test_missing_resource(installed):
    (installed / "wbc.csv").unlink()
    with pytest.raises(DatasetError, match="missing from the installation"):
        load("wbc")


def test_working_folder_does_not_matter(tmp_path, monkeypatch):
    (tmp_path / "wbc").write_text("shadow")
    monkeypatch.chdir(tmp_path)
    assert len(load("wbc")) == 683


def test_import_brings_no_heavy_module():
    code = "import sys, ompd.datasets; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"numba", "gmpy2", "sklearn", "pandas", "py_ecc"} & set(done.stdout.split())
