"""Who gets in, and who does not."""

from __future__ import annotations

import pickle
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.datastructures import Headers

from ompd.portal.door import IDLE, Door

ORIGIN = "http://127.0.0.1:4321"
OWN = {"host": "127.0.0.1:4321"}


class Visitor:
    """A door, what it announced, and a clock that a test turns."""

    def __init__(self):
        self.told = []
        self.now = 0.0
        self.door = Door(self.told.append, clock=lambda: self.now)
        self.door.open(ORIGIN)

    def key(self):
        """The key of the newest address."""
        return parse_qs(urlsplit(self.told[-1]).query)["key"][0]

    def enter(self, key=None, **headers):
        """Returns the cookies that a browser then has."""
        found = self.door.enter(self.key() if key is None else key, Headers(OWN | headers))
        if found is None:
            return None
        name, _, value = found.partition(";")[0].partition("=")
        return {name: value}


@pytest.fixture
def visitor():
    return Visitor()


def test_the_address_opens_once(visitor):
    key = visitor.key()
    cookies = visitor.enter()
    assert visitor.door.is_inside(cookies)
    assert visitor.enter(key) is None
    assert visitor.door.is_inside(cookies)
    # The next address is another one.
    assert len(set(visitor.told)) == 2


def test_a_new_browser_replaces_the_old_one(visitor):
    first = visitor.enter()
    csrf = visitor.door.csrf
    second = visitor.enter()
    assert not visitor.door.is_inside(first)
    assert visitor.door.is_inside(second)
    assert visitor.door.csrf != csrf


@pytest.mark.parametrize("key", ["", "x", "ß" * 43, "A" * 43])
def test_a_guessed_key_opens_nothing(visitor, key):
    assert visitor.enter(key) is None
    (name,) = visitor.enter()
    assert not visitor.door.is_inside({})
    assert not visitor.door.is_inside({name: ""})
    assert not visitor.door.is_inside({name: key})


def test_nobody_is_inside_before_somebody_entered():
    door = Door(lambda _: None)
    assert not door.is_inside({})
    assert door.enter("", Headers(OWN)) is None


def test_an_hour_without_a_page_closes_the_door(visitor):
    cookies = visitor.enter()
    visitor.now = IDLE
    assert visitor.door.is_inside(cookies)
    visitor.now = 2 * IDLE + 1
    assert not visitor.door.is_inside(cookies)
    visitor.now = 0.0
    assert not visitor.door.is_inside(cookies)


def test_cookies_are_for_this_server_and_no_script(visitor):
    cookie = visitor.door.enter(visitor.key(), Headers(OWN))
    assert cookie.endswith(f"; Path={visitor.door.path}; HttpOnly; SameSite=Strict")


def test_no_other_server_knows_what_a_cookie_is_called(visitor):
    # It could replace it, and shut the person out, since cookies go to all ports of a host.
    (name,) = visitor.enter()
    (other,) = Visitor().enter()
    assert name != other
    assert len(name) >= 16


def test_browsers_leave_out_the_port_of_http():
    told = []
    door = Door(told.append)
    door.open("http://127.0.0.1:80")
    bare = Headers({"host": "127.0.0.1", "origin": "http://127.0.0.1"})
    assert told[0].startswith("http://127.0.0.1/enter?key=")
    assert door.is_ours(bare, "POST")
    assert door.enter(told[0].partition("=")[2], bare) is not None
    assert not door.is_ours(Headers({"host": "127.0.0.1:8080"}), "GET")


@pytest.mark.parametrize(
    ("headers", "method", "ours"),
    [
        ({}, "GET", True),
        ({"sec-fetch-site": "none"}, "GET", True),
        ({"sec-fetch-site": "same-origin"}, "GET", True),
        # A page of another port of this device, and one of anywhere.
        ({"sec-fetch-site": "same-site"}, "GET", False),
        ({"sec-fetch-site": "cross-site"}, "GET", False),
        ({"host": "evil.example:4321"}, "GET", False),
        ({"host": "localhost:4321"}, "GET", False),
        ({"host": "127.0.0.1"}, "GET", False),
        ({"origin": ORIGIN}, "POST", True),
        ({"sec-fetch-site": "same-origin"}, "POST", True),
        ({}, "POST", False),
        ({"origin": "null"}, "POST", False),
        ({"origin": "http://127.0.0.1:80"}, "POST", False),
        ({"origin": "https://127.0.0.1:4321"}, "POST", False),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, "POST", False),
        ({"origin": ORIGIN, "host": "evil.example:4321"}, "POST", False),
        ({"sec-fetch-site": "none"}, "POST", False),
    ],
)
def test_only_our_own_pages_may_ask(visitor, headers, method, ours):
    assert visitor.door.is_ours(Headers(OWN | headers), method) is ours


def test_two_hosts_are_none(visitor):
    twice = Headers(raw=[(b"host", b"127.0.0.1:4321"), (b"host", b"127.0.0.1:4321")])
    assert not visitor.door.is_ours(twice, "GET")
    assert visitor.door.enter(visitor.key(), twice) is None


def test_another_name_for_this_device_cannot_enter(visitor):
    assert visitor.enter(host="evil.example:4321") is None
    # Nor did it use up the address.
    assert visitor.enter() is not None


def test_a_door_shows_no_secret(visitor):
    shown = repr(visitor.door)
    for secret in (visitor.key(), visitor.door.path[1:], visitor.door.csrf):
        assert secret not in shown
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(visitor.door)
