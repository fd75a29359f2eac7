from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.record.errors import QuestionnaireError
from ompd.record.questionnaire import Questionnaire, available, load
from ompd.record.questionnaire.form import LANGUAGES
from tests.record.questionnaire.invented import choice, number, questionnaire, questionnaires


def plain():
    """A good questionnaire as JSON has it, without a checksum."""
    found = questionnaire(
        [choice("a", (10, 20), (20, 10)), number("b", [5.0], (1, 2), (2, 1), unit="mm[Hg]")]
    )
    return json.loads(msgspec.json.encode(found))


def test_the_good_one_is_good():
    found = Questionnaire.from_json(json.dumps(plain()).encode())
    assert found.trained
    assert found.canonical == "urn:ompd:questionnaire:invented|1"
    assert found.question("b").answers == 2
    with pytest.raises(QuestionnaireError, match="id of a question"):
        found.question("c")


@given(questionnaires())
def test_a_file_is_read_back_equal(found):
    data = found.to_json()
    again = Questionnaire.from_json(data)
    assert again.to_json() == data
    assert msgspec.structs.replace(again, sha256="") == found


@pytest.mark.parametrize("name", available())
def test_shipped_ones_say_everything_in_all_languages(name):
    found = load(name)
    assert found.id == name
    assert found.trained
    assert found.sha256
    assert all(level.figures for level in found.levels)
    assert found.origin.licence.startswith("CC BY 4.0")
    texts = [found.title, found.about]
    texts += [part.text for part in (*found.outcomes, *found.levels, *found.questions)]
    texts += [question.help for question in found.questions if question.help]
    texts += [option.text for question in found.questions for option in question.options]
    assert all(set(text) == set(LANGUAGES) for text in texts)
    # Sentences that were not translated would be the same in both.
    assert not [text for text in texts if text["en"] == text["de"]]
    assert {question.level for question in found.questions} == {level.id for level in found.levels}


def change(path, value):
    """Return a change of one place in the JSON; a value of ... takes it out."""

    def changed(document):
        place = document
        for key in path[:-1]:
            place = place[key]
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return document

    return changed


BAD = {
    "form": (("form",), "ompd questionnaire 0"),
    "unknown field": (("extra",), 1),
    "version": (("version",), 0),
    "id": (("id",), "Heart!"),
    "no outcome": (("outcomes",), []),
    "no level": (("levels",), []),
    "no question": (("questions",), []),
    "language": (("title",), {"en": "x"}),
    "blank": (("about", "de"), "  "),
    "odd language": (("about", "klingonisch"), "x"),
    "stop": (("stop",), 0.5),
    "certain": (("stop",), 1.5),
    "smoothing": (("smoothing",), 0),
    "hardly any smoothing": (("smoothing",), 5e-324),
    "all smoothing": (("smoothing",), 1e308),
    "slope": (("levels", 0, "slope"), -1.0),
    "rows": (("rows",), [1]),
    "no rows": (("rows",), [0, 10]),
    "counts without rows": (("rows",), ...),
    "rows without counts": (("questions", 0, "counts"), ...),
    "too many": (("questions", 0, "counts"), [[50, 11], [20, 10]]),
    "below 0": (("questions", 0, "counts"), [[-1, 1], [20, 10]]),
    "one too few": (("questions", 0, "counts"), [[1], [2]]),
    "one outcome": (("questions", 0, "counts"), [[1, 2]]),
    "kind": (("questions", 0, "kind"), "text"),
    "level of no name": (("questions", 0, "level"), "moon"),
    "twice": (("questions", 1, "id"), "a"),
    "one option": (("questions", 0, "options"), [{"id": "x", "text": {"en": "x", "de": "x"}}]),
    "options of a number": (
        ("questions", 1, "options"),
        [{"id": "x", "text": {"en": "x", "de": "x"}}, {"id": "y", "text": {"en": "x", "de": "x"}}],
    ),
    "unit of a choice": (("questions", 0, "unit"), "kg"),
    "domain": (("questions", 1, "low"), 100.0),
    "cut outside": (("questions", 1, "cuts"), [200.0]),
    "cuts fall": (("questions", 1, "cuts"), [7.0, 5.0]),
    "code": (("questions", 0, "code"), {"system": "loinc", "code": "8480-6"}),
    "blank code": (("questions", 0, "code"), {"system": "http://loinc.org", "code": ""}),
    "help": (("questions", 0, "help"), {"en": "only"}),
    "type": (("questions", 0, "counts"), "many"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused(name):
    document = change(*BAD[name])(plain())
    with pytest.raises(QuestionnaireError):
        Questionnaire.from_json(json.dumps(document).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", b"[" * 10**6, b"9" * 10**5])
def test_what_is_no_questionnaire(data):
    with pytest.raises(QuestionnaireError):
        Questionnaire.from_json(data)


@given(st.data())
def test_no_change_of_bytes_raises_anything_else(data):
    raw = bytearray(json.dumps(plain()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(QuestionnaireError):
        assert Questionnaire.from_json(bytes(raw)).questions


def test_a_changed_file_is_noticed():
    data = questionnaire([choice("a", (10, 20), (20, 10))]).to_json()
    assert Questionnaire.from_json(data)
    with pytest.raises(QuestionnaireError, match="SHA-256"):
        Questionnaire.from_json(data.replace(b"20", b"21", 1))
    heart = load("heart").to_json()
    with pytest.raises(QuestionnaireError, match="SHA-256"):
        Questionnaire.from_json(heart.replace(b'"slope": 0', b'"slope": 1', 1))


def test_own_files(tmp_path):
    own = tmp_path / "own.json"
    own.write_bytes(json.dumps(plain()).encode())
    assert load(own) == Questionnaire.from_json(own.read_bytes())
    for missing in (tmp_path, tmp_path / "none.json", "no such name", "\0"):
        with pytest.raises(QuestionnaireError, match="expected a file"):
            load(missing)
    own.write_bytes(b" " * (9 << 20))
    with pytest.raises(QuestionnaireError, match="bytes"):
        load(own)
