"""What a person does on the pages, and what the record then has."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pytest

from ompd.portal.forms import MOST_UPLOAD
from ompd.record.diary import Diary
from ompd.record.fhir import checked, condition, note, observation
from tests.portal.inside import WHEN, weights


def entry(inside, kind):
    """The only resource of a kind."""
    (found,) = inside.house.record.list(kind)
    return inside.house.record.get(found.reference).document()


def test_an_empty_record_says_how_to_begin(inside):
    text = inside.get("/")
    assert "three ways to begin" in text
    inside.house.record.add_all(weights(3))
    text = inside.get("/")
    assert "three ways" not in text
    assert "70 kg" in text
    assert "Show all 3 entries" in text


def test_what_is_written_is_kept(inside):
    when = {"when": "2026-03-09T07:30"}
    answer = inside.post("/write/measurement", code="29463-7", value="81,5", **when)
    text = inside.follow(answer)
    assert "81.5 kg" in text
    assert "It is in your record." in text
    # It is said once.
    assert "It is in your record." not in inside.get("/record")
    inside.post("/write/pressure", systolic="128", diastolic="82", **when)
    assert "128/82 mmHg" in inside.get("/record")
    text = "Pressure on the stairs.\n<b>Gone</b> after a while."
    answer = inside.post("/write/note", title="Stairs", text=text, **when)
    assert "&lt;b&gt;Gone&lt;/b&gt;" in inside.follow(answer)
    inside.post("/write/condition", name="Asthma", **when)
    inside.post("/write/allergy", name="Penicillin", **when)
    assert entry(inside, "AllergyIntolerance")["code"]["text"] == "Penicillin"
    assert inside.house.record.kinds()["Observation"] == 2


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("measurement", {"code": "29463-7", "value": "eighty"}),
        ("measurement", {"code": "29463-7", "value": ""}),
        ("measurement", {"code": "29463-7", "value": "1,000.5"}),
        ("measurement", {"code": "29463-7", "value": "80", "when": "yesterday"}),
        ("measurement", {"code": "29463-8", "value": "80"}),
        ("note", {"title": "a", "text": ""}),
        ("note", {"title": "a", "text": "x" * 20_001}),
        ("condition", {"name": ""}),
    ],
)
def test_what_is_wrong_is_said_and_stays_typed(inside, part, fields):
    answer = inside.post(f"/write/{part}", 400, **{"when": "2026-03-09T07:30"} | fields)
    assert 'role="alert"' in answer.text
    assert fields.get("value", "") in answer.text
    assert len(inside.house.record) == 0


@pytest.mark.parametrize(
    ("place", "fields", "field"),
    [
        ("write/measurement", {"code": "29463-7", "value": "-5"}, "value"),
        ("write/measurement", {"code": "29463-7", "value": "9999999"}, "value"),
        ("write/measurement", {"value": "8", "when": "2999-01-01T00:00"}, "when-measurement"),
        ("write/pressure", {"systolic": "80", "diastolic": "120"}, "diastolic"),
        ("write/note", {"text": " "}, "text"),
        ("write/condition", {"name": ""}, "condition"),
        ("write/allergy", {"name": "x" * 201}, "allergy"),
        ("diary/weigh", {"weight": "3", "height": "178", "age": "40"}, "weight"),
        ("diary/add/medicine", {"name": "a", "dose": "-1", "unit": "mg"}, "dose"),
        ("diary/add/reminder", {"title": ""}, "title"),
        (
            "diary/add/reminder",
            {
                "title": "a",
                "first": "2027-01-02T10:00",
                "every": "daily",
                "until": "2027-01-01",
            },
            "until",
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_field_alone(inside, place, fields, field):
    answer = inside.post(f"/{place}", 400, **{"when": "2026-03-09T07:30"} | fields)
    assert re.findall(r'class="wrong" id="w-([^"]+)"', answer.text) == [field]
    assert len(re.findall(r"aria-invalid", answer.text)) == 1
    assert len(inside.house.record) == 0


def test_a_resource_can_be_looked_at_and_removed(inside):
    inside.house.record.add_all([*weights(2), condition(None, "Asthma", WHEN)])
    text = inside.get("/record?kind=Condition")
    (path,) = re.findall(rf'href="{inside.door.path}(/record/[^"]+)"', text)
    assert "Asthma" in inside.get(path)
    # Addresses do not tell what is behind them.
    assert "Condition" not in path
    inside.post(f"{path}/remove")
    assert inside.house.record.kinds() == {"Observation": 2}
    inside.get(path, 409)
    inside.get("/record/guess", 409)


def test_long_lists_come_in_pages(inside):
    inside.house.record.add_all(weights(120))
    assert "Page 1 of 3" in inside.get("/record")
    assert inside.get("/record?page=3").count(" kg<") == 20
    for odd in ("0", "-1", "x", "99999999999", "²", ""):
        assert "of 3" in inside.get(f"/record?page={odd}")
    assert "Page 1 of 3" in inside.get("/record?kind=Nothing")


def test_search_finds_words_and_leaves_none_in_addresses(inside):
    inside.house.record.add_all(
        [note("A pressure on the chest", WHEN, title="Stairs"), *weights(2)]
    )
    assert "One entry found" in inside.post("/search", 200, words="CHEST pressure").text
    assert "2 entries found" in inside.post("/search", 200, words="29463-7").text
    assert "0 entries found" in inside.post("/search", 200, words="hand").text
    assert "hand" not in inside.get("/search?words=hand")


def test_questions_go_on_where_they_were_left(inside):
    inside.post("/questions/heart/begin", level="home")
    assert "chest pain" in inside.get("/questions/heart")
    inside.post("/questions/heart", question="chest_pain", answer="asymptomatic")
    inside.post("/questions/heart", question="age", answer="58")
    inside.post("/questions/heart", question="sex", answer="?")
    assert "3 answers are kept" in inside.get("/questions")
    assert "3 answers are kept" in inside.get("/")
    # Another answer to an earlier question.
    answer = inside.post("/questions/heart/back")
    assert "I don&#39;t know" in inside.follow(answer)
    assert 'value="58"' in inside.get("/questions/heart?again=age")
    inside.post("/questions/heart", question="age", answer="61")
    wrong = inside.post("/questions/heart", 400, question="age", answer="old")
    assert 'value="old"' in wrong.text
    assert "61 yr" in wrong.text
    inside.post("/questions/heart", 400, question="chest_pain", answer="no option")
    inside.post("/questions/heart", 409, question="no question", answer="1")
    answer = inside.post("/questions/heart/finish")
    text = inside.follow(answer)
    assert "This is not a diagnosis." in text
    assert re.search(r"\d+%", text)
    assert inside.get("/reports").count('class="card"') == 1
    inside.get("/questions/nothing", 409)
    assert inside.get("/questions/heart", 303) == ""


def test_what_the_record_knows_need_not_be_typed(inside):
    inside.house.record.add(observation("2093-3", 233, "mg/dL", WHEN))
    inside.post("/questions/heart/begin", level="practice")
    text = inside.get("/questions/heart")
    while (question := re.search(r'name="question" value="(\w+)"', text)[1]) != "cholesterol":
        inside.post("/questions/heart", question=question, answer="?", skip="1")
        text = inside.get("/questions/heart?more=1")
    assert 'value="233"' in text
    assert "From your record, 9 March 2026" in text


def test_a_diary_reminds_and_tells_nothing_to_calendars(inside):
    reminder = {"title": "Metformin", "first": "2027-03-01T07:30", "every": "daily", "alarm": "5"}
    inside.post("/diary/add/reminder", **reminder, until="2027-04-01")
    inside.post(
        "/diary/add/medicine", name="Ramipril", dose="2,5", unit="mg", times="08:00 20:00"
    )  # fmt: skip
    text = inside.get("/diary")
    assert "1 March 2027, 07:30" in text
    assert "2.5 mg · 08:00, 20:00" in text
    calendar = inside.get("/diary/reminders.ics")
    assert calendar.count("BEGIN:VEVENT") == 3
    for word in ("metformin", "ramipril"):
        assert word not in calendar.casefold()
    diary = Diary(inside.house.own)
    inside.post("/diary/stop", id=diary.medicines()[0].id)
    inside.post("/diary/remove", id=diary.reminders()[0].id)
    assert not diary.reminders()
    assert not diary.medicines()
    inside.post("/diary/remove", 409, id="nothing")


@pytest.mark.parametrize(
    ("path", "fields", "word"),
    [
        ("add/reminder", {"title": "a", "first": "soon", "every": "daily"}, "not a day"),
        ("add/reminder", {"title": "", "first": "2027-03-01T07:30", "every": "daily"}, "fill this"),
        ("add/reminder", {"title": "a", "first": "9999-12-31T23:59", "every": "daily"}, "possible"),
        ("add/reminder", {"title": "a", "first": "2027-03-01T07:30", "every": "hour"}, "possible"),
        ("add/medicine", {"name": "a", "dose": "much", "unit": "mg"}, "not a number"),
        ("add/medicine", {"name": "a", "times": "noon"}, "possible"),
        ("weigh", {"weight": "80", "height": "180", "age": "12"}, "growth charts"),
        ("weigh", {"weight": "80", "height": "18", "age": "30"}, "possible"),
        ("weigh", {"weight": "80", "height": "180", "age": ""}, "possible"),
    ],
)
def test_a_diary_says_what_is_wrong(inside, path, fields, word):
    assert word in inside.post(f"/diary/{path}", 400, **fields).text
    assert len(inside.house.record) == 0


def test_body_mass_is_worked_out_and_kept(inside):
    answer = inside.post("/diary/weigh", weight="81,5", height="178", age="40")
    assert "25.7 kg/m²: overweight" in inside.follow(answer)
    assert inside.house.record.kinds() == {"Observation": 3}


def test_charts_have_a_picture_and_the_same_as_a_table(inside):
    assert "There are none yet" in inside.get("/charts")
    inside.house.record.add_all(weights(40))
    text = inside.get("/charts")
    (path,) = re.findall(rf'src="{inside.door.path}(/charts/[^"]+\.svg)"', text)
    assert "40 values from" in text
    assert text.count(" kg</td>") == 40
    picture = inside.get(path)
    assert picture.startswith("<?xml")
    assert "<script" not in picture


def bundle(*resources):
    return json.dumps(
        {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": json.loads(each.json)} for each in resources],
        }
    ).encode()


def sent(content, name="a.json"):
    return {"file": (name, content, "application/octet-stream")}


def test_files_come_in_and_go_out(inside, tmp_path):
    content = bundle(*weights(3), condition(None, "Asthma", WHEN))
    text = inside.follow(inside.post("/exchange", files=sent(content)))
    assert "4 new, 0 known" in text
    assert "0 new, 4 known" in inside.follow(inside.post("/exchange", files=sent(content)))
    summary = inside.get("/exchange/summary.json")
    assert "Asthma" in summary
    assert checked(summary.encode()).kind == "Bundle"
    assert "Body weight" in inside.get("/exchange/values.csv")
    # What was taken along is what there was.
    everything = inside.get("/exchange/all.json").encode()
    assert "0 new, 4 known" in inside.follow(inside.post("/exchange", files=sent(everything)))
    answer = inside.browser.get(f"{inside.door.path}/exchange/reading.pdf")
    assert answer.content.startswith(b"%PDF")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record"]


def test_what_is_wrong_in_a_file_may_be_left_out(inside):
    content = json.loads(bundle(*weights(2)))
    content["entry"][1]["resource"]["status"] = "finall"
    file = sent(json.dumps(content).encode())
    inside.post("/exchange", 400, files=file)
    assert len(inside.house.record) == 0
    text = inside.post("/exchange", 200, files=file, partial="1").text
    assert "1 new, 0 known, 1 skipped" in text
    assert "Left out, by reason" in text
    assert len(inside.house.record) == 1


def bomb():
    """An archive that is small, and grows to 256 MiB."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("apple_health_export/export.xml", "w", force_zip64=True) as file,
    ):
        file.write(b"<HealthData>")
        for _ in range(256):
            file.write(b" " * (1 << 20))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.json"),
        (b"{", "a.json"),
        (b"[" * 100_000, "a.json"),
        (b"PK\x03\x04", "a.zip"),
        (b"\x00" * 4096, "a.csv"),
        (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "a.xml"),
    ],
)
def test_files_that_are_none_are_refused(inside, content, name):
    answer = inside.post("/exchange", 400, files=sent(content, name))
    assert 'role="alert"' in answer.text
    assert "root:" not in answer.text
    assert len(inside.house.record) == 0


def test_bombs_are_bounded(inside):
    assert inside.post("/exchange", 400, files=sent(bomb(), "export.zip"))
    answer = inside.browser.post(
        f"{inside.door.path}/exchange",
        content=b"",
        headers={
            "origin": "http://127.0.0.1:4321",
            "content-type": "multipart/form-data; boundary=B",
            "content-length": str(MOST_UPLOAD + 1),
        },
    )
    assert answer.status_code == 413
    assert "ompd record import" in answer.text
    assert len(inside.house.record) == 0


def test_without_a_file_nothing_is_read(inside):
    assert "Choose a file" in inside.post("/exchange", 400, files=sent(b"", "")).text
    assert "Choose a file" in inside.post("/exchange", 400).text


def test_without_a_hospital_or_cloud_the_pages_say_so(inside):
    assert "ompd portal --hospital" in inside.get("/ask")
    assert "ompd portal --cloud" in inside.get("/share")
    inside.get("/ask/guess", 409)
    inside.post("/share", 400, code="a:b")
    inside.post("/share/backup", 409)


def test_the_pages_speak_german(inside):
    inside.house.record.add_all(weights(3))
    inside.post("/language", language="de", back="/")
    assert "Körpergewicht" in inside.get("/")
    assert "9. März 2026" in inside.get("/record")
    inside.house.record.add(observation("39156-5", 25.2, "kg/m2", WHEN))
    assert "25,2 kg/m²" in inside.get("/record")
    wrong = {"code": "29463-7", "value": "x", "when": "2026-03-09T07:30"}
    assert "keine Zahl" in inside.post("/write/measurement", 400, **wrong).text


def test_a_full_disk_is_said_and_loses_nothing(inside):
    record = inside.house.own
    record.add_all(weights(2))
    # As SQLite says it on a full disk.
    connection = record._shelf._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    fields = {"title": "Stairs", "text": "pressure " * 2000, "when": "2026-03-09T07:30"}
    text = inside.post("/write/note", 400, **fields).text
    assert "The disk is full. Nothing that was kept is lost" in text
    # What was typed is not lost either.
    assert fields["text"].strip() in text
    assert record.kinds() == {"Observation": 2}
    inside.post("/language", language="de", back="/")
    assert "Speicherplatz ist voll" in inside.post("/write/note", 400, **fields).text
    connection.execute("PRAGMA max_page_count = 100000")
    inside.post("/write/note", **fields)
    assert record.kinds() == {"DocumentReference": 1, "Observation": 2}


def test_notices_that_were_revoked_are_there_no_more(inside):
    # As by a second tab.
    inside.get(f"/share/notices/{inside.house.handle('notices/dr-bell')}", 409)
