"""Who may import whom, read from the syntax trees. Arrows point downwards only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ompd"
BASE = {"errors", "params", "matching", "schema", "threads", "files"}

#: What each package may import from ompd, besides itself.
ALLOWED = {
    "errors": BASE,
    "params": BASE,
    "matching": {"errors"},
    "schema": BASE,
    "threads": set(),
    "files": set(),
    "_kernels": set(),
    # Relief finds hits and misses with the engine that answers queries.
    "encode": BASE | {"_kernels", "search", "calibration"},
    "search": BASE | {"_kernels"},
    "blind": BASE | {"_kernels", "search"},
    "crypto": BASE,
    "wire": BASE,
    "datasets": BASE,
    "calibration": BASE,
    "decision": BASE | {"search", "calibration"},
    "sealed": BASE | {"_kernels", "search", "crypto"},
    "stores": BASE | {"wire", "search", "crypto"},
    "roles": BASE
    | {
        "encode",
        "search",
        "blind",
        "crypto",
        "wire",
        "stores",
        "sealed",
        "calibration",
        "decision",
        "datasets",
    },
    "compilation": BASE | {"encode", "search", "blind", "sealed"},
    "estimator": BASE | {"encode", "search", "calibration", "decision"},
    "demo": BASE | {"encode", "search", "decision", "roles", "datasets", "audit"},
    # Only the parts that set a scene make tables; see `test_attacks_see_only_views`.
    "audit": BASE | {"encode", "search", "blind", "sealed", "wire", "datasets", "roles"},
    "audit_cli": BASE | {"audit", "datasets", "console"},
    "console": BASE,
    "keys_cli": BASE | {"crypto", "stores", "console"},
    "cli": BASE | {"datasets", "demo", "keys_cli", "audit_cli", "console"},
    "__main__": {"cli"},
    "__init__": BASE | {"roles", "compilation"},
}

#: Third-party packages and the only places that may import them.
HOMES = {
    "numba": {"_kernels"},
    "llvmlite": {"_kernels"},
    "gmpy2": {"blind"},
    "py_ecc": {"crypto"},
    "pyblst": {"crypto"},
    "cryptography": {"crypto"},
    "sklearn": {"estimator", "encode"},
    "typer": {"console", "cli", "keys_cli", "audit_cli"},
    "rich": {"console", "cli", "keys_cli", "audit_cli"},
    "matplotlib": {"audit"},
    "msgspec": {"wire", "schema", "crypto", "datasets", "stores", "roles"},
    "numpy": set(ALLOWED) - {"cli", "keys_cli", "audit_cli", "errors", "params", "crypto"},
}


def imports(path):
    """Absolute names of all modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "ompd":
                yield from (f"ompd.{alias.name}" for alias in node.names)
            else:
                yield node.module


FILES = sorted(ROOT.rglob("*.py"))


def package_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_package_is_in_the_table():
    assert {package_of(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = package_of(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "ompd":
            assert rest[0] == own or rest[0] in ALLOWED[own], f"{own} imports {name}"
        elif top in HOMES:
            assert own in HOMES[top], f"{own} imports {name}"


def test_cloud_cannot_unblind():
    names = set(imports(ROOT / "roles" / "cloud.py"))
    assert not any(name.startswith(("ompd.encode", "ompd.blind")) for name in names)
    # Nor does the engine that it runs.
    for path in (ROOT / "search").glob("*.py"):
        assert not any(name.startswith("ompd.blind") for name in imports(path))


ATTACKS = (
    "distances",
    "hardened",
    "levels",
    "paper",
    "posterior",
    "sealed",
    "structure",
    "versions",
)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_see_only_views(name):
    secret = ("ompd.encode", "ompd.blind", "ompd.sealed", "ompd.audit.scenes", "ompd.audit.windows")
    secret += ("ompd.audit.version_scenes", "ompd.audit.traffic", "ompd.roles")
    assert not any(found.startswith(secret) for found in imports(ROOT / "audit" / f"{name}.py"))


def test_the_clouds_part_of_retrieval_needs_no_secret():
    for name in ("server", "layout"):
        found = {
            other
            for other in imports(ROOT / "sealed" / f"{name}.py")
            if other.startswith(("ompd.crypto", "ompd.sealed"))
        }
        assert found <= {"ompd.sealed.layout"}


def test_roles_do_not_import_one_another():
    for role in ("user", "hospital", "cloud"):
        others = {"ompd.roles"} | {
            f"ompd.roles.{other}" for other in ("user", "hospital", "cloud") if other != role
        }
        assert not others & set(imports(ROOT / "roles" / f"{role}.py"))


def test_oracle_knows_nothing_of_the_package():
    assert not any(name.startswith("ompd") for name in imports(Path(__file__).parent / "naive.py"))
