"""Schemas as TOML: what is written is read again, and what is no schema is refused."""

from __future__ import annotations

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import OmpdError, SchemaError
from ompd.schema import Feature, Schema, TableForm

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ENDS = st.floats(-1e300, 1e300)


def _bare(text):
    """What of a text does count."""
    return text.strip(" \t")


@st.composite
def features(draw, name):
    kind = draw(st.sampled_from(["numeric", "ordinal", "nominal"]))
    low, high = sorted([draw(ENDS), draw(ENDS)])
    fields = {"about": draw(st.text(max_size=5)), "unit": draw(st.sampled_from(["", "µmol/l"]))}
    fields["code"] = draw(st.sampled_from(["", "loinc|2160-0", "urn:x:y|a.b/c"]))
    missing = ["refuse", "median", "level"] if kind == "nominal" else ["refuse", "median"]
    fields["missing"] = draw(st.sampled_from(missing))
    if kind == "numeric" and draw(st.booleans()):
        fields["since"] = draw(st.dates()).isoformat()
    if kind != "numeric":
        low, high = float(int(low)), float(int(high))
        if draw(st.booleans()):
            names = st.text("abc \"'\\\n#=ü\x7f", min_size=1, max_size=9)
            fields["levels"] = tuple(draw(st.lists(names, min_size=1, max_size=5, unique_by=_bare)))
            low = float(draw(st.integers(-5, 5)))
            high = low + len(fields["levels"]) - 1
    return Feature(name, kind, low, high, **fields)


@st.composite
def schemas(draw):
    names = draw(st.lists(TEXTS, min_size=3, max_size=6, unique=True))
    classes = tuple(draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True)))
    made = tuple(draw(features(name)) for name in names[2:])
    form = None
    if draw(st.booleans()):
        form = TableForm(
            label=names[0],
            id=draw(st.sampled_from(["", names[1]])),
            columns=draw(st.sampled_from([(), tuple(names)])),
            separator=draw(st.sampled_from([";", "\t", "|", " "])),
            decimal=draw(st.sampled_from([".", ","])),
            missing=draw(st.sampled_from([(), ("?", "NA")])),
            marks=draw(st.sampled_from([{}, {names[2]: ("-9", '"')}])),
            texts=draw(st.sampled_from([{}, {"2": classes[0]}])),
            dates=draw(st.sampled_from(["%Y-%m-%d", "%d.%m.%Y"])),
            notes=draw(st.lists(st.tuples(st.sampled_from(["", *names]), st.text()), max_size=3)),
        )
    return Schema(made, classes, form)


@given(schemas())
def test_what_is_written_is_read(schema):
    text = schema.to_toml()
    again = Schema.from_toml(text)
    form = schema.table
    if form is not None:
        form = msgspec.structs.replace(form, notes=())
    assert again == Schema(schema.features, schema.classes, form)
    assert Schema.from_toml(text.encode()) == again
    assert again.to_toml() == Schema.from_toml(again.to_toml()).to_toml()


def test_how_it_looks():
    schema = Schema(
        (
            Feature("age", "ordinal", 0, 120, unit="years", missing="median"),
            Feature("dose, mg", "numeric", -0.5, 2, about="a day"),
            Feature("sex", "nominal", 0, 1, levels=("f", "m")),
        ),
        ("benign", "malignant"),
        TableForm(
            label="y",
            separator=";",
            texts={"2": "benign"},
            marks={"age": ["-9"]},
            notes=[("", "all"), ("y", "the last"), ("age", "ends\nas found")],
        ),
    )
    assert (
        schema.to_toml()
        == """\
# Schema of a table of patients. A value outside the domain from low to high is refused,
# so the ends must leave room for patients to come.
# missing = "median": the median of the training rows stands for a missing value, or
# for a nominal feature the most frequent one; "level": it is a category of its own
# (kind = "nominal" only), better with the method evidence, as "median" is with
# relief-mw; without either, its row is bad.
# Check: all

classes = ["benign", "malignant"]

[table]
# Check: the last
label = "y"
separator = ";"
# missing = ["", "?", "-", "na", "n/a", "#n/a", "nan", "null", "none"]  # marks of a missing value

# What the file writes, and the class that it means.
[table.texts]
2 = "benign"

# Further marks of a missing value, by column.
[table.marks]
age = ["-9"]

[features.age]
# Check: ends as found
kind = "ordinal"
low = 0
high = 120
unit = "years"
missing = "median"

[features."dose, mg"]
about = "a day"
kind = "numeric"
low = -0.5
high = 2

[features.sex]
kind = "nominal"
levels = ["f", "m"]
"""
    )


def test_a_byte_order_mark_is_none_of_the_text():
    for text in ("\ufeff" + GOOD, ("\ufeff" + GOOD).encode()):
        assert Schema.from_toml(text) == Schema.from_toml(GOOD)


def test_a_date_may_be_one_of_toml():
    text = 'classes=["a"]\n[features.d]\nkind="numeric"\nlow=0\nhigh=9\nsince=2000-01-01'
    assert Schema.from_toml(text).features[0].since == "2000-01-01"


LEVELS = 'classes = ["a", "b"]\n[features.x]\nkind = "nominal"\n'
GOOD = 'classes = ["a", "b"]\n[features.x]\nkind = "numeric"\nlow = 0\nhigh = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "expected TOML in UTF-8"),
        ("x", "schema: Expected '='"),
        ("", "expected a section"),
        ('classes = ["a"]\nfeatures = [1]', "expected a section"),
        ('classes = ["a"]\nfeatures.x = 1', "expected a section"),
        (GOOD + 'name = "y"', "expected its name in the section's head"),
        (GOOD + "other = 1", "^feature 'x': expected kind, low, high, .*, got 'other'$"),
        (GOOD + "[tabel]\na = 1", "^schema: expected classes, table, features, got 'tabel'$"),
        (GOOD + "[table]\nlable = 'x'", "^table: expected label, id, .*, got 'lable'$"),
        (GOOD + "[table.texts]\n0 = 1", "^table texts, '0': expected a text in quotes"),
        (GOOD + "[table.marks]\nx = '0'", "^table marks, 'x': expected a list, got a text"),
        (GOOD + "[table.texts]\n0 = 'c'", "^table texts: .*, got another for '0'$"),
        (GOOD + "missing = 'mean'", "^feature 'x', missing: expected one of refuse, median, lev"),
        (GOOD + "unit = 5", "^feature 'x', unit: expected a text in quotes, got a number$"),
        (GOOD.replace("0", "'0'"), "^feature 'x', low: expected a number, got a text in quotes$"),
        (GOOD.replace("numeric", "number"), "^feature 'x', kind: expected one of numeric, ord"),
        (GOOD.replace('["a", "b"]', '"a"'), "^classes: expected a list, got a text in quotes$"),
        (GOOD.replace('"b"', "5"), "^classes: expected a text in quotes, got a number$"),
        (LEVELS + "levels = ['f', 'f\t']", "^feature 'x': two levels differ by blanks"),
        (LEVELS + "levels = ['f', 'f']", "^feature 'x', levels: .* got 'f' twice$"),
        (GOOD + "[table]\ncolumns = ['y']", "^table columns: expected feature 'x' among them$"),
        (GOOD + "[table]\nnotes = []", "expected notes as comments"),
        (GOOD + "[table]\nlabel = 5", "^table label: expected a text in quotes, got a number$"),
        (GOOD + "[table.marks]\nz = ['0']", "only names of features, got 'z'"),
        (GOOD + "[table]\nmarks = 5", "table marks: expected a list"),
        (GOOD.replace("high = 1", "high = -1"), "finite low <= high"),
        (GOOD.replace("high = 1", "high = 1" + "0" * 400), "'x', high: number out of range"),
        (GOOD.replace("high = 1", "high = 1" + "0" * 5000), "schema: "),
        (GOOD.replace("high = 1", "high = inf"), "finite low <= high"),
        (GOOD.replace("high = 1", ""), "^feature 'x': expected high$"),
        ("a = " + "[" * 100_000, "schema: "),
        ("a." * 100_000 + "b = 1", "schema: "),
        (None, "schema: "),
        (5, "schema: "),
    ],
)
def test_what_is_no_schema(text, message):
    with pytest.raises(SchemaError, match=message) as caught:
        Schema.from_toml(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(st.text())
def test_only_own_errors_escape(text):
    for content in (text, GOOD + text):
        try:
            Schema.from_toml(content)
        except OmpdError:
            pass
        else:
            tomllib.loads(content)


def test_texts_that_utf8_cannot_write():
    with pytest.raises(SchemaError, match="UTF-8"):
        Schema((Feature("\ud800", "numeric", 0, 1),), ("a",)).to_toml()
