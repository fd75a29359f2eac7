"""Chromium, as a person uses it: with and without scripts, on a telephone's width."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

#: Set where a missing browser is a failure: `.ci/run` installs one.
REQUIRED = "OMPD_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Pixels of a small telephone.
NARROW = {"width": 360, "height": 740}


def executable():
    """Path of a browser; the test is skipped without one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    missing = "Chromium" if found is None else ""
    if importlib.util.find_spec("playwright") is None:
        missing = "Playwright"
    if missing:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{missing} is not installed, and {REQUIRED} demands it")
        pytest.skip(f"{missing} is not installed")
    return found


@contextlib.contextmanager
def chromium():
    """A browser."""
    path = executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that containers do not have.
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()


def axe():
    """Source of axe-core, which checks for accessibility."""
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text()


#: Of axe: what WCAG 2.2 demands at levels A and AA, and what it calls best practice.
RULES = [
    "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice",
]  # fmt: skip


def violations(page, source):
    """What axe finds wrong on a page: rule and place."""
    page.evaluate(source)
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    assert found["passes"], "axe looked at nothing"
    return [
        (each["id"], node["target"], node["failureSummary"])
        for each in found["violations"]
        for node in each["nodes"]
    ]


def is_too_wide(page):
    """Whether a page has to be scrolled sideways."""
    return page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
