"""The catalogue has every text in every language, and no other."""

from __future__ import annotations

import re
import string
from datetime import datetime

import pytest

from ompd.portal.texts import LANGUAGES, Texts, catalogue, in_language, preferred
from tests.places import PACKAGE

#: Groups whose keys are made of what a record or a hospital says.
MADE = {
    "kind", "bmi", "profile", "hospital-learns", "cloud-learns", "language",
    "every", "unit",
}  # fmt: skip
FOLDER = PACKAGE / "portal"
KEY = re.compile(r"""["']([a-z-]+\.[A-Za-z0-9-]+)["']""")


def used():
    """Keys that the pages name."""
    found = set()
    for path in [*FOLDER.rglob("*.html"), *FOLDER.rglob("*.py")]:
        found |= set(KEY.findall(path.read_text()))
    return {key for key in found if key.partition(".")[2] != "html"}


def test_every_text_is_there_in_every_language():
    for key, texts in catalogue().items():
        assert set(texts) == set(LANGUAGES), key
        assert all(text.strip() == text and text for text in texts.values()), key


def test_languages_have_the_same_values_in_their_texts():
    for key, texts in catalogue().items():
        fields = [
            sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)
            for text in texts.values()
        ]
        assert all(each == fields[0] for each in fields), key


def test_the_pages_name_only_texts_that_are_there():
    groups = {key.partition(".")[0] for key in catalogue()}
    for key in used():
        if key.partition(".")[0] in groups:
            assert key in catalogue() or {f"{key}-one", f"{key}-many"} <= set(catalogue()), key


def test_the_pages_use_every_text():
    named = used()
    for key in catalogue():
        group = key.partition(".")[0]
        plain = re.sub("-(one|many)$", "", key)
        assert group in MADE or key in named or plain in named, key


def test_texts_of_two_languages_differ_where_they_should():
    same = {key for key, texts in catalogue().items() if len(set(texts.values())) == 1}
    # Names, units and words that both have.
    assert len(same) < 15, same


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr, en;q=0.3, de;q=0.7", "de"),
        ("fr", "en"),
        ("en;q=x, de;q=0.1", "de"),
        ("de;q=" * 100, "de"),
    ],
)
def test_the_browser_says_which_language(accepted, language):
    assert preferred(accepted) == language


def test_numbers_and_days_are_written_as_the_language_does():
    english, german = Texts("en"), Texts("de")
    moment = datetime(2026, 3, 9, 7, 5).astimezone()
    assert (english.number(5.25), german.number(5.25)) == ("5.25", "5,25")
    assert (english.number(130), german.number(130.0)) == ("130", "130")
    assert (english.number(2.0, 1), german.number(float("nan"))) == ("2.0", "–")
    assert english.moment(moment) == "9 March 2026, 07:05"
    assert german.day(moment) == "9. März 2026"
    assert english.count("home.all", 1) != english.count("home.all", 2)


def test_nothing_is_certain():
    texts = Texts("en")
    found = [texts.share(share) for share in (0.0, 1.0, 0.005, 0.5, 0.994, float("nan"))]
    assert found == ["0.1%", "99.9%", "0.5%", "50%", "99.4%", "–"]
    assert Texts("de").share(0.25) == "25 %"


def test_somebody_elses_texts_have_at_least_one_language():
    assert in_language({"en": "a", "de": "b"}, "de") == "b"
    assert in_language({"fr": "c"}, "de") == "c"
    assert in_language({}, "de") == ""
