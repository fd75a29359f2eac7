"""What a browser writes into its own files."""

from __future__ import annotations

import pytest

from tests.portal.browsing import executable
from tests.portal.processes import PortalProcess

pytestmark = pytest.mark.long

#: By where it is typed.
PLANTED = {
    name: f"Planted{name}Qzx"
    for name in ("title", "note", "searched", "refused", "half", "condition")
}


def found(folder, word):
    """Files that hold a word."""
    forms = (word.encode(), word.encode("utf-16-le"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(form in path.read_bytes() for form in forms)]


def write(page, base, summary):
    """Open one of the forms of what can be written down."""
    page.goto(f"{base}/write")
    page.locator("summary", has_text=summary).click()
    return page.locator("details[open] form").last


def test_a_browsers_files_have_nothing_of_the_record(tmp_path):
    path = executable()
    from playwright.sync_api import sync_playwright

    with PortalProcess(tmp_path / "record") as portal, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=path,
            locale="en-GB",
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        page = context.new_page()
        page.goto(portal.address)
        base = "/".join(page.url.split("/")[:4])

        form = write(page, base, "A note")
        form.locator("input[name=title]").fill(PLANTED["title"])
        form.locator("textarea").fill(PLANTED["note"])
        form.locator("button").click()
        assert PLANTED["title"] in page.locator("h1").inner_text()
        page.goto(f"{base}/search")
        page.locator("input[name=words]").fill(PLANTED["searched"])
        page.locator("main button").click()
        assert page.locator("input[name=words]").input_value() == PLANTED["searched"]
        form = write(page, base, "An illness")
        form.locator("input[name=name]").fill(PLANTED["refused"])
        form.evaluate("form => { form.noValidate = true; form.when.value = '' }")
        form.locator("button").click()
        assert page.locator("#f-condition").input_value() == PLANTED["refused"]
        form = write(page, base, "A note")
        form.locator("textarea").fill(PLANTED["half"])
        page.goto(f"{base}/record")
        form = write(page, base, "An illness")
        form.locator("input[name=name]").fill(PLANTED["condition"])
        form.locator("button").click()
        assert PLANTED["condition"] in page.locator("h1").inner_text()
        page.goto(f"{base}/record")
        # What is waiting is written.
        context.close()
    # The addresses are there, so that this sees what a browser keeps.
    assert found(tmp_path / "profile", base)
    assert {name: found(tmp_path / "profile", word) for name, word in PLANTED.items()} == {
        name: [] for name in PLANTED
    }
