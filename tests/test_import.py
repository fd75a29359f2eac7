from __future__ import annotations

import subprocess
import sys


def python(code):
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_import_loads_no_heavy_library_and_compiles_nothing():
    loaded = python("import sys, ompd; print(*sorted({m.split('.')[0] for m in sys.modules}))")
    heavy = {"numba", "numpy", "gmpy2", "py_ecc", "pyblst", "cryptography", "sklearn", "typer"}
    assert not heavy & set(loaded.split())


def test_every_public_name_is_there():
    code = "import ompd; print(*[type(getattr(ompd, n)).__name__ for n in ompd.__all__])"
    assert "Error" not in python(code)
    import ompd

    assert sorted(ompd.__all__) == ompd.__all__
    assert set(ompd.__all__) <= set(dir(ompd))


def test_unknown_names_are_refused():
    assert (
        python("import ompd\ntry: ompd.nothing\nexcept AttributeError as error: print(error)")
        == "module 'ompd' has no attribute 'nothing'"
    )


def test_importing_the_roles_compiles_nothing():
    code = (
        "import ompd.roles, numba\n"
        "from numba.core.dispatcher import Dispatcher\n"
        "import gc\n"
        "print(sum(len(d.signatures) for d in gc.get_objects() if isinstance(d, Dispatcher)"
        " and d.py_func.__module__.startswith('ompd')))"
    )
    assert python(code) == "0"
