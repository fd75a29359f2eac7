"""The sealed profile's requests say nothing; a table that reuses its hints is caught."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.audit import sealed
from ompd.audit.views import SealedView
from ompd.audit.windows import SealedScene

KINDS = ("distinct", "repeated", "skewed", "extreme")
WINDOWS = 150


@pytest.fixture(scope="module")
def scene(wbc):
    return SealedScene.of(wbc)


@pytest.fixture(scope="module")
def usual(scene):
    rng = np.random.default_rng(1)
    return [scene.window("distinct", rng) for _ in range(WINDOWS)]


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_told_apart_by_chance_only(scene, usual, kind):
    rng = np.random.default_rng(2)
    other = [scene.window(kind, rng) for _ in range(WINDOWS)]
    # Six standard errors: one false alarm in a billion runs.
    band = 6 * 0.5 / np.sqrt(2 * (WINDOWS - WINDOWS // 3))
    assert abs(sealed.tell_apart(usual, other) - 0.5) < band


def test_reused_hints_are_caught(wbc):
    scene = SealedScene.of(wbc, reusing=True)
    rng = np.random.default_rng(3)
    usual, other = (
        [scene.window(kind, rng) for _ in range(WINDOWS)] for kind in ("distinct", "repeated")
    )
    assert sealed.tell_apart(usual, other) > sealed.detectable(WINDOWS) + 0.08


def test_all_requests_have_one_length(scene):
    rng = np.random.default_rng(4)
    lengths = {len(request) for kind in KINDS for request in scene.window(kind, rng).requests}
    assert len(lengths) == 1


def noise(rng, count, chunk=8, fetches=2):
    offsets = rng.integers(0, chunk, (count, fetches, 4)).astype("u1")
    return tuple(one.tobytes() for one in offsets)


def longer(requests):
    return (*requests[:-1], requests[-1] + b"\0" * 4)


def repeating(requests):
    return (*requests[:-1], requests[0])


def skewed(requests):
    return tuple(b"\0\0" + request[2:] for request in requests)


@pytest.mark.parametrize("leak", [longer, repeating, skewed])
def test_every_planted_leak_is_caught(rng, leak):
    usual = [SealedView(4, 8, noise(rng, 6)) for _ in range(90)]
    other = [SealedView(4, 8, leak(noise(rng, 6))) for _ in range(90)]
    assert sealed.tell_apart(usual, other) > sealed.detectable(90)


def test_smaller_effects_are_seen_with_more_windows():
    assert sealed.detectable(3000) < sealed.detectable(300) < 0.6
