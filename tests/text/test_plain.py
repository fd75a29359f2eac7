"""Each rule of the plain annotator, on sentences made up for it."""

from __future__ import annotations

import copy
import pickle
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import NoteError
from ompd.text import Mention, PlainAnnotator, load
from ompd.text.annotation import MAX_NOTE

ANNOTATOR = PlainAnnotator(load("cardiology"))
LETTERS = {"a": "asserted", "n": "negated", "h": "hypothetical", "f": "family"}
MARK = re.compile(r"\[([^|\]]+)\|([anhf])\]")


def expected(marked):
    """Text without its marks, and what they say: "No [cough|n]"."""
    text, places, end = "", [], 0
    for match in MARK.finditer(marked):
        text += marked[end : match.start()]
        places.append((len(text), len(text) + len(match[1]), LETTERS[match[2]]))
        text += match[1]
        end = match.end()
    return text + marked[end:], places


SENTENCES = {
    "asserted": [
        "Has [chest pain|a] since Monday.",
        "[SOB|a] on climbing stairs, worse than last week",
        "Known [heart failure|a] and [hypertension|a]",
        "Initially [palpitations|a], now settled.",
        "[Dizzy|a] yesterday, not now",
        "Feels [no energy|a].",
    ],
    "negation before": [
        "No [chest pain|n].",
        "Nil [syncope|n]",
        "nil new [cough|n]",
        "Denies [palpitations|n] or [dizziness|n].",
        "Without [ankle swelling|n], [orthopnoea|n] and [cough|n].",
        "She doesn't have [chest pain|n]",
        "He has not had any [palpitations|n].",
        "Never had [angina|n]; no history of [MI|n]",
        "Neither [cough|n] nor [wheeze|n]",
        "Lungs clear of [crackles|n]",
        "No evidence of [heart failure|n]",
        "-ve for [oedema|n]",
        "Not [SOB|n], looks well",
    ],
    "lists": [
        "No [chest pain|n]/[SOB|n]/[palpitations|n]",
        "No [nausea|n], [vomiting|n], [fever|n] or [cough|n].",
        "Nil [cough|n] / [wheeze|n]",
        "[Cough|a]/[wheeze|a], no [fever|n]/[night sweats|n]",
        "no [fever|n],no [cough|n]",
    ],
    "negation behind": [
        "[Oedema|n] is absent.",
        "[Oedema|n] and [crackles|n] were not present",
        "[Palpitations|n] denied",
        "[Chest pain|n]: nil",
        "[SOB|n] - none, [cough|n] - nil.",
        "[Chest pain|n]/[SOB|n]: no",
        "[Fever|n] (none)",
        "Any [chest pain|n]? No.",
        "[PE|n] has been ruled out",
        "[Ankle swelling|n] is no longer present",
    ],
    "what ends a negation": [
        "No [chest pain|n] but [SOB|a].",
        "No [chest pain|n]; [SOB|a] at night",
        "No [chest pain|n]. [Cough|a].",
        "No [chest pain|n]\n[Cough|a]",
        "No [fever|n], has [night sweats|a]",
        "No [fever|n] and feels [tired|a]",
        "No [fever|n], some [nausea|a]",
        "no [oedema|n] (ongoing [cough|a]), [fever|n]",
        "No [cough|n] however [wheezy|a]",
        "Cannot walk because of [chest pain|a]",
        "Not sleeping due to [orthopnoea|a]",
        "[SOB|a] (not measured), [palpitations|a].",
        "temp 37.No [fever|n]",
    ],
    "no negation": [
        "No change in [chest pain|a].",
        "No improvement of [SOB|a] with inhaler",
        "Not only [cough|a] but also [wheeze|a]",
        "Nil of note, [hypertension|a]",
        "No doubt [angina|a]",
        "[Cough|a] not settling",
        "No-one at home; [fatigue|a]",
    ],
    "points": [
        "No e.g. [chest pain|n] of 2.5 hours",
        "[Weight up|a] 2.5 kg. [Ankle swelling|a]",
    ],
    "conditions": [
        "Return if [chest pain|h].",
        "To call 999 in case of [chest pain|h] or [syncope|h]",
        "Should you develop [palpitations|h], come back",
        "Red flags: [SOB|h], [chest pain|h]",
        "Told to watch for [weight gain|h] and [ankle swelling|h]",
        "Warned about [dizziness|h].",
        "Unless [fever|h], no review",
        "[Cough|a]; come back if [haemoptysis|h]",
        "Advised to return if no [chest pain|h] relief",
    ],
    "doubt": [
        "?[PE|h]",
        "Imp: ? [angina|h]/[MI|h]",
        "[Heart failure|a], ?[AF|h], [hypertension|a]",
        "Possible [angina|h].",
        "to exclude [MI|h]",
        "r/o [PE|h]",
        "Likely [AF|h] but [chest pain|a]",
        "Worried about [heart attack|h] but no [chest pain|n]",
        "[PE|h] is unlikely",
        "[AF|h]?",
        "[chest pain|a] +/- [palpitations|h]",
        "may be [angina|h]",
        "in May [palpitations|a]",
    ],
    "no red flags": [
        "No red flags, no [chest pain|n]",
        "No red flag symptoms ([chest pain|n], [syncope|n])",
    ],
    "family": [
        "Mother has [hypertension|f].",
        "Father died of [MI|f] at 60",
        "FH: [heart disease|f]",
        "FHx - brother [AF|f]",
        "Family history of [heart failure|f]",
        "FH\nFather - [angina|f]\nMother well",
        "FH of [IHD|f], [hypertension|a], overweight",
        "Wife also unwell with [vomiting|f], but no [cough|n]",
        "[Cardiomyopathy|f] in his brother",
        "[MI|f] (father)",
        "FMH: Mum had [stroke|f]\nSH: lives alone, [anxious|a]",
    ],
    "not family": [
        "Lives with wife and son, [tired|a]",
        "Wife says he is [breathless|a]",
        "No FH of [DVT|n]/[PE|n]",
        "Father had no [MI|n]",
        "FH: nil [heart disease|n]",
    ],
    "sections": [
        "Plan:\n1. Review if [SOB|h]\n2. ECG for [palpitations|h]",
        "Plan - furosemide for [oedema|h]",
        "Plan: ECG.\nLooks well\n\nPC: [cough|a]",
        "PC: [chest pain|a]. Plan: troponin to exclude [MI|h]",
        "Safety netting: [chest pain|h], [syncope|h]",
        "DDx: [MI|h], [PE|h]",
        "ICE: thinks of [heart attack|h]\nO/E: [crackles|a]",
        "PMH: [AF|a], [angina|a]\nFH: [MI|f]\nDH: nil\nImp: [heart failure|a]",
        "Plan\n\nReview if [fever|h]",
        "Planned cycling, then [chest pain|a]",
        "FHx\n[MI|f]\n\n[Cough|a] today",
        "Treatment-resistant [cough|a]",
        "Plan-ECG for [cough|h]",
        "Ice, rest, [leg swelling|a]",
        "Plan\r\nECG for [cough|h]\r\n\r\nToday [fatigue|a], no\r\n[fever|a]",
    ],
    "lists of lines": [
        "Denies:\n- [chest pain|n]\n- [SOB|n]\n[Cough|a]",
        "1. No [fever|n]\n2. [Cough|a]",
        "Symptoms:\n- [cough|a]\n- no [fever|n]\n- [wheeze|a]",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "marked"), [(rule, each) for rule, all_ in SENTENCES.items() for each in all_]
)
def test_rules(rule, marked):
    text, places = expected(marked)
    found = [(each.start, each.end, each.status) for each in ANNOTATOR.annotate(text)]
    assert found == places, rule


def test_mentions_name_concepts():
    (mention,) = ANNOTATOR.annotate("has SOBOE")
    assert mention == Mention("exertional dyspnoea", 4, 9, "asserted")
    assert repr(mention) == "<Mention>"
    assert pickle.loads(pickle.dumps(mention)) == copy.copy(mention) == mention


@given(st.lists(st.sampled_from(
    ["no", "nil", "chest pain", "SOB", "cough", ",", ".", "/", ";", "\n", " ", "(", ")", "?", "if",
     "Plan:", "FH:", "but", "mother", "-", "\x01", "is absent", "\n\n", "1.", "é", ":", "+/-"]
), max_size=40))  # fmt: skip
def test_any_text_is_annotated_in_order(parts):
    text = " ".join(parts)
    found = ANNOTATOR.annotate(text)
    ends = [0, *(mention.end for mention in found)]
    assert all(end <= each.start < each.end for end, each in zip(ends, found, strict=False))
    assert all(each.status in LETTERS.values() for each in found)
    assert len(found) == sum(text.count(word) for word in ("chest pain", "SOB", "cough"))


def test_what_is_no_note_is_refused():
    for text in (b"chest pain", None, 1, "a" * (MAX_NOTE + 1)):
        with pytest.raises(NoteError):
            ANNOTATOR.annotate(text)
    assert ANNOTATOR.annotate("") == []


@pytest.mark.parametrize(
    "part",
    ["cough", "cough/", "cough,", "cough (", "no ", "? ", "\n", ". ", "- ", "Plan:\n", "\x01",
     "no red ", "lives with ", "cough is ", "cough is absent ", "mother ", "( ", "cough and "],
)  # fmt: skip
def test_long_notes_take_no_long_time(part):
    text = (part * (MAX_NOTE // len(part) + 1))[:MAX_NOTE]
    start = time.process_time()
    ANNOTATOR.annotate(text)
    assert time.process_time() - start < 5
