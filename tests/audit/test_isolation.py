"""Attacks may see views and public facts, and nothing of the hospital."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ompd.audit

FOLDER = Path(ompd.audit.__file__).parent
ATTACKS = (
    "paper", "hardened", "distances", "sealed", "structure", "posterior", "levels", "views",
    "versions", "aggregate", "text", "images", "hidden_images",
)  # fmt: skip
MAY_IMPORT = {
    "ompd.arrays", "ompd.schema", "ompd.search", "ompd.wire",
    *(f"ompd.audit.{name}" for name in ATTACKS),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_import_nothing_of_the_hospital(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert {module for module in imported if module.startswith("ompd")} <= MAY_IMPORT


def test_nothing_of_ours_unpickles_or_reads_secrets():
    # Reaching into an object is how an attack could cheat without importing.
    for name in ATTACKS:
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
            if isinstance(node, ast.Attribute):
                own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
                assert own or not node.attr.startswith("_"), f"{name}: {node.attr}"
