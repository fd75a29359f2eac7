"""`ompd portal` as a process: one at a time, killed at any moment, on a full disk, on the disk."""

from __future__ import annotations

import json
import re
import secrets
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.record import Record
from ompd.record.questionnaire import Interview, load
from tests.portal.inside import WHEN
from tests.portal.processes import PortalProcess, password_file

pytestmark = pytest.mark.long

#: Kills between two answers, and strings that are looked for on the disk.
KILLS, PLANTED = 8, 200


class Browser:
    """Asks the pages of a process, as a browser does."""

    def __init__(self, portal):
        self.origin = portal.origin
        self.http = httpx.Client(headers={"origin": portal.origin}, timeout=60)
        found = self.http.get(portal.address, follow_redirects=True)
        assert found.status_code == 200
        self.base = "/".join(str(found.url).split("/")[:4])
        self.csrf = re.search(r'name="csrf" value="([^"]+)"', found.text)[1]

    def get(self, place):
        return self.http.get(self.base + place)

    def post(self, place, **fields):
        return self.http.post(self.base + place, data={"csrf": self.csrf} | fields)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()


def opened(folder):
    return Record.open(folder, password_file(folder.parent).read_text().strip())


def test_one_process_has_a_record_and_guesses_open_nothing(tmp_path):
    folder = tmp_path / "record"
    with PortalProcess(folder) as portal:
        second = CliRunner().invoke(
            app, ["portal", str(folder), "--password-file", str(password_file(tmp_path))]
        )
        assert second.exit_code == 2
        assert "another process has it open" in second.output
        guess = httpx.get(f"{portal.origin}/enter?key={secrets.token_urlsafe(32)}")
        assert guess.status_code == 403
        assert "set-cookie" not in guess.headers
        rebound = httpx.get(portal.address, headers={"host": "evil.example"})
        assert rebound.status_code == 403
        with Browser(portal) as browser:
            path = urlsplit(browser.base).path
            for cookie in ("", f"ompd-record={secrets.token_urlsafe(32)}"):
                stranger = httpx.get(browser.base + "/", headers={"cookie": cookie})
                assert stranger.status_code == 403
                assert path not in stranger.text
            # The address was used, and the next one ends this browser's time.
            assert httpx.get(portal.address).status_code == 403
            portal.renew()
            with Browser(portal):
                assert browser.get("/").status_code == 403
        assert portal.stop() == 0
    with opened(folder) as record:
        assert len(record) == 0


def test_other_devices_cannot_connect(tmp_path):
    with PortalProcess(tmp_path / "record") as portal:
        port = urlsplit(portal.origin).port
        with open(f"/proc/{portal.process.pid}/net/tcp") as file:
            lines = [line.split() for line in file.readlines()[1:]]
        # State 0A: listening.
        places = [line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]
        assert places == [f"0100007F:{port:04X}"]


def test_wrong_use_is_said_before_anything_is_done(tmp_path):
    config = tmp_path / "none.toml"
    for options, word in (
        ([], "either DIR"),
        ([tmp_path / "r", "--physician", config], "either DIR"),
        (["--physician", config, "--cloud", config], "goes with neither"),
        ([tmp_path / "r", "--hospital", config], "none.toml"),
        ([tmp_path / "r", "--cloud", config], "none.toml"),
    ):
        result = CliRunner().invoke(app, ["portal", *map(str, options)])
        assert result.exit_code == 2
        assert word in result.output
        assert not (tmp_path / "r").exists()


def test_no_answer_is_lost_to_a_kill(tmp_path):
    folder = tmp_path / "record"
    options = {"chest_pain": "asymptomatic", "sex": "male", "exercise_angina": "yes"}
    numbers = {"age": "58", "resting_pressure": "140"}
    answers = options | numbers
    given = {}

    def look(found):
        assert {name: each if name in options else f"{each:g}" for name, each in found.items()} == (
            given
        )

    for kill in range(KILLS):
        with PortalProcess(folder) as portal, Browser(portal) as browser:
            if not given:
                browser.post("/questions/heart/begin", level="home")
            else:
                assert f"{len(given)} answer" in browser.get("/questions").text or len(given) == 1
            question = list(answers)[kill % len(answers)]
            # Numbers go up, so that an older answer is not taken for this one.
            value = str(int(answers[question]) + kill) if question in numbers else options[question]
            answer = browser.post("/questions/heart", question=question, answer=value)
            assert answer.status_code == 303
            portal.kill()
        given[question] = value
    with opened(folder) as record:
        assert record.kinds() == {"QuestionnaireResponse": 1}
        look(Interview.resume(record, load("heart")).answers)


def test_a_disk_that_refuses_is_said_and_loses_nothing(tmp_path):
    folder = tmp_path / "record"
    fields = {"title": "A", "when": f"{WHEN:%Y-%m-%dT%H:%M}"}
    with PortalProcess(folder) as portal, Browser(portal) as browser:
        assert browser.post("/write/note", text="kept before", **fields).status_code == 303
        size = max(path.stat().st_size for path in folder.iterdir())
        portal.limit_files(size)
        full = next(
            answer
            for number in range(200)
            if (
                answer := browser.post("/write/note", text=f"{number} " * 2000, **fields)
            ).status_code
            != 303
        )
        assert full.status_code == 400
        assert "What was kept before is as it was." in full.text
        # What was typed is not lost either.
        assert re.search(r"(\d+) \1 \1", full.text)
        assert browser.post("/search", words="before").text.count("1 entry") < 2
        assert browser.get("/record").status_code == 200
        portal.limit_files(1 << 30)
        assert browser.post("/write/note", text="kept after", **fields).status_code == 303
        assert portal.stop() == 0
    with opened(folder) as record:
        for word in ("before", "after"):
            assert len(record.search(word)) == 1


def test_nothing_is_on_the_disk_in_clear(tmp_path):
    folder = tmp_path / "record"
    words = [f"planted{secrets.token_hex(8)}" for _ in range(PLANTED)]
    waiting = iter(words)
    when = {"when": f"{WHEN:%Y-%m-%dT%H:%M}"}

    def take(count):
        return " ".join(next(waiting) for _ in range(count))

    with PortalProcess(folder) as portal, Browser(portal) as browser:
        for _ in range(10):
            answer = browser.post("/write/note", title=take(2), text=take(8), **when)
            assert answer.status_code == 303
        for _ in range(10):
            assert browser.post("/write/condition", name=take(3), **when).status_code == 303
        for _ in range(10):
            reminder = {"title": take(2), "first": "2027-03-01T07:30", "every": "daily"}
            assert browser.post("/diary/add/reminder", **reminder).status_code == 303
        # A long file, which a careless server would put on the disk.
        entries = [
            {"resource": {"resourceType": "Condition", "id": f"c{number}",
                          "subject": {"reference": "Patient/p"},
                          "clinicalStatus": {"coding": [{"code": "active", "system":
                              "http://terminology.hl7.org/CodeSystem/condition-clinical"}]},
                          "code": {"text": take(5)}}}
            for number in range(10)
        ]  # fmt: skip
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        file = {
            "file": ("a.json", json.dumps(bundle).encode() + b" " * (2 << 20), "application/json")
        }
        place = f"{browser.base}/exchange"
        done = browser.http.post(place, data={"csrf": browser.csrf}, files=file)
        assert done.status_code == 303
        assert browser.post("/search", words=words[0]).text.count(words[0]) >= 2
        # All were planted.
        assert next(waiting, None) is None
        for place in ("/", "/record", "/diary", "/exchange/reading.pdf", "/exchange/summary.json"):
            assert browser.get(place).status_code == 200
        shown = browser.get("/record").text + browser.get("/record?page=2").text
        assert sum(word in shown for word in words) > 40
        found = read(tmp_path)
        portal.kill()
    found += read(tmp_path)
    assert len(found) > 50_000
    assert [word for word in words if word.encode() in found] == []
    # The control: a note beside it would be found.
    (tmp_path / "beside").write_text(words[-1])
    assert words[-1].encode() in read(tmp_path)


def read(folder):
    """Content of all files, with their names."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            parts += [path.name.encode(), path.read_bytes()]
    return b"".join(parts)
