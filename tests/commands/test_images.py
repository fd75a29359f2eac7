from __future__ import annotations

import json

import cv2
import numpy as np
from typer.testing import CliRunner

from ompd.commands.app import app
from tests.images.runs import texture


def run(*arguments):
    return CliRunner().invoke(app, ["images", "demo", *map(str, arguments)])


def test_hidden_mode_is_the_default(tmp_path):
    np.save(tmp_path / "image.npy", texture(64, 72, 1, smooth=1))
    done = run(tmp_path / "image.npy", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rounds"] == 8
    assert found["open_to_clouds"] == "how many features there are"
    assert found["features"] > 30
    assert found["near_opencv_features"] > 0.6
    assert found["opencv_features_found"] > 0.8
    assert found["upright_descriptor_cosine_median"] > 0.9
    assert found["dealt_bytes"] < 3800 * 64 * 72
    assert 0.5 * found["features"] < found["matches"] <= found["features"]
    done = run(tmp_path / "image.npy", "--mode", "open")
    assert done.exit_code != 0
    assert "hidden or extract" in done.output


def test_extract_mode_prints_one_json_object_and_draws(tmp_path):
    np.save(tmp_path / "image.npy", texture(64, 72, 1, smooth=1))
    picture = tmp_path / "both.png"
    done = run(tmp_path / "image.npy", "--mode", "extract", "--picture", picture, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rounds"] == 4
    assert found["features"] > 30
    assert found["recall"] > 0.9
    assert found["precision"] > 0.9
    assert found["dealt_bytes"] < 3800 * 64 * 72
    assert found["between_clouds_by_left_bytes"] < 220 * 64 * 72
    assert found["match_rounds"] == 14
    assert 0.5 * found["features"] < found["matches"] <= found["features"]
    assert found["templates"] > 30
    assert found["match_between_clouds_each_way_bytes"] < 0.5e6
    assert found["match_dealt_bytes"] < 8e6
    drawn = cv2.imread(str(picture))
    assert drawn.shape == (256, 576, 3)
    red, green = drawn[:, :288], drawn[:, 288:]
    assert ((red[..., 2] > 200) & (red[..., 1] < 60)).sum() > 100
    assert ((green[..., 1] > 200) & (green[..., 2] < 60)).sum() > 100


def test_what_is_no_image(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"none")
    done = run(tmp_path / "a.npy")
    assert done.exit_code != 0
    assert "expected an array" in done.output
    assert "Traceback" not in done.output
