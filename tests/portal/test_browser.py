"""The whole way of a person, in a real browser and through real servers, with and without scripts.

Questions, record, pre-diagnosis, report, search, sharing, a physician, revocation, a reminder in
the calendar's file.
"""

from __future__ import annotations

import re

import pytest

from tests.portal.browsing import NARROW, axe, chromium, is_too_wide, violations
from tests.portal.processes import PortalProcess
from tests.portal.scene import DISEASE, Scene

pytestmark = pytest.mark.long

#: What a person of 58 with a narrow vessel might answer.
ANSWERS = {
    "age": "58", "sex": "male", "chest_pain": "asymptomatic", "resting_pressure": "140",
    "exercise_angina": "yes", "cholesterol": "286", "fasting_sugar": "no",
    "resting_ecg": "hypertrophy", "highest_rate": "112", "st_depression": "2,4",
    "slope": "flat", "vessels": "2", "perfusion": "reversible",
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with Scene(tmp_path_factory.mktemp("scene")) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


class Tab:
    """One tab, whose every page is looked at.

    Parameters
    ----------
    browser : Browser
    portal : PortalProcess
    scripts : bool
    **options
        Of the browser's context.
    """

    def __init__(self, browser, portal, *, scripts, **options):
        self.scripts = scripts
        self.context = browser.new_context(
            java_script_enabled=scripts, viewport=NARROW, locale="en-GB", **options
        )
        self.page = self.context.new_page()
        self.complaints, self.asked, self.seen = [], set(), {}
        self._axe = axe()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("request", lambda request: self.asked.add(request.url))
        self.page.goto(portal.address)
        portal.renew()
        self.origin = portal.origin
        self.base = "/".join(self.page.url.split("/")[:4])
        self.look()

    def look(self):
        """See whether the page that is there is as it should be."""
        # With its style.
        self.page.wait_for_load_state("load")
        if self.scripts:
            place = re.sub(r"[\w-]{16}", "*", self.page.url.removeprefix(self.base))
            assert violations(self.page, self._axe) == [], place
            assert not is_too_wide(self.page), place
            self.seen[place] = self.page.title()
        assert self.page.get_by_role("heading", level=1).count() == 1

    def go(self, name):
        """Follow the menu."""
        self.page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        self.look()

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()
        self.look()

    def follow(self, name):
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.look()

    def said(self):
        return self.page.get_by_role("status").inner_text()

    def text(self):
        return self.page.locator("main").inner_text()

    def save(self, name):
        """Content of a file that a link has."""
        with self.page.expect_download() as waiting:
            self.page.get_by_role("link", name=name, exact=True).click()
        with open(waiting.value.path(), "rb") as file:
            return file.read()

    def close(self):
        """Nothing was asked of anybody else, and the browser had nothing to complain of."""
        assert {url for url in self.asked if not url.startswith(f"{self.origin}/")} == set()
        # It mentions pages that say what was filled in wrongly.
        told = [each for each in self.complaints if "status of 400" not in each]
        assert told == []
        self.context.close()


def answer(tab):
    """Answer the question that is there; returns its id."""
    page = tab.page
    question = page.locator("input[name=question]").get_attribute("value")
    if page.locator("input[name=answer][type=radio]").count():
        page.locator(f"input[name=answer][value='{ANSWERS[question]}']").check()
    else:
        page.locator("input[name=answer]").fill(ANSWERS[question])
    tab.press("Next")
    return question


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_whole_way(scene, browser, scripts):
    name = "with" if scripts else "without"
    with scene.portal(name) as portal, scene.physician() as practice:
        tab = Tab(browser, portal, scripts=scripts, accept_downloads=True)

        tab.go("Questions")
        tab.page.get_by_label("hospital").check()
        tab.press("Begin")
        answered = {answer(tab)}
        while tab.page.locator("input[name=question]").count():
            answered.add(answer(tab))
        tab.page.get_by_role("link", name=re.compile("all the same")).click()
        while tab.page.locator("input[name=question]").count():
            answered.add(answer(tab))
        assert answered == set(ANSWERS)
        tab.press("Keep the result in my record")
        assert "This is not a diagnosis." in tab.text()
        assert "entries were written" in tab.said()

        tab.go("Record")
        assert "286 mg/dL" in tab.text()
        tab.go("Pre-diagnosis")
        tab.press("Look it up")
        tab.follow(DISEASE)
        assert "only the hospital sees your values" in tab.text()
        assert "nothing of your values or of the answer" in tab.text()
        # All of it is from the record.
        assert tab.page.get_by_label("cholesterol").input_value() == "286"
        tab.press("Send to hospital")
        assert "Its report is in your record." in tab.said()
        report = tab.text()
        assert "This is not a diagnosis." in report
        assert re.search(r"present\s+\d", report)
        tab.go("Reports")
        assert tab.page.locator("li.card").count() == 2

        tab.go("Search")
        tab.page.get_by_label("Words or codes").fill("cholesterol")
        tab.press("Search")
        assert re.search("One entry|[0-9]+ entries found", tab.text())
        assert "286 mg/dL" in tab.text()

        reader = Tab(browser, practice, scripts=scripts, accept_downloads=True)
        code = reader.page.locator("pre").inner_text()
        tab.go("Share")
        for kind in ("Measurement or finding", "Estimate"):
            tab.page.get_by_label(re.compile(kind)).check()
        tab.page.get_by_label("Code of the recipient").fill(code)
        tab.press("Share")
        assert "Give dr-bell the file" in tab.said()
        notices = tab.save("File for dr-bell")

        def open_it():
            reader.go("Shared with me")
            file = {"name": "a.ompd", "mimeType": "application/octet-stream", "buffer": notices}
            reader.page.get_by_label("File").set_input_files(file)
            reader.press("Open")

        open_it()
        assert "Shared by user" in reader.text()
        reader.go("Record")
        assert "286 mg/dL" in reader.text()
        # What was not shared is not there, and nothing can be changed.
        assert "Illness" not in reader.page.locator("select").inner_text()
        reader.page.locator(".lines a").first.click()
        reader.look()
        assert reader.page.get_by_role("button").count() == 2
        reader.go("Reports")
        assert "This is not a diagnosis." in reader.text()

        tab.go("Share")
        tab.press("Revoke for dr-bell")
        assert "Nothing is shared." in tab.text()
        open_it()
        assert reader.page.get_by_role("alert").count() == 1
        assert "286" not in reader.text()
        reader.close()

        diary(tab)
        for each in ("At a glance", "Charts", "Files"):
            tab.go(each)
        tab.press("Deutsch")
        assert tab.page.locator("html").get_attribute("lang") == "de"
        for each in ("Tagebuch", "Teilen", "Fragen", "Vordiagnose"):
            tab.go(each)
        tab.page.get_by_role("button", name="Akte schließen").click()
        assert "geschlossen" in tab.page.inner_text("body")
        tab.close()
        assert portal.wait() == 0


def diary(tab):
    """A reminder, in the calendar's file: when, and not of what."""
    tab.go("Diary")
    tab.page.get_by_text("New reminder").click()
    tab.page.get_by_label("Remind me of").fill("metformin with breakfast")
    tab.page.locator("form[action$='/diary/add/reminder']").get_by_label("First time").fill(
        "2027-03-01T07:30"
    )
    tab.page.locator("form[action$='/diary/add/reminder']").get_by_role("button").click()
    tab.look()
    assert "1 March 2027, 07:30" in tab.text()
    calendar = tab.save("Calendar file").decode()
    assert "RRULE:FREQ=DAILY" in calendar
    assert "20270301T073000" in calendar
    assert "metformin" not in calendar.casefold()
    tab.page.get_by_label("Weight (kg)").fill("81,5")
    tab.page.get_by_label("Height (cm)").fill("178")
    tab.page.get_by_label("Age (years)").fill("12")
    tab.press("Work it out")
    assert "growth charts" in tab.page.get_by_role("alert").inner_text()
    tab.page.get_by_label("Age (years)").fill("")
    tab.press("Work it out")
    assert "25.7 kg/m²: overweight" in tab.said()


def test_in_the_dark_in_print_by_keyboard_and_in_german(browser, tmp_path):
    source = axe()
    with PortalProcess(tmp_path / "record") as portal:
        context = browser.new_context(color_scheme="dark", locale="de-DE", viewport=NARROW)
        page = context.new_page()
        page.goto(portal.address)
        places = [link.get_attribute("href") for link in page.locator("nav a").all()]
        assert len(places) == 10
        for place in [*places, f"{places[0]}write"]:
            page.goto(portal.origin + place)
            assert violations(page, source) == [], place
            assert not is_too_wide(page), place
        # The first stop leads past the menu.
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Zum Inhalt springen"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        # All of a form by keyboard: its first field follows the summary, which opens it.
        page.locator("summary").first.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("81,5")
        page.keyboard.press("Enter")
        page.get_by_role("status").wait_for()
        assert "81,5 kg" in page.locator("main").inner_text()
        page.emulate_media(media="print")
        assert not page.locator("nav").first.is_visible()
        assert not page.get_by_role("button").first.is_visible()
        assert page.get_by_role("heading", level=1).is_visible()
        context.close()
