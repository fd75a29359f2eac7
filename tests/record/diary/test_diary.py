from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import ResourceError, StoreFullError, UnitError
from ompd.record import Record
from ompd.record.diary import CLASSES, Diary, body_mass
from ompd.record.errors import ChildError, DiaryError
from ompd.record.fhir import checked, medication, patient
from ompd.record.questionnaire import Interview, load

pytest.importorskip("fhir.resources")
pytest.importorskip("dateutil")

BERLIN = ZoneInfo("Europe/Berlin")
#: A Saturday; in the night clocks change.
NOW = datetime(2025, 3, 29, 12, 0, tzinfo=BERLIN)


# --- medicines --------------------------------------------------------------------------


def test_a_medicine_and_its_reminders(record, folder, ann):
    diary = Diary(record)
    taken = diary.take(
        "metoprolol", 47.5, "mg", [time(8), time(20)], since=NOW, code="C07AB02", alarm=5,
        text="after meals",
    )  # fmt: skip
    assert (taken.dose, taken.unit, taken.times) == (47.5, "mg", (time(8), time(20)))
    assert taken.active
    assert taken.text == "after meals"
    # Eight o'clock is over today, twenty is not.
    due = diary.agenda(NOW, NOW + timedelta(days=2))
    clocks = [f"{each.when:%d %H:%M}" for each in due]
    assert clocks == ["29 20:00", "30 08:00", "30 20:00", "31 08:00"]
    assert [each.when.utcoffset().seconds // 3600 for each in due] == [1, 2, 2, 2]
    assert {each.reminder.medicine for each in due} == {taken.id}
    record.close()
    with Record.open(folder, ann) as again:
        assert Diary(again).medicines() == [taken]
        assert len(Diary(again).reminders()) == 2


def test_what_was_taken_until_a_day_that_has_passed_is_not_taken(record):
    """Other systems leave `active` what has an end; the day itself counts."""
    today = datetime.now(UTC).date()
    for name, days in (("over", -2), ("today", 0), ("later", 9)):
        document = medication(name).document()
        document["effectivePeriod"] = {
            "start": "2020-01-01", "end": (today + timedelta(days=days)).isoformat(),
        }  # fmt: skip
        document.pop("effectiveDateTime", None)
        record.add(checked(document))
    assert [each.name for each in Diary(record).medicines()] == ["later", "today"]


def test_an_end_of_another_type_is_refused(record):
    with pytest.raises(DiaryError, match="until"):
        Diary(record).remind("walk", NOW, "daily", until="2025-04-01")
    assert not len(record)


def test_stopping_ends_it_and_its_reminders_alone(record):
    diary = Diary(record)
    taken = diary.take("a", 1, "{tablet}", [time(8)], since=NOW)
    other = diary.take("b", times=[time(9)], zone="Europe/Berlin", since=NOW)
    plain = diary.take("c")
    mine = diary.remind("walk", NOW, "daily")
    stopped = diary.stop(taken.id, when=NOW + timedelta(days=3))
    assert not stopped.active
    assert stopped.until == NOW + timedelta(days=3)
    assert [each.name for each in diary.medicines()] == ["b", "c"]
    assert [each.name for each in diary.medicines(all=True)] == ["a", "b", "c"]
    assert {each.medicine for each in diary.reminders()} == {other.id, ""}
    assert mine in diary.reminders()
    with pytest.raises(DiaryError, match="is taken"):
        diary.stop(taken.id)
    with pytest.raises(DiaryError, match="beginning"):
        diary.stop(plain.id, when=NOW - timedelta(days=3000))
    with pytest.raises(LookupError):
        diary.stop("none")


def test_imported_ones_are_listed(record):
    record.add(medication("aspirin", dose=100, unit="mg", since=date(2020, 5, 1), text="daily"))
    record.add(medication("old one", status="stopped"))
    record.add(
        checked(
            {
                "resourceType": "MedicationStatement",
                "id": "bare",
                "status": "unknown",
                "medicationCodeableConcept": {
                    "coding": [{"system": "http://www.whocc.no/atc", "code": "C10AA05"}]
                },
                "subject": {"reference": "Patient/self"},
                "effectiveDateTime": "2020",
            }
        )
    )
    diary = Diary(record)
    assert [each.name for each in diary.medicines()] == ["aspirin", "C10AA05"]
    stopped = diary.stop("bare", when=NOW)
    assert stopped.since is not None
    assert stopped.until == NOW


def test_medicines_that_are_none(record):
    diary = Diary(record)
    for attempt in (
        lambda: diary.take(" "),
        lambda: diary.take("a", times=[time(8)]),
        lambda: diary.take("a", times=[time(8), time(8)], since=NOW),
        lambda: diary.take("a", times=[time(8, tzinfo=UTC)], since=NOW),
        lambda: diary.take("a", times=["8:00"], since=NOW),
    ):
        with pytest.raises(DiaryError):
            attempt()
    for attempt in (lambda: diary.take("a", 1, "spoon"), lambda: diary.take("a", code="not atc")):
        with pytest.raises(ResourceError):
            attempt()
    assert not len(record)


# --- body -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mass", "group"),
    [
        (50.0, "underweight"), (56.4, "underweight"), (56.7, "normal"), (76.3, "normal"),
        (76.6, "overweight"), (91.6, "overweight"), (91.9, "obesity_1"), (106.9, "obesity_1"),
        (107.2, "obesity_2"), (122.2, "obesity_2"), (122.5, "obesity_3"), (300.0, "obesity_3"),
    ],
)  # fmt: skip
def test_classes_of_adults(mass, group):
    found = body_mass(mass, 175, 40)
    assert found.group == group
    assert found.index == round(mass / 1.75**2, 1)


@given(st.floats(25, 400), st.floats(1.0, 2.5), st.integers(18, 120))
def test_units_do_not_matter(mass, height, age):
    metric = body_mass(mass, height * 100, age)
    pounds = body_mass(mass / 0.45359237, height / 0.0254, age, "[lb_av]", "[in_i]")
    grams = body_mass(mass * 1000, height, age, "g", "m")
    for each in (pounds, grams):
        # One is rounded up and one down at worst.
        assert each.index == pytest.approx(metric.index, abs=0.1001)
    names = [name for name, _ in CLASSES]
    place = names.index(metric.group)
    assert CLASSES[place][1] <= metric.index
    assert place == len(names) - 1 or metric.index < CLASSES[place + 1][1]


def test_children_are_refused():
    for age in (0, 5, 17):
        with pytest.raises(ChildError, match="growth charts") as caught:
            body_mass(43, 157, age)
        assert "43" not in str(caught.value)
    assert body_mass(60, 170, 18).group == "normal"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((5, 175, 40), DiaryError),
        ((70, 1.75, 40), DiaryError),
        ((70, 17.5, 40), DiaryError),
        ((float("nan"), 175, 40), (DiaryError, UnitError)),
        (("70", 175, 40), DiaryError),
        ((70, 175, 40.5), DiaryError),
        ((70, 175, 200), DiaryError),
        ((70, 175, 40, "cm", "kg"), UnitError),
        ((70, 175, 40, "stones", "cm"), UnitError),
    ],
)
def test_measures_that_are_none(arguments, error):
    with pytest.raises(error):
        body_mass(*arguments)


def test_weighing_is_noted(record):
    diary = Diary(record)
    with pytest.raises(DiaryError, match="does not know"):
        diary.weigh(80, 180)
    record.add(patient("Ann", born=date(2000, 3, 30)))
    # One day before the birthday, and on it.
    before = datetime(2018, 3, 29, 12, tzinfo=UTC)
    with pytest.raises(ChildError):
        diary.weigh(80, 180, when=before)
    assert not record.count("Observation")
    found = diary.weigh(80, 180, when=before + timedelta(days=1))
    assert found.index == 24.7
    noted = {"29463-7": (80, "kg"), "8302-2": (180, "cm"), "39156-5": (24.7, "kg/m2")}
    for code, expected in noted.items():
        (entry,) = record.list("Observation", code)
        quantity = record.get(entry.reference).document()["valueQuantity"]
        assert (float(quantity["value"]), quantity["code"]) == expected


def test_an_age_that_was_answered_is_known(record):
    interview = Interview.open(record, load("heart"))
    interview.answer("age", 50)
    interview.finish()
    assert Diary(record).weigh(80, 1.8, height_unit="m").group == "normal"


def test_a_full_disk_changes_nothing(record):
    diary = Diary(record)
    kept = diary.take("metoprolol", 47.5, "mg", [time(8)], since=NOW)
    connection = record._shelf._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill():
        for number in range(50):
            diary.take(f"medicine {number}", times=[time(8), time(20)], since=NOW, text="x" * 500)

    with pytest.raises(StoreFullError, match="full"):
        fill()
    connection.execute("PRAGMA max_page_count = 1000000")
    names = [each.name for each in diary.medicines()]
    # Each one with both of its reminders, or not at all.
    assert len(diary.reminders()) == 1 + 2 * (len(names) - 1)
    assert kept in diary.medicines()
