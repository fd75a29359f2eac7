"""What holds patients' values shows sizes alone: a repr ends up in logs and tracebacks."""

from __future__ import annotations

import ast

import pytest

from tests.places import PACKAGE

#: Annotations of what may be a patient's: features, ids, texts of files.
VALUES = ("F64", "Array", "Text", "Dataset", "Counts")


def shown(path):
    """Classes whose generated repr would show such values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base) for base in node.bases]
        decorators = [ast.unparse(each) for each in node.decorator_list]
        generated = "NamedTuple" in bases or any(
            each.startswith("dataclass") and "repr=False" not in each for each in decorators
        )
        own = any(
            isinstance(each, ast.FunctionDef) and each.name == "__repr__" for each in node.body
        )
        if not generated or own:
            continue
        for each in node.body:
            if isinstance(each, ast.AnnAssign) and any(
                part.strip() in VALUES for part in ast.unparse(each.annotation).split("|")
            ):
                yield node.name


@pytest.mark.parametrize(
    "folder", ["bulk", "datasets", "schema", "encode", "roles", "estimator", "text"]
)
def test_no_generated_repr_shows_values(folder):
    found = {
        f"{path.name}: {name}" for path in (PACKAGE / folder).rglob("*.py") for name in shown(path)
    }
    assert not found
