from __future__ import annotations

import pytest

from ompd.errors import LexiconError
from ompd.text import Concept, Lexicon, available, load
from ompd.text.finding import Finder
from ompd.text.lexicon import parse

PAIN = Concept("pain", ("pain", "ache"))
FILE = """
name = "x"
[concepts.pain]
codes = ["R52"]
synonyms = ["pain", "sharp pain"]
weight = 3
"""


def found(text, *concepts):
    return [
        (each.concept, text[each.start : each.end])
        for each in Finder(Lexicon("x", concepts)).find(text)
    ]


@pytest.mark.parametrize("name", ["cardiology", "general-practice"])
def test_shipped_lexicons_have_codes_and_room(name):
    lexicon = load(name)
    assert name in available()
    assert lexicon.name == name
    assert 50 <= len(lexicon.concepts) <= 64
    assert all(concept.codes for concept in lexicon.concepts)
    assert len(lexicon.digest) == 32


def test_a_lexicon_is_read_from_a_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(FILE)
    for source in (path, str(path)):
        lexicon = load(source)
        assert lexicon.names == ("pain",)
        assert lexicon.weights == (3,)
        assert lexicon.concepts[0].codes == ("R52",)


@pytest.mark.parametrize(
    "change",
    [
        ("pain]", "pain"),
        ('name = "x"', ""),
        ('name = "x"', "name = 1"),
        ('name = "x"', 'name = "x"\nother = 1'),
        ('codes = ["R52"]', 'codes = ["pain"]'),
        ('codes = ["R52"]', 'codes = "R52"'),
        ('codes = ["R52"]', "extra = 1"),
        ('synonyms = ["pain", "sharp pain"]', ""),
        ('synonyms = ["pain", "sharp pain"]', "synonyms = []"),
        ('synonyms = ["pain", "sharp pain"]', "synonyms = [1]"),
        ('synonyms = ["pain", "sharp pain"]', 'synonyms = ["pain", "PaiN-"]'),
        ('synonyms = ["pain", "sharp pain"]', 'synonyms = ["pain", "(a+)+"]'),
        ('synonyms = ["pain", "sharp pain"]', 'synonyms = ["sharp-pain", "sharp pain"]'),
        ("weight = 3", "weight = 0"),
        ("weight = 3", "weight = 9"),
        ("weight = 3", "weight = 2.0"),
        ("weight = 3", "weight = true"),
        ("weight = 3", "weight = 3\n" + "[concepts.again]\nsynonyms = ['Pain']"),
    ],
    ids=range(18),
)  # fmt: skip
def test_what_contradicts_itself_is_refused(change):
    assert parse(FILE)
    with pytest.raises(LexiconError):
        parse(FILE.replace(*change))


def test_unusable_files_are_refused(tmp_path):
    with pytest.raises(LexiconError, match="cardiology"):
        load(tmp_path / "none.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes("name = 'Ödem'".encode("latin-1"))
    with pytest.raises(LexiconError, match="UTF-8"):
        load(path)
    with pytest.raises(LexiconError):
        parse("a = " + "[" * 100_000)
    with pytest.raises(LexiconError):
        parse("#" * (1 << 21))


def test_a_lexicon_has_1_to_64_concepts():
    many = [Concept(str(i), (f"word{i}",)) for i in range(65)]
    assert Lexicon("x", tuple(many[:64])).names[63] == "63"
    for concepts in ((), tuple(many)):
        with pytest.raises(LexiconError):
            Lexicon("x", concepts)


def test_other_weights_make_another_lexicon():
    lexicon = Lexicon("x", (PAIN, Concept("fever", ("fever",))))
    other = lexicon.weighted({"fever": 8})
    assert other.weights == (1, 8)
    assert lexicon.weights == (1, 1)
    assert other.digest != lexicon.digest == lexicon.weighted({}).digest
    with pytest.raises(LexiconError):
        lexicon.weighted({"cough": 1})
    with pytest.raises(LexiconError):
        lexicon.weighted({"fever": 9})


def test_the_longest_synonym_is_found():
    chest = Concept("chest pain", ("chest pain",))
    assert found("Chest pain, then pain and an ache", PAIN, chest) == [
        ("chest pain", "Chest pain"), ("pain", "pain"), ("pain", "ache"),
    ]  # fmt: skip


def test_words_are_found_as_wholes_and_within_a_line():
    chest = Concept("chest pain", ("chest pain",))
    light = Concept("dizziness", ("light-headed",))
    assert found("painful, Spain, pains", PAIN) == []
    assert found("chest\npain", chest) == []
    assert found("chest-pain chest  pain", chest) == [
        ("chest pain", "chest-pain"), ("chest pain", "chest  pain"),
    ]  # fmt: skip
    assert found("light headed/light-headed", light) == [
        ("dizziness", "light headed"), ("dizziness", "light-headed"),
    ]  # fmt: skip


def test_capitals_are_found_in_capitals_only():
    embolism = Concept("embolism", ("PE", "lung clot"))
    assert found("PE; pe; Pe; Lung Clot", embolism) == [
        ("embolism", "PE"),
        ("embolism", "Lung Clot"),
    ]


def test_signs_are_part_of_synonyms():
    vomiting = Concept("vomiting", ("N&V", "vomit"))
    assert found("No N&V", vomiting) == [("vomiting", "N&V")]
