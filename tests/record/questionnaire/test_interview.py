from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from ompd import datasets
from ompd.errors import StoreFullError, UnknownResourceError
from ompd.record import Record
from ompd.record.errors import AnswerError, QuestionnaireError
from ompd.record.fhir import checked, observation, patient
from ompd.record.questionnaire import Interview, Posterior, load
from ompd.record.questionnaire.writing import LEVEL
from tests.places import ROOT
from tests.record.questionnaire.invented import choice, questionnaire

pytest.importorskip("fhir.resources")

HEART = load("heart")
NOW = datetime(2025, 3, 4, 12, 30, tzinfo=UTC)
#: The first patient of the table, as somebody answers.
FIRST = {
    "age": 63.0, "sex": "male", "chest_pain": "typical", "resting_pressure": 145.0,
    "cholesterol": 233.0, "fasting_sugar": "yes", "resting_ecg": "hypertrophy",
    "highest_rate": 150.0, "exercise_angina": "no", "st_depression": 2.3, "slope": "down",
    "vessels": "0", "perfusion": "fixed",
}  # fmt: skip


def ask_all(interview, answers):
    """Answer what is asked until nothing is; return the questions in order."""
    asked = []
    while question := interview.next():
        asked.append(question.id)
        interview.answer(question.id, answers.get(question.id))
    return asked


def response(record, interview):
    return record.get(f"QuestionnaireResponse/{interview.id}").document()


def test_every_answer_is_in_the_record_at_once(record, folder, ann):
    interview = Interview.open(record, HEART, "hospital", when=NOW)
    given = {}
    while question := interview.next():
        interview.answer(question.id, FIRST[question.id])
        given[question.id] = FIRST[question.id]
        # A second interview over the same record is what a process would find that starts now.
        other = Interview.open(record, HEART)
        assert other.id == interview.id
        assert other.answers == given
        assert other.next() == interview.next()
        assert other.probability == interview.probability
    assert interview.sure or len(given) == 13
    record.close()
    with Record.open(folder, ann) as again:
        assert Interview.open(again, HEART).answers == given


def test_it_asks_as_the_model_does_and_stops_when_sure(record):
    interview = Interview.begin(record, HEART, "hospital")
    surer = FIRST | {"vessels": "3", "perfusion": "reversible", "chest_pain": "asymptomatic"}
    asked = ask_all(interview, surer)
    assert interview.sure
    assert len(asked) < 13
    model = Posterior(HEART, "hospital")
    known = {}
    for name in asked:
        assert model.next_question(model.log_odds(known), known).id == name
        assert 1 - HEART.stop < model.calibrated(model.log_odds(known)) < HEART.stop
        known[name] = surer[name]
    assert interview.log_odds == model.log_odds(known)
    assert {question.id for question in interview.left} == set(surer) - set(asked)
    # Whoever wants to may go on.
    assert interview.next(all=True).id not in asked


def test_who_knows_nothing_is_asked_everything(record):
    interview = Interview.begin(record, HEART, "home")
    assert len(ask_all(interview, {})) == 5
    assert not interview.sure
    assert interview.answers == dict.fromkeys(interview.answers)
    assert interview.log_odds == pytest.approx(Posterior(HEART, "home").prior)
    items = response(record, interview)["item"]
    assert all(item["extension"][0]["valueCode"] == "asked-unknown" for item in items)
    assert not any("answer" in item for item in items)
    with pytest.raises(AnswerError, match="at least one answer"):
        interview.finish()


def test_answers_are_changed_and_taken_back(record):
    interview = Interview.begin(record, HEART)
    interview.answer("age", 50)
    interview.answer("sex", "female")
    before = interview.probability
    interview.answer("age", 70)
    assert list(interview.answers) == ["age", "sex"]
    assert interview.probability > before
    interview.forget("age")
    assert interview.answers == {"sex": "female"}
    interview.answer("age", 50)
    assert interview.probability == before
    with pytest.raises(AnswerError, match="has an answer"):
        interview.forget("chest_pain")


def test_what_is_refused_changes_nothing(record):
    interview = Interview.begin(record, HEART, "home")
    interview.answer("age", 50)
    changes = record.changes
    for name, value in [
        ("age", 17.0), ("age", "fifty"), ("sex", "m"), ("cholesterol", 200.0), ("moon", 1.0),
    ]:  # fmt: skip
        with pytest.raises(AnswerError) as caught:
            interview.answer(name, value)
        assert "fifty" not in str(caught.value)
    with pytest.raises(QuestionnaireError, match="level"):
        Interview.begin(record, HEART, "moon")
    with pytest.raises(QuestionnaireError, match="zone"):
        Interview.begin(record, HEART, when=datetime(2025, 3, 4))
    assert record.changes == changes


def test_contributions_are_log_likelihoods(record):
    interview = Interview.begin(record, HEART, "hospital")
    for name, value in FIRST.items():
        interview.answer(name, value)
    interview.answer("age", None)
    found = interview.contributions
    model = Posterior(HEART, "hospital")
    assert model.prior + sum(each.gain for each in found) == pytest.approx(interview.log_odds)
    sizes = [abs(each.gain) for each in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {each.question.id: each.gain for each in found}["age"] == 0


def test_what_follows_is_written_with_codes(record):
    interview = Interview.begin(record, HEART, "hospital", language="de", when=NOW)
    for name, value in FIRST.items():
        interview.answer(name, value)
    interview.answer("age", None)
    probability = interview.probability
    made = interview.finish(when=NOW)
    risk = made[0].document()
    assert risk["resourceType"] == "RiskAssessment"
    assert risk["prediction"][0]["outcome"]["coding"][0]["code"] == "I25.1"
    assert float(risk["prediction"][0]["probabilityDecimal"]) == round(100 * probability, 2)
    assert "keine Diagnose" in risk["note"][0]["text"]
    assert risk["basis"] == [{"reference": f"QuestionnaireResponse/{interview.id}"}]
    weightiest = interview.contributions[0].question
    assert risk["prediction"][0]["rationale"].startswith(weightiest.text["de"])
    assert response(record, interview)["status"] == "completed"
    # Twelve known answers, and one of them says what hurts.
    assert record.count("Observation") == 12
    assert record.count("Condition", "I20.9") == 1
    condition = record.get(record.list("Condition")[0].reference).document()
    assert condition["verificationStatus"]["coding"][0]["code"] == "unconfirmed"
    (entry,) = record.list("Observation", ("http://loinc.org", "2093-3"))
    cholesterol = record.get(entry.reference).document()
    assert cholesterol["valueQuantity"]["code"] == "mg/dL"
    assert cholesterol["valueQuantity"]["value"] == 233
    assert entry.when == NOW
    (entry,) = record.list("Observation", (HEART.system, "chest_pain"))
    value = record.get(entry.reference).document()["valueCodeableConcept"]
    assert value["coding"][0]["code"] == "typical"
    assert "Brustbein" in value["text"]
    assert not record.list("Observation", "30525-0")


def test_a_finished_interview_stays(record):
    interview = Interview.begin(record, HEART)
    interview.answer("age", 50)
    made = interview.finish()
    assert interview.finished
    assert interview.next() is None
    for attempt in (
        lambda: interview.answer("sex", "male"),
        lambda: interview.forget("age"),
        interview.finish,
    ):
        with pytest.raises(AnswerError, match="finished"):
            attempt()
    assert Interview.resume(record, HEART) is None
    again = Interview.resume(record, HEART, interview.id)
    assert again.finished
    assert again.answers == {"age": 50.0}
    assert len(record) == len(made)
    other = Interview.open(record, HEART, "practice")
    assert other.id != interview.id
    assert other.level == "practice"
    with pytest.raises(UnknownResourceError):
        Interview.resume(record, HEART, "none")


def test_restart(record):
    interview = Interview.begin(record, HEART)
    interview.answer("age", 50)
    old = interview.id
    interview.restart("practice")
    assert interview.answers == {}
    assert interview.level == "practice"
    assert f"QuestionnaireResponse/{old}" not in record
    interview.answer("age", 50)
    interview.finish()
    done = interview.id
    interview.restart()
    assert not interview.finished
    assert f"QuestionnaireResponse/{done}" in record
    with pytest.raises(QuestionnaireError):
        interview.restart("moon")


def test_a_response_to_another_questionnaire_is_refused(record):
    interview = Interview.begin(record, HEART)
    own = questionnaire([choice("q", (10, 20), (20, 10))])
    assert Interview.resume(record, own) is None
    with pytest.raises(QuestionnaireError, match="this version"):
        Interview.resume(record, own, interview.id)
    mine = Interview.open(record, own)
    mine.answer("q", "o1")
    assert mine.sure or mine.next() is None
    mine.finish()
    # Whoever changes the questions without changing the version is told so.
    other = questionnaire([choice("r", (10, 20), (20, 10))])
    with pytest.raises(QuestionnaireError, match="only questions of its level"):
        Interview.resume(record, other, mine.id)


def test_imported_responses_of_another_form_are_passed_over(record):
    interview = Interview.begin(record, HEART)
    interview.answer("age", 50)
    good = response(record, interview)
    for place, item in enumerate(
        [
            {"linkId": "age", "answer": [{"valueString": "fifty"}]},
            {"linkId": "age", "answer": [{"valueQuantity": {"value": 500}}]},
            {"linkId": "sex", "answer": [{"valueCoding": {"display": "male"}}]},
            {"linkId": "moon", "answer": [{"valueBoolean": True}]},
        ]
    ):
        document = good | {"id": f"bad{place}", "item": [item], "authored": "2026-01-01"}
        record.add(checked(document))
        with pytest.raises(QuestionnaireError, match="response") as caught:
            Interview.resume(record, HEART, f"bad{place}")
        assert "fifty" not in str(caught.value)
    record.add(checked(good | {"id": "bad", "extension": [{"url": LEVEL, "valueString": "home"}]}))
    with pytest.raises(QuestionnaireError):
        Interview.resume(record, HEART, "bad")
    assert Interview.open(record, HEART).id == interview.id


def test_a_vector_of_the_table_is_made_of_answers(record):
    interview = Interview.begin(record, HEART, "hospital")
    for name, value in FIRST.items():
        interview.answer(name, value)
    interview.finish()
    found = record.vector(datasets.load("cleveland").schema)
    assert found.values == FIRST
    assert not found.gaps


def test_what_the_record_has_is_offered(record):
    interview = Interview.begin(record, HEART, "practice")
    assert interview.known() == {}
    day = NOW - timedelta(days=30)
    record.add_all(
        [
            patient("Ann", born=date(1960, 1, 2), gender="female"),
            observation("2093-3", 180, "mg/dL", day - timedelta(days=1)),
            observation("2093-3", 2.4, "g/L", day),
            observation("8480-6", 500, "mm[Hg]", day),
        ]
    )
    found = interview.known(NOW)
    assert {name: each.answer for name, each in found.items()} == {
        "age": 65.0,
        "sex": "female",
        "cholesterol": pytest.approx(240),
    }
    assert found["cholesterol"].when == day
    assert interview.answers == {}
    for name, each in found.items():
        interview.answer(name, each.answer)
    assert interview.known(NOW) == {}
    # What was answered once is known the next time.
    interview.answer("chest_pain", "typical")
    interview.finish(when=NOW)
    again = Interview.open(record, HEART, "home")
    assert again.known()["chest_pain"] == ("typical", NOW)


def test_a_full_disk_loses_no_answer(record):
    interview = Interview.begin(record, HEART)
    interview.answer("age", 50)
    connection = record._shelf._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFullError, match="full"):
        ask_all(interview, FIRST) and interview.finish()
    kept = interview.answers
    assert kept["age"] == 50
    assert not interview.finished
    assert Interview.open(record, HEART).answers == kept
    connection.execute("PRAGMA max_page_count = 1000000")
    interview.answer("sex", "male")
    interview.finish()
    assert interview.finished


def test_two_pages_at_once_lose_no_answer(record):
    interview = Interview.begin(record, HEART, "hospital")
    wrong = []

    def answer(names):
        try:
            for name in names:
                Interview.resume(record, HEART, interview.id).answer(name, FIRST[name])
        except Exception as error:
            wrong.append(error)

    names = list(FIRST)
    threads = [threading.Thread(target=answer, args=(names[k::3],)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert interview.answers == FIRST


def test_it_shows_nothing(record):
    interview = Interview.begin(record, HEART)
    interview.answer("age", 87)
    assert "87" not in repr(interview)
    with pytest.raises(TypeError):
        json.dumps(interview)


PERSON = """
import sys
from ompd.record import Record
from ompd.record.questionnaire import Interview, load
from tests.record.questionnaire.test_interview import FIRST
record = Record.open(sys.argv[1], "password")
print("ready", flush=True)
while True:
    interview = Interview.open(record, load("heart"), "hospital")
    while (question := interview.next(all=True)) is not None:
        interview.answer(question.id, FIRST[question.id])
        print("answered", interview.id, question.id, flush=True)
    interview.finish()
    print("finished", interview.id, "", flush=True)
"""


@pytest.mark.long
def test_a_kill_between_any_two_questions_loses_nothing(folder, ann, rng):
    with Record.create(folder, "password") as record:
        record.protect(ann)
    told: dict[str, set[str]] = {}
    finished: set[str] = set()
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", PERSON, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            lines = [process.stdout.readline() for _ in range(int(rng.integers(1, 25)))]
            process.kill()
            lines += process.stdout.read().split("\n")
        for line in lines:
            what, _, rest = line.strip().partition(" ")
            if what == "answered":
                name, question = rest.split()
                told.setdefault(name, set()).add(question)
            elif what == "finished":
                finished.add(rest.strip())
        with Record.open(folder, ann) as record:
            for name, questions in told.items():
                interview = Interview.resume(record, HEART, name)
                answers = interview.answers
                assert questions <= set(answers)
                assert all(answers[each] == FIRST[each] for each in answers)
                # Of the end all or nothing.
                done = record.count("RiskAssessment", "I25.1")
                assert interview.finished or name not in finished
            completed = sum(
                Interview.resume(record, HEART, entry.id).finished
                for entry in record.list("QuestionnaireResponse")
            )
            assert done == completed
            assert record.count("Observation") == completed * len(FIRST)
            assert record.count("QuestionnaireResponse") <= completed + 1
    assert finished
