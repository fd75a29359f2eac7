"""Examples of all documents run, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from ompd import datasets
from ompd.commands.app import app
from tests.places import PACKAGE, ROOT

README = "README.md"
#: Names as in the repository; those in `ompd` come with the package.
DOCUMENTS = (
    README,
    ".github/CONTRIBUTING.md",
    "bench/README.md",
    *(f"ompd/{name}.md" for name in ("CHANGES", "OPERATING", "PROTOCOL", "README", "SECURITY")),
)


def place(name):
    """Where a file of the repository lies, also if the package is installed elsewhere."""
    first, _, rest = name.partition("/")
    return PACKAGE / rest if first == "ompd" else ROOT / name


def text_of(document):
    return place(document).read_text(encoding="utf-8")


def blocks(document, language):
    """Blocks of code; whether each goes on where the one before ended."""
    found = re.findall(
        rf"^(<!-- continues -->\n)?```{language}\n(.*?)^```$", text_of(document), re.M | re.S
    )
    return [(bool(continues), code) for continues, code in found]


def examples():
    """Each chain of Python blocks that belong together, but for those of the README."""
    for document in DOCUMENTS[1:]:
        chains = []
        for continues, code in blocks(document, "python"):
            if continues:
                chains[-1] += "\n" + code
            else:
                chains.append(code)
        yield from (
            pytest.param(code, id=f"{document}-{n}") for n, code in enumerate(chains, start=1)
        )


@pytest.mark.parametrize("code", list(examples()))
def test_examples_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102


def write_raw_files(folder):
    """The breast-cancer records as they are published: with a number, `?` and classes 2 and 4."""
    data = datasets.load("wbc")
    names = [feature.name for feature in data.schema.features]
    rows = [
        [str(1000 + row), *(f"{value:.0f}" for value in values), "24"[label]]
        for row, (values, label) in enumerate(zip(data.features, data.labels, strict=True))
    ]
    rows[5][6] = rows[501][6] = "?"
    lines = [",".join(row) for row in ([["id", *names, "class"], *rows])]
    (folder / "wbc.data").write_text("\n".join(lines[:501]))
    people = [line.rpartition(",")[0] for line in (lines[0], *lines[501:])]
    (folder / "new.csv").write_text("\n".join(people))


def test_examples_of_the_readme_run_and_print_what_it_says(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    write_raw_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec("\n".join(code for _, code in blocks(README, "python")), {})  # noqa: S102
    columns, index, *rows, labels, score, probabilities = capsys.readouterr().out.splitlines()
    assert columns.split() == ["label", "p(4)", "votes(4)", "certified", "filled"]
    assert (index.strip(), len(rows)) == ("id", 5)
    assert set(eval(labels)) <= {"benign", "malignant"}  # noqa: S307
    assert float(score) > 0.9
    assert probabilities.startswith("[[")


def test_the_first_examples_are_five_and_a_dozen_lines():
    for (_, code), most in zip(blocks(README, "python"), (5, 12), strict=False):
        assert len([line for line in code.splitlines() if line.strip()]) <= most


def test_the_readme_is_short_and_ci_uses_its_test_line():
    demo, test = (code.strip() for _, code in blocks(README, "sh"))
    assert demo.endswith("ompd demo")
    assert f"\n{test}\n" in (ROOT / ".ci" / "run").read_text()
    assert len(text_of(README).splitlines()) <= 220


def anchors(text):
    """Anchors of the headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = text_of(document)
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    for link in links:
        assert "://" not in link, "documents need no network"
        path, _, anchor = link.partition("#")
        parts = list(Path(document).parent.parts) if path else list(Path(document).parts)
        for part in Path(path).parts:
            if part == "..":
                parts.pop()
            else:
                parts.append(part)
        target = place("/".join(parts))
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_named_exists(document):
    text = text_of(document)
    for module in re.findall(r"\bbench\.[a-z_]+\b", text):
        assert importlib.util.find_spec(module), module
    for path in re.findall(r"\b(?:tests|bench)/[\w/]+\.py\b", text):
        assert place(path).exists(), path
    for path in re.findall(r"\bompd/[\w/]+\.(?:py|md)\b", text):
        assert place(path).exists(), path
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    for command in re.findall(r"(?:^|`|bin/)ompd ([a-z]+)", text, re.M):
        assert command in known, command
    assert "@@" not in text


def test_every_document_is_read_and_within_reach_of_the_readme():
    folders = [
        (ROOT, "*.md"),
        (ROOT / ".github", "*.md"),
        (ROOT / "bench", "*.md"),
        (PACKAGE, "*.md"),
    ]
    names = {place(document) for document in DOCUMENTS}
    assert {path for folder, pattern in folders for path in folder.glob(pattern)} == names
    links = set(re.findall(r"\]\(([^)\s#]+)", text_of(README)))
    assert set(DOCUMENTS) - {README} <= links
