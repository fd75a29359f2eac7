"""Who may import whom, read from the syntax trees. Arrows point downwards only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.places import PACKAGE, ROOT

#: Words that everybody uses, and which of the words each needs itself.
WORDS = {
    "errors": "",
    "arrays": "errors files",
    "confidential": "",
    "files": "",
    "threads": "errors",
    "params": "errors",
    "schema": "arrays errors params",
}

#: Rank of every other entry, and what it may import besides itself and the words.
TABLE = {
    "_kernels": (0, ""),
    "search": (1, "_kernels"),
    "wire": (1, ""),
    "crypto": (1, ""),
    # The reader of text files.
    "datasets": (1, "_kernels"),
    # Relief finds hits and misses with the engine that answers queries.
    "encode": (2, "_kernels search"),
    "blind": (2, "_kernels search"),
    "sealed": (2, "_kernels crypto search"),
    "stores": (2, "crypto sealed search wire"),
    # Public polynomials are expanded by the block cipher.
    "aggregate": (2, "_kernels crypto"),
    "share": (2, "crypto"),
    # What sensors say: kernels alone.
    "signals": (2, "_kernels"),
    "monitor": (3, "crypto share stores wire"),
    # Scores of a model under encryption.
    "scoring": (3, "_kernels aggregate crypto"),
    "roles": (
        3,
        "aggregate blind crypto datasets encode images monitor scoring sealed search share stores "
        "wire",
    ),
    # Image features: kernels, and streams of the block cipher.
    "images": (3, "_kernels crypto"),
    "text": (3, "aggregate"),
    # Only the parts that set a scene make tables; see `test_attacks_see_only_views`.
    "audit": (4, "aggregate blind datasets encode images roles scoring sealed search text wire"),
    "estimator": (4, "encode roles search"),
    # A person's record: kept in a cloud through a role, and what a role says becomes part of it.
    "record": (4, "_kernels crypto datasets roles share signals stores wire"),
    # Many rows through all three parties, which are in one process or apart.
    "bulk": (5, "datasets estimator roles search wire"),
    "compilation": (5, "aggregate blind datasets encode images record sealed search signals"),
    # A cloud's tables on many machines; rows are scored there as `bulk` does.
    "cluster": (5, "bulk datasets roles sealed search stores wire"),
    # Servers and the client of a user; the only one that speaks HTTP.
    "service": (5, "crypto datasets monitor record roles share stores wire"),
    # Pages of a person's record; they ask hospitals and clouds as programs do.
    "portal": (5, "crypto record roles service"),
    "commands": (
        6,
        "audit bulk cluster compilation crypto datasets encode images monitor portal record roles "
        "search service stores text wire",
    ),
    # The package's face names what most callers need, and loads it when it is used.
    "__init__": (7, "bulk compilation roles"),
    "__main__": (7, "commands"),
}

#: Who may import another entry of its own rank. Roles use wings, and wings no roles. Stores have
#: the cloud's part of `sealed` only; see `test_stores_have_no_secret`.
ON = {
    ("stores", "sealed"),
    ("roles", "images"),
    ("roles", "monitor"),
    ("roles", "scoring"),
    ("portal", "service"),
    ("cluster", "bulk"),
}

#: Third-party modules: where they are declared, under which name, and who may import them.
LIBRARIES = {
    "numba": ("numba", "", "_kernels"),
    # What Numba is made of.
    "llvmlite": ("numba", "", "_kernels"),
    # `aggregate` has it for the published scheme alone.
    "gmpy2": ("gmpy2", "", "aggregate blind crypto"),
    "voprf": ("voprf", "monitor", "crypto"),
    "py_ecc": ("py_ecc", "", "crypto"),
    "pyblst": ("pyblst", "", "crypto"),
    "cryptography": ("cryptography", "", "crypto"),
    "msgspec": (
        "msgspec",
        "",
        "arrays cluster crypto datasets monitor record roles schema sealed service stores wire",
    ),
    "numpy": (
        "numpy",
        "",
        "_kernels aggregate arrays audit blind bulk cluster commands compilation datasets encode "
        "estimator files images record roles schema scoring sealed search service signals stores "
        "text threads wire",
    ),
    "ray": ("ray", "cluster", "cluster"),
    "pandas": ("pandas", "frame", "roles schema"),
    "pyarrow": ("pyarrow", "arrow", "bulk roles schema"),
    "rich": ("rich", "", "bulk commands"),
    "typer": ("typer", "", "commands"),
    "matplotlib": ("matplotlib", "audit", "audit record text"),
    "cv2": ("opencv-python-headless", "images", "images commands"),
    "pydicom": ("pydicom", "images", "images commands"),
    "scipy": ("scipy", "sklearn", "encode"),
    "sklearn": ("scikit-learn", "sklearn", "encode estimator"),
    "starlette": ("starlette", "service", "portal service"),
    "jinja2": ("jinja2", "care", "portal"),
    "uvicorn": ("uvicorn", "service", "service"),
    "uvloop": ("uvicorn", "service", "service"),
    "httptools": ("uvicorn", "service", "service"),
    "aiohttp": ("aiohttp", "service", "service"),
    "httpx": ("httpx", "service", "service"),
    "structlog": ("structlog", "service", "service"),
    "jwt": ("PyJWT", "service", "service"),
    "prometheus_client": ("prometheus-client", "service", "service"),
    "fhir": ("fhir.resources", "care", "record"),
    "fpdf": ("fpdf2", "care", "record"),
    "ucumvert": ("ucumvert", "care", "record"),
    "icalendar": ("icalendar", "care", "record"),
    "dateutil": ("python-dateutil", "care", "record"),
    "spacy": ("spacy", "text", "text"),
    "negspacy": ("negspacy", "text", "text"),
    "threadpoolctl": ("threadpoolctl", "sklearn", "encode"),
}

#: Of the libraries that only benchmarks and tests import, those that are named otherwise.
OTHERS = {"faiss": "faiss-cpu", "skimage": "scikit-image"}

MOST_LINES = 400


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


FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def allowed(entry):
    if entry in WORDS:
        return set(WORDS[entry].split())
    return set(TABLE[entry][1].split()) | (set(WORDS) if entry != "_kernels" else set())


def test_every_entry_is_in_the_table():
    assert {package_of(path) for path in FILES} == set(WORDS) | set(TABLE)


def test_the_table_points_downwards():
    for entry, (rank, others) in TABLE.items():
        for other in others.split():
            assert TABLE[other][0] < rank or (entry, other) in ON, entry


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_are_in_the_table(path):
    own = package_of(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "ompd":
            assert rest[0] == own or rest[0] in allowed(own), f"{own} imports {name}"
        elif top not in sys.stdlib_module_names:
            assert own in LIBRARIES[top][2].split(), f"{own} imports {name}"


def declared(*extras):
    """Names of the distributions that installing with these extras brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    found = set()
    waiting = [*project["dependencies"], *(name for extra in extras for name in optional[extra])]
    while waiting:
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", waiting.pop()).groups()
        if name == "ompd":
            waiting += [name for extra in inner.split(",") for name in optional[extra]]
        else:
            found.add(name)
    return found


def test_libraries_are_declared():
    for distribution, extra, _ in LIBRARIES.values():
        assert distribution in declared(*extra.split())


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("bench", ("bench", "cluster", "he")), ("tests", ("test", "cluster", "fuzz", "he"))],
)
def test_libraries_of_benchmarks_and_tests_are_declared(folder, extras):
    known = declared(*extras)
    for path in (ROOT / folder).rglob("*.py"):
        for name in imports(path):
            top = name.partition(".")[0]
            if top not in {"ompd", "tests", "bench"} | sys.stdlib_module_names:
                distribution = LIBRARIES[top][0] if top in LIBRARIES else OTHERS.get(top, top)
                assert distribution in known, f"{path.name} imports {name}"


def test_no_module_is_long():
    found = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if len(path.read_text().splitlines()) > MOST_LINES
    }
    assert not found


def file_of(name):
    """The file of a module of ompd; None for a name in one."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
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
    "ompd.datasets", "ompd.estimator", "ompd.roles.publication", "ompd.roles.hospital",
    "ompd.roles.shelf", "ompd.roles.retrieval", "ompd.roles.archive", "ompd.roles.frozen",
    "ompd.roles.encoders", "ompd.roles.training", "ompd.roles.queries", "ompd.roles.answers",
    "ompd.roles.batches", "ompd.roles.windows", "ompd.roles.intake", "ompd.roles.turns",
    "ompd.roles.reports", "ompd.scoring", "ompd.roles.blind_asking", "ompd.roles.blind_desk",
    "ompd.roles.blind_keys", "ompd.roles.blind_models",
)  # fmt: skip


def test_a_cloud_that_adds_up_reaches_no_secret_of_a_hospital():
    names = reached(PACKAGE / "roles" / "aggregator.py")
    assert "ompd.aggregate.evaluator" in names
    assert not {found for found in names if found.startswith((*SECRETS, "ompd.roles.physician"))}


@pytest.mark.parametrize(
    "name", ["roles/cloud", "stores/tables/__init__", "search/__init__", "cluster/tables"]
)
def test_cloud_cannot_unblind(name):
    names = reached(PACKAGE / f"{name}.py")
    assert "ompd.search" in names or name.startswith("search")
    assert not {found for found in names if found.startswith(SECRETS)}
    # Of private retrieval it has the part without a secret.
    sealed = {found for found in names if found.startswith("ompd.sealed")}
    assert sealed <= {"ompd.sealed.layout", "ompd.sealed.server"}


def test_a_cloud_loads_nothing_that_could_unblind():
    code = "import sys, ompd.roles.cloud; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "ompd.roles.cloud" in loaded
    assert not {name for name in loaded if name.startswith(SECRETS)}
    sealed = {name for name in loaded if name.startswith("ompd.sealed.")}
    assert sealed <= {"ompd.sealed.layout", "ompd.sealed.server"}


def test_stores_have_no_secret():
    for path in (PACKAGE / "stores").rglob("*.py"):
        sealed = {name for name in imports(path) if name.startswith("ompd.sealed")}
        assert sealed <= {"ompd.sealed.layout", "ompd.sealed.server"}, path


def needed(path):
    """Files of ompd that importing or using a file loads; types alone do not count."""
    found = set()
    waiting = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {file_of(alias.name) for alias in node.names if alias.name.startswith("ompd.")}
        elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "ompd":
            # A module of that name, else something in the package's face.
            found |= {
                file_of(f"{node.module}.{alias.name}") or file_of(node.module)
                for alias in node.names
            }
        waiting += ast.iter_child_nodes(node)
    return found - {None}


def test_there_is_no_cycle():
    left = {path: needed(path) for path in FILES}
    while free := {path for path, others in left.items() if not others & set(left)}:
        for path in free:
            del left[path]
    assert not left


def test_imports_are_followed_as_far_as_they_go():
    assert {"ompd.blind", "ompd.encode", "ompd.sealed.hints", "ompd._kernels.blinding"} <= reached(
        PACKAGE / "roles" / "hospital.py"
    )


ATTACKS = (
    "additive",
    "aggregate",
    "distances",
    "hardened",
    "images",
    "levels",
    "matches",
    "paper",
    "posterior",
    "sealed",
    "structure",
    "text",
    "versions",
)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_see_only_views(name):
    secret = ("ompd.encode", "ompd.blind", "ompd.sealed", "ompd.audit.scenes", "ompd.audit.windows")
    secret += (
        "ompd.aggregate",
        "ompd.audit.additive_scenes",
        "ompd.audit.aggregate_scenes",
        "ompd.audit.image_scenes",
        "ompd.audit.match_scenes",
        "ompd.audit.text_scenes",
        "ompd.images",
        "ompd.text",
        "ompd.audit.version_scenes",
        "ompd.audit.traffic",
        "ompd.scoring",
        "ompd.roles",
    )
    assert not any(found.startswith(secret) for found in imports(PACKAGE / "audit" / f"{name}.py"))


def test_the_clouds_part_of_retrieval_needs_no_secret():
    for name in ("server", "layout"):
        found = {
            other
            for other in imports(PACKAGE / "sealed" / f"{name}.py")
            if other.startswith(("ompd.crypto", "ompd.sealed"))
        }
        assert found <= {"ompd.sealed.layout"}


def test_roles_do_not_import_one_another():
    roles = ("user", "hospital", "cloud", "contributor", "physician", "aggregator")
    for role in roles:
        others = {"ompd.roles"} | {f"ompd.roles.{other}" for other in roles if other != role}
        assert not others & set(imports(PACKAGE / "roles" / f"{role}.py"))


def test_roles_of_images_do_not_import_one_another():
    names = ("authority", "cloud", "patient", "physician")
    for role in names:
        found = set(imports(PACKAGE / "roles" / "imaging" / f"{role}.py"))
        assert not {f"ompd.roles.imaging.{other}" for other in names if other != role} & found
        assert "ompd.roles.imaging" not in found


def test_oracle_knows_nothing_of_the_package():
    assert not any(name.startswith("ompd") for name in imports(Path(__file__).parent / "naive.py"))
