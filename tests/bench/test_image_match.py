"""Counts of the benchmark are those of OpenCV's matcher, and its peers do the same work."""

from __future__ import annotations

import numpy as np
import pytest

from bench.image_match import agreement, clipped, described, match, measure, passes, unit
from bench.images import Clock, changed, pictures
from ompd.images.features import template_integers
from ompd.images.match_plan import match_plan


def test_a_real_image():
    image = pictures(64)["CT_small.dcm"]
    sums, other = described(image), described(changed(image)["noise 5"][0])
    clock = Clock()
    templates = template_integers(unit(other))
    plan = match_plan(len(sums), len(other))
    count, sent = match(plan, sums, templates, clock)
    assert set(clock.spent) == {"dealer", "leader", "other"}
    assert abs(count - passes(unit(sums), unit(other)).sum()) <= 1
    assert sent == sum(each.size for some in plan.openings(len(sums)) for each in some)
    assert np.allclose(np.linalg.norm(clipped(other), axis=1), 1)
    # The control of what is measured: with the wrong templates, floats say something else.
    wrong = unit(other)[:, ::-1]
    assert agreement(sums[:20], templates, wrong) < 18


@pytest.mark.long
def test_sixteen_images():
    found = measure(128, 3)
    assert found["decisions"] > 3000
    # Four of 3,822 differed, where .9994 is expected.
    assert found["agreement"] >= 0.998
    assert found["agreement_clipped_templates"] >= 0.998
    assert abs(found["count"] - found["count_by_opencv"]) <= 1
    assert found["rounds"] == 14
    assert found["online_bytes_each_way"] < 0.5e6
    assert found["dealt_bytes"] < 6.6e6
