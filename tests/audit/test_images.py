"""What a cloud can make of images, and the control that must be caught."""

from __future__ import annotations

import numpy as np

from ompd import audit
from ompd.audit import hidden_images, images, matches
from ompd.audit.image_scenes import ImageScene, body
from ompd.audit.image_suite import image_suite
from ompd.audit.match_scenes import MatchScene, collection, resembling
from ompd.audit.views import HiddenImageView, ImageView, MatchView


def test_images_are_hidden_and_candidates_are_not(wbc):
    shares = audit.as_dict(image_suite(wbc, 1, lambda attack: None))["images"]
    assert set(shares) == {
        "bias_of_real", "bias_of_black", "bias_of_random", "pixels", "outline", "reused_material",
        "bias_of_matches", "bias_of_nothing", "reused_match_material",
        "hidden_bias_of_real", "hidden_bias_of_black", "hidden_bias_of_random", "hidden_stuck",
        "hidden_cells", "hidden_one_bit", "hidden_both_orders", "hidden_reused_material",
    }  # fmt: skip
    assert shares["bias_of_matches"]["recovered"] + shares["bias_of_nothing"]["recovered"] < 0.4
    assert shares["reused_match_material"]["recovered"] == 1
    # One of six may be that far from even by chance.
    assert sum(shares[f"bias_of_{name}"]["recovered"] for name in ("real", "black", "random")) < 0.4
    assert shares["pixels"]["recovered"] < 0.1
    assert shares["outline"]["recovered"] > shares["outline"]["baseline"] + 0.05
    assert shares["reused_material"]["recovered"] == 1
    # One of 36 views may look uneven.
    assert (
        sum(shares[f"hidden_bias_of_{n}"]["recovered"] for n in ("real", "black", "random")) < 0.2
    )
    assert shares["hidden_stuck"]["recovered"] == 0
    assert shares["hidden_cells"]["recovered"] < shares["hidden_cells"]["baseline"] + 0.2
    # Controls: whatever is told, or not shuffled, or used twice, is seen.
    for control in ("one_bit", "both_orders", "reused_material"):
        assert shares[f"hidden_{control}"]["recovered"] == 1
        assert shares[f"hidden_{control}"]["baseline"] < 0.5


def test_bias_sees_bits_that_are_not_even():
    words = np.random.default_rng(1).integers(0, 2**64, 1000, np.uint64)
    masked = words[:900].reshape(30, 30)
    none = np.empty((0, 4), np.int64)
    assert abs(images.bias(ImageView(masked, words, none))) < 4
    for some in (words & np.roll(words, 1), np.zeros_like(words), words | np.uint64(1)):
        assert images.uneven([ImageView(masked, some, none)]).all()


def test_matches_are_counted_and_nothing_else_is_seen():
    rng = np.random.default_rng(3)
    templates = collection(rng)
    first, second = (MatchScene.of(resembling(rng, templates), templates) for _ in range(2))
    assert first.count > 12
    exact = second.sums - first.sums
    assert (matches.difference(first.view, second.view) == exact).mean() < 0.01
    # Words that were masked by nothing would be seen.
    view = MatchView(first.view.settled, (first.sums >> 13 & 0xFF).astype(np.uint8).ravel())
    assert matches.uneven([view]).all()


def test_another_image_with_fresh_material_shows_no_difference():
    rng = np.random.default_rng(2)
    first, second = (ImageScene.of(body(rng)) for _ in range(2))
    exact = second.image.astype(np.int64) - first.image
    assert (images.difference(first.view, second.view) == exact).mean() < 0.01
    assert first.image.std() > 20
    assert len(first.view.candidates) > 10


def test_hidden_transcripts_in_which_one_mask_is_missing():
    """Views of noise are even; with one bit of a word less than masked they are not."""
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**32, (36, 5000), np.uint32)
    nothing, order = np.empty(0, np.uint8), np.empty(0, np.int64)

    def views(received):
        masked = np.zeros((1, 1), np.uint64)
        return [HiddenImageView(masked, (each,), (32,), nothing, order) for each in received]

    assert hidden_images.uneven(views(words)).mean() < 0.1
    assert hidden_images.stuck(views(words)) == 0
    # A bit that is set three times in five.
    skewed = words | (rng.random(words.shape) < 0.2).astype(np.uint32) << np.uint32(7)
    assert hidden_images.uneven(views(skewed)).all()
    open_bit = words.copy()
    open_bit[:, 4321] |= np.uint32(1)
    assert not hidden_images.uneven(views(open_bit)).mean() > 0.1
    assert hidden_images.stuck(views(open_bit)) == 1
