"""Who is refused, whatever page is asked for, and what every answer carries."""

from __future__ import annotations

import re

import pytest

from ompd.portal.pages import all_pages
from tests.portal.inside import ORIGIN, Inside, forms

PAGES = list(all_pages(reads_only=False))
WRITES = [page for page in PAGES if page.method == "POST"]


def concrete(page):
    """A path of a page."""
    return re.sub(r"\{\w+\}", "x", page.path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.method} {page.path}")
def test_strangers_see_no_page(inside, page):
    before = inside.house.record.changes
    for path in (concrete(page), inside.door.path + concrete(page), "/guess" + concrete(page)):
        guess = {"cookie": f"{inside.cookie}=guess"}
        for headers in ({"origin": ORIGIN}, {"origin": ORIGIN} | guess):
            answer = inside.client().request(page.method, path, headers=headers)
            assert answer.status_code == 403
            assert inside.door.path not in answer.text
    assert inside.house.record.changes == before


@pytest.mark.parametrize("page", WRITES, ids=lambda page: page.path)
def test_forged_forms_do_nothing(inside, page):
    before, path = inside.house.record.changes, inside.door.path + concrete(page)
    good = {"csrf": inside.door.csrf}
    kind = {"content-type": "application/x-www-form-urlencoded"}
    for fields, headers in (
        (good, {"origin": "http://evil.example"}),
        (good, {"origin": "null"}),
        (good, {"origin": "http://127.0.0.1:80"}),
        (good, {"host": "evil.example:4321", "origin": "http://evil.example:4321"}),
        (good, {}),
        ({}, {"origin": ORIGIN}),
        ({"csrf": "guess"}, {"origin": ORIGIN}),
        ({"csrf": ""}, {"origin": ORIGIN}),
    ):
        answer = inside.browser.post(path, data=fields, headers=kind | headers)
        assert answer.status_code == 403, (fields, headers)
    assert inside.house.record.changes == before
    assert not inside.closed
    assert inside.get("/search")


def test_a_form_of_an_earlier_session_does_nothing(inside):
    old = inside.door.csrf
    inside.browser.get(inside.address())
    inside.post("/close", 403, csrf=old)
    assert not inside.closed


def test_a_page_of_another_port_is_not_answered(inside):
    for site in ("same-site", "cross-site"):
        answer = inside.browser.get(f"{inside.door.path}/search", headers={"sec-fetch-site": site})
        assert answer.status_code == 403


def test_pages_are_not_read_by_other_methods(inside):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = inside.browser.request(
            method, f"{inside.door.path}/search", headers={"origin": ORIGIN}
        )
        assert answer.status_code == 405
    assert inside.get("/nowhere", 404)
    assert inside.get("//evil.example", 404)


def test_every_answer_keeps_others_away(inside):
    answers = [
        inside.browser.get(f"{inside.door.path}/search"),
        inside.browser.get(f"{inside.door.path}/nowhere"),
        inside.client().get("/"),
        inside.browser.get("/portal.css"),
        inside.post("/language", language="de", back="/search"),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "script" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_pages_need_no_script_and_nothing_from_elsewhere(inside):
    for page in PAGES:
        if page.method == "GET" and "{" not in page.path and "." not in page.path:
            text = inside.get(page.path)
            assert not re.search(r"<script|javascript:|\son\w+=|style=|<iframe|@import", text)
            for url in re.findall(r'(?:href|src|action)="([^"]*)"', text):
                assert url.startswith("/") or url == "#content", url
            assert all("csrf" in text for _ in forms(text))


def test_the_language_is_the_persons(inside):
    assert 'lang="en"' in inside.get("/search")
    answer = inside.post("/language", language="de", back="/search")
    assert answer.headers["location"] == f"{inside.door.path}/search"
    assert 'lang="de"' in inside.get("/search")
    inside.post("/language", language="xx", back="/search")
    assert 'lang="de"' in inside.get("/search")


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "/..//evil", ""])
def test_no_form_leads_elsewhere(inside, back):
    answer = inside.post("/language", language="en", back=back)
    assert answer.headers["location"].startswith(f"{inside.door.path}/")
    assert "evil" not in answer.headers["location"]


def navigating(inside, place, **fields):
    """Answer to a form that a tab sends."""
    headers = {"origin": ORIGIN, "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}
    data = {"csrf": inside.door.csrf} | fields
    return inside.browser.post(inside.door.path + place, data=data, headers=headers)


@pytest.mark.parametrize(
    ("place", "fields", "status"),
    [
        ("/search", {"words": "stairs"}, 200),
        ("/write/condition", {"name": "stairs", "when": "soon"}, 400),
        ("/share/revoke", {"recipient": "stairs" * 80}, 409),
        ("/search", {"words": "stairs", "csrf": "guess"}, 403),
    ],
)
def test_tabs_keep_no_form(inside, place, fields, status):
    answer = navigating(inside, place, **fields)
    assert answer.status_code == 303
    where = answer.headers["location"].removeprefix(inside.door.path)
    assert re.fullmatch(r"/answer/[\w-]{16}", where)
    # Where one goes back to it, too.
    assert inside.get(where, status) == inside.get(where, status)
    for _ in range(16):
        navigating(inside, "/search", words="x")
    inside.get(where, 409)


def test_tabs_keep_no_form_that_comes_too_late(inside):
    inside.door.leave()
    answer = navigating(inside, "/search", words="stairs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert inside.browser.get("/").status_code == 403


def test_tabs_keep_no_form_of_a_page_that_fails(inside, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(inside.house.record, "search", fail, raising=False)
    answer = navigating(inside, "/search", words="stairs")
    assert answer.status_code == 303
    inside.get(answer.headers["location"].removeprefix(inside.door.path), 500)


def test_browsers_keep_nothing_of_forms(inside):
    for page in PAGES:
        if page.method == "GET" and "{" not in page.path and "." not in page.path:
            text = inside.get(page.path)
            begins = re.findall(r"<form [^>]*>", text)
            assert len(begins) >= 2
            assert all('autocomplete="off"' in each for each in begins), page.path


def test_tabs_are_not_called_what_is_in_the_record(inside):
    answer = inside.post("/write/condition", name="Stairs", when="2026-03-09T07:30")
    text = inside.follow(answer)
    assert "<h1>Stairs</h1>" in text
    assert "Stairs" not in re.search("<title>(.*?)</title>", text)[1]


def test_closing_closes_a_tab(inside):
    assert "closed" in navigating(inside, "/close").text


def test_closing_closes(inside):
    answer = inside.post("/close", 200)
    assert "closed" in answer.text
    assert inside.closed == [1]
    assert inside.browser.get(f"{inside.door.path}/").status_code == 403


def test_a_page_that_fails_tells_nothing(inside, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("a patient's value")

    monkeypatch.setattr(inside.house.record, "search", fail, raising=False)
    answer = inside.post("/search", 500, words="x")
    assert "patient" not in answer.text
    assert capsys.readouterr().err == "ompd: a page failed: RuntimeError\n"


def test_values_are_escaped(inside):
    text = inside.post("/search", 200, words='"><script>x</script>').text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("place", ["/record", "/reports", "/charts"])
def test_who_has_opened_no_record_is_led_to_where_one_is_opened(place):
    reader = Inside(None)
    answer = reader.browser.get(reader.door.path + place)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{reader.door.path}/open"
    assert "No record is open" in reader.house.said
    reader.leave()
