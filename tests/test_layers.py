"""Who may import whom, read from the syntax trees. Arrows point downwards only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.places import PACKAGE as ROOT

BASE = {"arrays", "confidential", "errors", "params", "schema", "threads", "files"}

#: What each package may import from ompd, besides itself.
ALLOWED = {
    "arrays": set(),
    "confidential": set(),
    "errors": BASE,
    "params": BASE,
    "schema": BASE,
    "threads": set(),
    "files": set(),
    "_kernels": set(),
    # Relief finds hits and misses with the engine that answers queries.
    "encode": BASE | {"_kernels", "search"},
    "search": BASE | {"_kernels"},
    "blind": BASE | {"_kernels", "search"},
    "crypto": BASE,
    "wire": BASE,
    "datasets": BASE,
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
        "datasets",
    },
    "compilation": BASE | {"encode", "search", "blind", "sealed"},
    "estimator": BASE | {"encode", "search"},
    # Only the parts that set a scene make tables; see `test_attacks_see_only_views`.
    "audit": BASE | {"encode", "search", "blind", "sealed", "wire", "datasets", "roles"},
    "commands": BASE | {"audit", "crypto", "datasets", "encode", "roles", "search", "stores"},
    "__main__": {"commands"},
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
    "typer": {"commands"},
    "rich": {"commands"},
    "matplotlib": {"audit"},
    "msgspec": {"wire", "schema", "crypto", "datasets", "stores", "roles"},
    "numpy": set(ALLOWED) - {"confidential", "errors", "params", "crypto"},
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


def file_of(name):
    """The file of a module of ompd; None for a name in one."""
    path = ROOT.joinpath(*name.split(".")[1:])
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()), None)


def reached(path):
    """Names of the modules of ompd that a file imports, and that these import, and so on."""
    found = set()
    waiting = [path]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name.startswith("ompd.") and name not in found and file_of(name):
                    found.add(name)
                    waiting.append(file_of(name))
    return found


#: What the hospital alone may know.
SECRETS = (
    "ompd.blind", "ompd.encode", "ompd.search.calibration", "ompd.search.decision",
    "ompd.datasets", "ompd.estimator", "ompd.roles.publi", "ompd.roles.hospital",
    "ompd.roles.forwarder", "ompd.roles.retrieval", "ompd.roles.archive", "ompd.roles.frozen",
    "ompd.roles.encoders", "ompd.roles.training",
)  # fmt: skip


@pytest.mark.parametrize("name", ["roles/cloud", "roles/stored", "search/__init__"])
def test_cloud_cannot_unblind(name):
    names = reached(ROOT / f"{name}.py")
    assert "ompd.search" in names or name.startswith("search")
    assert not {found for found in names if found.startswith(SECRETS)}
    # Of private retrieval it has the part without a secret.
    sealed = {found for found in names if found.startswith("ompd.sealed")}
    assert sealed <= {"ompd.sealed.layout", "ompd.sealed.server"}


def test_imports_are_followed_as_far_as_they_go():
    assert {"ompd.blind", "ompd.encode", "ompd.sealed.hints", "ompd._kernels.blinding"} <= reached(
        ROOT / "roles" / "hospital.py"
    )


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
