"""Images from files."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from ompd.errors import ImageError
from ompd.images import read_image
from tests.images.runs import texture
from tests.places import ROOT

IMAGE = texture(20, 30, 1)


def test_pictures(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    assert np.array_equal(read_image(tmp_path / "a.png"), IMAGE)
    deep = read_image(tmp_path / "a.png", 16)
    assert deep.dtype == np.uint16
    assert np.array_equal(deep, IMAGE.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "b.png"), deep)
    assert np.array_equal(read_image(tmp_path / "b.png", 16), deep)
    assert np.array_equal(read_image(tmp_path / "b.png"), IMAGE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "a.npy", IMAGE.astype(dtype))
    found = read_image(tmp_path / "a.npy")
    assert found.dtype == dtype
    assert np.array_equal(found, IMAGE)


@pytest.mark.parametrize("depth", [8, 16])
def test_dicom(depth):
    path = get_testdata_file("CT_small.dcm")
    found = read_image(path, depth)
    assert found.shape == (128, 128)
    assert found.dtype == (np.uint8 if depth == 8 else np.uint16)
    white = (1 << depth) - 1
    assert 0.01 <= (found == 0).mean() < 0.3
    assert 0.01 <= (found == white).mean() < 0.1
    values = pydicom.dcmread(path).pixel_array
    assert (np.diff(found.ravel()[np.argsort(values.ravel())].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", b"no array"),
        ("a.npy", b""),
        ("a.dcm", b"no image"),
        ("a.png", b"no picture"),
        ("a", b""),
    ],
)
def test_files_that_are_none(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match="path: expected") as caught:
        read_image(tmp_path / name)
    assert "content" not in str(caught.value)
    with pytest.raises(ImageError, match="expected a file"):
        read_image(tmp_path / "missing")


def test_arrays_of_another_form(tmp_path):
    for array in (IMAGE.astype(float), IMAGE[None], np.array([None])):
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        with pytest.raises(ImageError, match="two dimensions"):
            read_image(tmp_path / "a.npy")
    with pytest.raises(ImageError, match="depth"):
        read_image(tmp_path / "a.npy", 12)


def test_a_cloud_reads_no_files():
    code = "import sys, ompd.roles.imaging.cloud; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"cv2", "pydicom"} & set(done.stdout.split())
