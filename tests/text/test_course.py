from __future__ import annotations

import copy
import datetime
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import LexiconError, NoteError, ParameterError
from ompd.text import Concept, Course, Lexicon, Mention, Note, PlainAnnotator, Template, load

LAST = datetime.date(2024, 3, 1)
WORDS = ("cough", "fever", "rash")
LEXICON = Lexicon("x", tuple(Concept(word, (word,), weight=i + 1) for i, word in enumerate(WORDS)))
ANNOTATOR = PlainAnnotator(LEXICON)


def day(back):
    return LAST - datetime.timedelta(back)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 70),
            st.lists(st.tuples(st.sampled_from(WORDS), st.booleans()), min_size=1, max_size=20),
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 60),
)
def test_courses_count_what_is_asserted(written, days):
    notes = [
        Note(day(back), ". ".join(("" if has else "no ") + word for word, has in said))
        for back, said in written
    ]
    course = Course.from_notes(notes, ANNOTATOR, last=LAST, days=days)
    tally = Counter(
        (word, back) for back, said in written for word, has in said if has
    )  # fmt: skip
    expected = [[min(15, tally[word, days - 1 - t]) for t in range(days)] for word in WORDS]
    assert course.counts.tolist() == expected
    assert course.first == day(days - 1)
    assert course.days == days


def test_a_leap_day_and_both_ends_are_in_their_columns():
    notes = [Note(datetime.date(2024, 2, 29), "fever"), Note(LAST, b"cough"), Note(day(60), "rash")]
    course = Course.from_notes(reversed(notes), ANNOTATOR, last=LAST)
    assert np.argwhere(course.counts).tolist() == [[0, 59], [1, 58]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Note("2024-01-01", "cough"),
        lambda: Note(datetime.datetime(2024, 1, 1), "cough"),
        lambda: Note(LAST, ""),
        lambda: Note(LAST, " \n\t "),
        lambda: Note(LAST, b""),
        lambda: Note(LAST, None),
        lambda: Note(LAST, ["cough"]),
        lambda: Note(LAST, "Fieber 39 °C".encode("latin-1")),
        lambda: Note(LAST, "cough".encode("utf-16")),
        lambda: Note(LAST, "cough".encode("utf-16-le")),
        lambda: Note(LAST, "cough\udc80"),
        lambda: Note(LAST, "a" * ((1 << 16) + 1)),
        lambda: Note(LAST, b"a" * ((1 << 16) + 1)),
    ],
    ids=range(13),
)
def test_what_is_no_note_is_refused(make):
    with pytest.raises(NoteError) as caught:
        make()
    assert "cough" not in str(caught.value)
    assert "Fieber" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "notes",
    [
        [],
        [Note(day(-1), "cough")],
        [Note(day(0), "cough"), Note(datetime.date.max, "cough")],
        ["cough"],
        [None],
        [Note(LAST, "x")] * 4097,
    ],
    ids=range(6),
)
def test_what_makes_no_course_is_refused(notes):
    with pytest.raises(NoteError):
        Course.from_notes(notes, ANNOTATOR, last=LAST)


@pytest.mark.parametrize("days", [0, -1, 61, 2.0, True, "60"])
def test_days_are_1_to_60(days):
    with pytest.raises(ParameterError):
        Course.from_notes([Note(LAST, "cough")], ANNOTATOR, last=LAST, days=days)


def test_the_last_day_is_a_date():
    for last in ("2024-03-01", datetime.datetime(2024, 3, 1)):
        with pytest.raises(ParameterError):
            Course.from_notes([Note(LAST, "cough")], ANNOTATOR, last=last)


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((3, 5)),
        np.zeros((2, 5), int),
        np.zeros((3, 61), int),
        np.zeros((3, 0), int),
        np.zeros(3, int),
        np.full((3, 5), 16),
        np.full((3, 5), -1),
        np.full((3, 5), 1 << 63, np.uint64),
        np.zeros((3, 5), bool),
        [["1"] * 5] * 3,
    ],
    ids=range(10),
)
def test_counts_of_another_form_are_refused(counts):
    with pytest.raises(NoteError):
        Course(LEXICON, LAST, counts)
    with pytest.raises(NoteError):
        Template(LEXICON, counts)


def test_courses_are_secret_and_their_own():
    counts = np.ones((3, 5), np.uint8)
    course, template = Course(LEXICON, LAST, counts), Template(LEXICON, counts)
    counts[:] = 7
    for each in (course, template):
        assert each.counts.max() == 1
        assert not each.counts.flags.writeable
        assert each.counts.dtype == np.int64
        assert repr(each) == f"<{type(each).__name__}>"
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                leak(each)
    assert template.energy == 5 * (1 + 2 + 3)
    assert repr(Note(LAST, "cough")) == "<Note>"


def test_an_empty_template_is_refused():
    with pytest.raises(NoteError):
        Template(LEXICON, np.zeros((3, 5), int))


def test_arguments_of_other_types_are_refused():
    counts = np.ones((3, 5), int)
    for make in (
        lambda: Course("x", LAST, counts),
        lambda: Course(LEXICON, "2024-03-01", counts),
        lambda: Template(None, counts),
    ):
        with pytest.raises(NoteError):
            make()


def test_an_annotator_that_leaves_its_lexicon_is_refused():
    class Stray:
        lexicon = LEXICON

        def annotate(self, text):
            return [Mention("measles", 0, len(text), "asserted")]

    with pytest.raises(LexiconError):
        Course.from_notes([Note(LAST, "x")], Stray(), last=LAST)


def test_a_note_counts_as_its_annotator_reads_it():
    annotator = PlainAnnotator(load("cardiology"))
    note = Note(LAST, "SOB, no chest pain. FH: MI\nPlan: return if syncope")
    course = Course.from_notes([note, note], annotator, last=LAST, days=1)
    rows = np.flatnonzero(course.counts[:, 0])
    assert [annotator.lexicon.names[row] for row in rows] == ["dyspnoea"]
    assert course.counts.sum() == 2
