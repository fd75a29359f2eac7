"""Compiled kernels on disk: never stale, and never a reason to fail."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ompd._kernels.splits import middle_of
from tests.marks import long
from tests.places import PACKAGE, ROOT

SMALL = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from ompd._kernels.splits import middle_of
    value = middle_of(0, 200)
print(json.dumps({
    "value": value,
    "warnings": [f"{each.category.__name__}: {each.message}" for each in caught],
    "loaded": sum(middle_of.stats.cache_hits.values()),
}))
"""

#: Two kernels in two modules, one of which calls the other.
INNER = "from ompd._kernels.jit import kernel\n@kernel()\ndef inner(x):\n    return x + {}\n"
OUTER = (
    "from ompd._kernels.jit import kernel\n"
    "from ompd._kernels.inner import inner\n"
    "@kernel()\ndef outer(x):\n    return 10 * inner(x)\n"
)
CALL = "from ompd._kernels.outer import outer; print(outer(1))"


def start(code, cache, path=ROOT, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ
        | {"PYTHONPATH": str(path), "NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
        | options.pop("env", {}),
        cwd=path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip()


def run(cache, **options):
    """Use one small kernel in a fresh process."""
    return json.loads(finish(start(SMALL, cache, **options)))


def files(cache):
    return sorted(path for path in Path(cache).rglob("*") if path.is_file())


def copy_of_the_package(folder):
    shutil.copytree(
        PACKAGE, folder / "ompd", ignore=shutil.ignore_patterns("__pycache__", "datasets")
    )
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Folder with one compiled kernel."""
    cache = tmp_path_factory.mktemp("kept")
    assert run(cache) == {"value": middle_of.py_func(0, 200), "warnings": [], "loaded": 0}
    assert len(files(cache)) == 1
    return cache


def test_a_second_process_loads_what_the_first_compiled(kept):
    assert run(kept) == {"value": 96, "warnings": [], "loaded": 1}


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def sealed(content):
    return sha256(content).digest() + content


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:500],
    "zeroed": lambda data: bytes(len(data)),
    "one bit": flipped,
    "foreign": lambda data: sealed(pickle.dumps({"what": "ever"})),
    "not a pickle": lambda data: sealed(b"\x00\x01\x02"),
    "of a class that is gone": lambda data: sealed(b"cnumba.core.nowhere\nGone\n."),
}


@pytest.mark.parametrize("damage", ["one bit", *long(*sorted({*DAMAGES} - {"one bit"}))])
def test_damaged_files_are_replaced(kept, tmp_path, damage):
    cache = tmp_path / "cache"
    shutil.copytree(kept, cache)
    (file,) = files(cache)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    done = run(cache)
    assert done["value"] == 96
    (told,) = done["warnings"]
    assert told.startswith("RuntimeWarning: ")
    assert str(file.parent) in told
    assert run(cache) == {"value": 96, "warnings": [], "loaded": 1}
    assert files(cache) == [file]


def test_a_folder_in_the_place_of_the_file(kept, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(kept, cache)
    (file,) = files(cache)
    file.unlink()
    file.mkdir()
    done = run(cache)
    assert (done["value"], len(done["warnings"])) == (96, 1)
    assert files(cache) == []


def test_a_full_disk(tmp_path):
    # A limit on the size of files stands for it: the write fails half way.
    done = run(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert done["value"] == 96
    (told,) = done["warnings"]
    assert str(tmp_path) in told
    assert "OSError" in told
    assert files(tmp_path) == []


def test_no_folder_can_be_written(tmp_path):
    # For root no folder is forbidden; but nothing can be made below a file.
    package = copy_of_the_package(tmp_path / "copy")
    blocked = tmp_path / "blocked"
    blocked.touch()
    (package / "ompd/_kernels/__pycache__").touch()
    env = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked)}
    done = run(blocked / "cache", path=package, env=env)
    assert done["value"] == 96
    (told,) = done["warnings"]
    assert str(blocked / "cache") in told


@pytest.mark.long
def test_a_folder_that_vanished_is_made_again(kept, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(kept, cache)
    shutil.rmtree(cache)
    assert run(cache) == {"value": 96, "warnings": [], "loaded": 0}
    assert run(cache)["loaded"] == 1


@pytest.mark.long
def test_processes_at_the_same_time(tmp_path):
    processes = [start(SMALL, tmp_path) for _ in range(3)]
    for process in processes:
        done = json.loads(finish(process))
        assert (done["value"], done["warnings"]) == (96, [])
    assert len(files(tmp_path)) == 1


@pytest.mark.long
def test_an_edited_kernel_changes_its_callers(tmp_path):
    package = copy_of_the_package(tmp_path / "copy")
    inner = package / "ompd/_kernels/inner.py"
    (package / "ompd/_kernels/outer.py").write_text(OUTER)
    cache = tmp_path / "cache"
    for number in (1, 2, 1):
        inner.write_text(INNER.format(number))
        assert finish(start(CALL, cache, path=package)) == str(10 * (1 + number))
    # Nobody has to compile again what was compiled before.
    assert len(list(cache.glob("*/ompd-kernels-*"))) == 2


@pytest.mark.long
def test_a_file_that_is_edited_after_the_digest_is_not_kept(tmp_path):
    package = copy_of_the_package(tmp_path / "copy")
    inner = package / "ompd/_kernels/inner.py"
    inner.write_text(INNER.format(1))
    (package / "ompd/_kernels/outer.py").write_text(OUTER)
    edit = (
        "import pathlib, ompd._kernels.jit\n"
        f"pathlib.Path({str(inner)!r}).write_text({INNER.format(2)!r})\n"
    )
    cache = tmp_path / "cache"
    assert finish(start(edit + CALL, cache, path=package)) == "30"
    inner.write_text(INNER.format(1))
    assert finish(start(CALL, cache, path=package)) == "20"


@pytest.mark.long
def test_what_older_sources_left_does_not_pile_up(tmp_path):
    run(tmp_path)
    (file,) = files(tmp_path)
    place = file.parent.parent
    for number in range(6):
        folder = place / f"ompd-kernels-{number}"
        folder.mkdir()
        (folder / "kernel.nbc").touch()
        os.utime(folder, (number, number))
    foreign = place / "other"
    foreign.mkdir()
    dead, living = file.with_name("dead.new"), file.with_name("living.new")
    for writer in (dead, living):
        writer.touch()
    os.utime(dead, (0, 0))
    file.unlink()
    run(tmp_path)
    left = {path.name for path in place.iterdir()}
    assert left == {file.parent.name, "other", *(f"ompd-kernels-{n}" for n in (3, 4, 5))}
    assert {path.name for path in file.parent.iterdir()} == {file.name, "living.new"}


@pytest.mark.long
def test_commands_work_with_a_damaged_cache(kept, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(kept, cache)
    folder = files(cache)[0].parent
    # What this machine has compiled already need not be compiled again.
    middle_of(0, 200)
    shutil.copytree(middle_of.stats.cache_path, folder, dirs_exist_ok=True)
    for file in folder.glob("blinding.*"):
        file.write_bytes(b"")
    code = (
        "from ompd.commands.app import app; app(['demo', '--profile', 'paper', '--queries', '2'])"
    )
    process = start(code, cache)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "accuracy" in out
    assert err.count("RuntimeWarning") == 1
    assert str(folder) in err


@pytest.mark.long
def test_what_is_recompiled_with_other_constants_stays_in_the_process(tmp_path):
    change = (
        "from ompd._kernels import splits\n"
        "assert splits.middle_of(0, 200) == 96\n"
        "splits.LEAF = 100\n"
        "splits.middle_of.recompile()\n"
        "print(splits.middle_of(0, 200))\n"
    )
    assert finish(start(change, tmp_path)) == "100"
    assert run(tmp_path) == {"value": 96, "warnings": [], "loaded": 1}
