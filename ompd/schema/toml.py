"""Schemas as files that a person reads and edits."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from ompd.errors import SchemaError
from ompd.schema.features import Feature, Kind, Missing
from ompd.schema.form import MISSING, TableForm

if TYPE_CHECKING:
    from ompd.schema.domains import Schema

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH = 96
#: Largest file in characters, and keys of more parts than any of a schema's, which take tomllib a
#: time that grows as their square.
_MOST = 16 << 20
_DEEP = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")


def to_toml(schema: Schema) -> str:
    """Write a schema as TOML; notes of its table become comments.

    Raises
    ------
    SchemaError
        If a text cannot be written as UTF-8.
    """
    form = schema.table
    notes = () if form is None else form.notes
    lines = [
        "# Schema of a table of patients. A value outside the domain from low to high is refused,",
        "# so the ends must leave room for patients to come.",
    ]
    if not all(feature.complete for feature in schema.features):
        lines += [
            '# missing = "median": the median of the training rows stands for a missing value, or',
            '# for a nominal feature the most frequent one; "level": it is a category of its own',
            '# (kind = "nominal" only), better with the method evidence, as "median" is with',
            "# relief-mw; without either, its row is bad.",
        ]
    lines += _comments(text for name, text in notes if not name)
    lines += ["", f"classes = {_list(schema.classes)}"]
    if form is not None:
        lines += ["", "[table]", *_form(form)]
    for feature in schema.features:
        lines += ["", f"[features.{_key(feature.name)}]"]
        lines += _comments(text for name, text in notes if name == feature.name)
        lines += _feature(feature)
    text = "\n".join(lines) + "\n"
    if any(0xD800 <= ord(sign) < 0xE000 for sign in text):
        raise SchemaError("schema: expected texts that UTF-8 can write")
    return text


def _form(form: TableForm) -> Iterator[str]:
    empty = TableForm()
    names = {name for name, _ in form.notes}
    for name in ("label", "id"):
        column = getattr(form, name)
        if column:
            if column in names:
                yield from _comments(text for other, text in form.notes if other == column)
            yield f"{name} = {_text(column)}"
    for name in ("separator", "decimal", "dates"):
        value = getattr(form, name)
        if value != getattr(empty, name):
            yield f"{name} = {_text(value)}"
    if form.columns:
        yield "# Names of all columns of the file, which has no header."
        yield f"columns = {_list(form.columns)}"
    if form.missing:
        yield f"missing = {_list(form.missing)}"
    else:
        yield f"# missing = {_list(MISSING)}  # marks of a missing value"
    if form.texts:
        yield from ["", "# What the file writes, and the class that it means.", "[table.texts]"]
        yield from (f"{_key(name)} = {_text(value)}" for name, value in form.texts)
    if form.marks:
        yield from ["", "# Further marks of a missing value, by column.", "[table.marks]"]
        yield from (f"{_key(name)} = {_list(marks)}" for name, marks in form.marks)


def _feature(feature: Feature) -> Iterator[str]:
    if feature.about:
        yield f"about = {_text(feature.about)}"
    yield f"kind = {_text(feature.kind)}"
    if feature.levels:
        if feature.low:
            yield f"low = {_number(feature.low)}"
        yield f"levels = {_list(feature.levels)}"
    else:
        yield f"low = {_number(feature.low)}"
        yield f"high = {_number(feature.high)}"
    for name in ("unit", "since", "missing", "code"):
        value = getattr(feature, name)
        if value not in {"", "refuse"}:
            yield f"{name} = {_text(value)}"


def _comments(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        line = "# Check:"
        for word in "".join(" " if ord(c) < 32 or ord(c) == 127 else c for c in text).split():
            if len(line) + len(word) >= _WIDTH:
                yield line
                line = "#"
            line += " " + word
        yield line


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else _text(text)


def _text(text: str) -> str:
    def written(sign: str) -> str:
        if sign in '"\\':
            return "\\" + sign
        return f"\\u{ord(sign):04x}" if ord(sign) < 32 or ord(sign) == 127 else sign

    return '"' + "".join(map(written, text)) + '"'


def _list(texts: Iterable[str]) -> str:
    listed = [_text(text) for text in texts]
    line = "[" + ", ".join(listed) + "]"
    if len(line) <= _WIDTH:
        return line
    lines = [""]
    for text in listed:
        if len(lines[-1]) + len(text) > _WIDTH:
            lines.append("")
        lines[-1] += f" {text},"
    return "[\n" + "".join(f" {line}\n" for line in lines) + "]"


# --- reading -----------------------------------------------------------------------------------


def fields_of(data: bytes | str) -> dict[str, Any]:
    """Read TOML as what `msgspec` converts to a schema.

    Raises
    ------
    SchemaError
        If it is no TOML, or not laid out as a schema.
    """
    problem = ""
    read: dict[str, Any] = {}
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        # Editors put a byte order mark in front.
        text = text.removeprefix("\ufeff")
        if len(text) > _MOST or _DEEP.search(text):
            problem = "expected TOML that is not nested"
        else:
            read = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = str(error)
    except (ValueError, TypeError, AttributeError):
        problem = "expected TOML in UTF-8"
    except RecursionError:
        problem = "expected TOML that is not nested"
    if problem:
        raise SchemaError(f"schema: {problem}")
    features = read.get("features")
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise SchemaError("schema: expected a section [features.NAME] for each feature")
    read["features"] = [_fields_of_feature(name, each) for name, each in features.items()]
    table = read.get("table")
    if isinstance(table, dict):
        if "notes" in table:
            raise SchemaError("schema: expected notes as comments")
        for name in ("texts", "marks"):
            if name in table:
                table[name] = _pairs(table[name])
    return read


#: What msgspec says, and what it means to whoever wrote the file.
_WORDS = {
    "array": "a list", "str": "a text in quotes", "int": "a number", "float": "a number",
    "bool": "true or false", "object": "a section",
}  # fmt: skip
_NAMES = {
    "": ("classes", "table", "features"),
    "table": tuple(name for name in TableForm.__struct_fields__ if name != "notes"),
    "features": tuple(name for name in Feature.__struct_fields__ if name != "name"),
}
_CHOICES = {"kind": get_args(Kind), "missing": get_args(Missing)}
_PLACED = re.compile(r"(.*?)(?: - at `\$([\w.\[\]]*)`)?", re.DOTALL)


def explained(message: str, fields: dict[str, Any]) -> str:
    """Say what is wrong with the fields of a file, and where, in the words of that file.

    Parameters
    ----------
    message : str
        Of msgspec.
    fields : dict
        From `fields_of`.
    """
    found = _PLACED.fullmatch(message)
    what, path = (found[1], found[2] or "") if found else (message, "")
    steps = re.findall(r"\w+", path)
    where = ["schema"]
    if steps[:1] == ["features"] and len(steps) > 1:
        where = [f"feature {fields['features'][int(steps[1])]['name']!r}", *steps[2:3]]
    elif len(steps) > 2 and steps[1] in {"texts", "marks"}:
        listed = fields["table"][steps[1]][int(steps[2])]
        where = [f"table {steps[1]}"]
        if isinstance(listed, list):
            where.append(repr(listed[0]))
    elif steps:
        where = [" ".join(step for step in steps if not step.isdecimal())]
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        known = _NAMES.get("".join(steps[:1]), ())
        what = f"expected {', '.join(known)}, got {match[1]!r}"
    elif match := re.fullmatch(r"Object missing required field `(.*)`", what):
        what = f"expected {match[1]}"
    elif what.startswith("Invalid enum value"):
        what = f"expected one of {', '.join(_CHOICES[steps[-1]])}"
    else:
        what = re.sub(r"`(\w+)`", lambda word: _WORDS.get(word[1], word[1]), what)
        what = what[:1].lower() + what[1:]
    return f"{', '.join(where)}: {what}"


def _fields_of_feature(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    if "name" in fields:
        raise SchemaError(f"feature {name!r}: expected its name in the section's head only")
    fields = {"name": name} | fields
    levels = fields.get("levels")
    if isinstance(levels, list) and levels:
        fields.setdefault("low", 0)
        low = fields["low"]
        if "high" not in fields and isinstance(low, (int, float)):
            fields["high"] = low + len(levels) - 1
    if isinstance(fields.get("since"), datetime.date):
        fields["since"] = str(fields["since"])
    return fields


def _pairs(value: Any) -> Any:
    return [list(pair) for pair in value.items()] if isinstance(value, Mapping) else value
