"""How private features of images agree with OpenCV's."""

from __future__ import annotations

import numpy as np
import pytest

from bench.hidden_images import robustness
from bench.images import Clock, changed, extract, matched, measure, pictures
from ompd.commands.images import compare


def test_a_real_image():
    image = pictures(64)["CT_small.dcm"]
    clock = Clock()
    features, candidates = extract(image, clock)
    found = compare(features, image)
    assert found["recall"] > 0.85
    assert found["precision"] > 0.9
    assert candidates >= len(features) / 2
    assert set(clock.spent) == {
        "dealer", "before leader", "before other", "leader", "other", "physician",
    }  # fmt: skip


def test_matches_are_counted():
    """The control of what is measured: an image matches itself, and its mirror image does not."""
    image = pictures(64)["camera.png"]
    features, _ = extract(image, Clock())
    own = features.points, features.descriptors
    still = np.array([[1, 0, 0], [0, 1, 0.0]])
    passed, right = matched(own, own, still)
    assert passed == right > 0.8 * len(features)
    passed, right = matched(own, own, np.array([[1, 0, 9], [0, 1, 0.0]]))
    assert right < 0.1 * passed
    assert {each.shape for each, _ in changed(image).values()} == {(64, 64)}


@pytest.mark.long
def test_sixteen_images():
    found = measure(128, 3)
    assert len(found["images"]) == 16
    # Masks decide what hangs on a last place: .990 to .992 were seen, and .969 each time.
    assert found["recall_mean"] >= 0.985
    assert found["precision_mean"] >= 0.985
    assert found["recall_least"] >= 0.96
    assert found["precision_least"] >= 0.96
    assert found["cosine_median"] >= 0.997
    assert found["candidates_per_opencv_feature"] < 1.8
    assert found["online_bytes_per_pixel"] <= 220
    assert found["dealt_bytes_per_pixel"] <= 3800


@pytest.mark.long
def test_matches_in_hidden_mode():
    """Right matches with slightly changed images, beside OpenCV's."""
    found = robustness(128)
    for change, least in {
        "shift 3": 0.97, "rotation 5": 0.92, "scale .9": 0.9, "noise 5": 0.94, "contrast .7": 0.95,
        "all": 0.95,
    }.items():  # fmt: skip
        hidden, opencv = found[change]["hidden"], found[change]["opencv"]
        assert hidden["within_2.5"] >= least
        assert hidden["within_2.5"] >= opencv["within_2.5"] - 0.025
        assert hidden["matches"] >= opencv["matches"]
