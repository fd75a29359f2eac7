"""The annotator on spaCy: the same interface, and what is said without the extra."""

from __future__ import annotations

import sys

import pytest

from ompd.errors import BackendUnavailableError, NoteError
from ompd.text import SpacyAnnotator, load


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(BackendUnavailableError, match=r"ompd\[text\]") as caught:
        SpacyAnnotator(load("cardiology"))
    assert isinstance(caught.value, ImportError)


@pytest.fixture(scope="module")
def annotator():
    pytest.importorskip("negspacy", reason="needs the extra text")
    return SpacyAnnotator(load("cardiology"))


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("Has chest pain, no SOB/cough", ["asserted", "negated", "negated"]),
        ("Nil fever. Palpitations", ["negated", "asserted"]),
        ("Oedema is absent\nCough", ["negated", "asserted"]),
        ("Plan: return if syncope", ["hypothetical"]),
        ("FH: angina\nMother has AF; ?PE", ["family", "family", "hypothetical"]),
        ("Initially dizzy.Now fatigued", ["asserted", "asserted"]),
        ("", []),
    ],
)
def test_classes(annotator, text, statuses):
    found = annotator.annotate(text)
    assert [each.status for each in found] == statuses
    assert annotator.lexicon.name == "cardiology"


def test_what_is_no_note_is_refused(annotator):
    with pytest.raises(NoteError):
        annotator.annotate(b"cough")
