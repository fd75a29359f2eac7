"""Coverage-guided fuzzing of every decoder; needs the extra `fuzz`.

python tests/fuzz/fuzz_decoders.py [--seconds 60] [--only NAME] [--skip NAME] [--seeds] [--keep 40]

Starts from tests/fuzz/corpus, works in a temporary folder and adds to the corpus the last of the
inputs that reached code which no kept input had reached. A crash ends the run and is kept, so that
the tests replay it until it is mended. `--seeds` writes the valid inputs anew and fuzzes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
ROOT = HERE.parent.parent
#: Longest input to keep; larger ones teach the decoders nothing new and weigh down the repository.
MOST_BYTES = 2048


def save(data: bytes, kind: str) -> Path:
    """Keep an input under a name that tells its target."""
    from tests.fuzz import targets

    name = targets.NAMES[data[0] % len(targets.NAMES)]
    path = CORPUS / f"{kind}-{name}-{hashlib.sha256(data).hexdigest()[:10]}"
    path.write_bytes(data)
    return path


def write_seeds() -> None:
    """Write one valid input per target."""
    from tests.fuzz import targets

    CORPUS.mkdir(exist_ok=True)
    for name, data in targets.seeds().items():
        (CORPUS / name).write_bytes(data)


def child(only: str | None, skip: list[str], arguments: list[str]) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris

    # Loaded before, so as they are: Numba cannot compile instrumented bytecode.
    kernels = importlib.import_module("ompd._kernels")
    for module in pkgutil.iter_modules(kernels.__path__, "ompd._kernels."):
        importlib.import_module(module.name)
    with atheris.instrument_imports(include=["ompd"]):
        # Loaded on demand otherwise, and then not instrumented.
        import ompd.roles
        from tests.fuzz import targets
    assert ompd.roles
    chosen = {
        place
        for place, name in enumerate(targets.NAMES)
        if name not in skip and only in {None, name}
    }

    def one_input(data: bytes) -> None:
        if data and data[0] % len(targets.NAMES) in chosen:
            targets.feed(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        # The first byte stays: an input of one target means nothing to another.
        del seed
        changed = atheris.Mutate(data[1:], most - 1) if most > 1 else data[1:]
        return data[:1] + changed

    targets.world()
    atheris.Setup([sys.argv[0], *arguments], one_input, custom_mutator=mutate)
    atheris.Fuzz()


def size_of(folder: Path) -> int:
    """Count the files of a folder."""
    return sum(1 for path in folder.iterdir() if path.is_file())


def parent(seconds: int, choice: list[str], keep: int) -> int:
    """Fuzz in a child process, then keep what it found; return its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        work, found = Path(folder) / "work", Path(folder) / "crash-"
        work.mkdir()
        command = [sys.executable, __file__, "--child", *choice, "--"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            [
                *command,
                f"-max_total_time={seconds}",
                f"-max_len={MOST_BYTES}",
                "-timeout=20",
                "-rss_limit_mb=3000",
                f"-artifact_prefix={found}",
                "-print_final_stats=1",
                str(work),
                str(CORPUS),
            ],
            cwd=ROOT,
            env=environment,
            check=False,
        )
        # Slow ones are reported likewise; the first use of each kernel is one, since it compiles.
        crashes = [path for path in Path(folder).glob("crash-*") if "slow-unit" not in path.name]
        for path in crashes:
            print("crash kept:", save(path.read_bytes(), "crash"))
        # libFuzzer finds the deeper ones later.
        fresh = sorted(work.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in fresh[-keep:] if keep else []:
            save(path.read_bytes(), "found")
        print(f"{len(fresh)} inputs reached new code; the corpus has {size_of(CORPUS)}")
        return run.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", help="one target, by name")
    parser.add_argument("--skip", action="append", default=[], help="leave out a target")
    parser.add_argument("--keep", type=int, default=40, help="most inputs to add to the corpus")
    parser.add_argument("--seeds", action="store_true", help="write the valid inputs anew")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.seeds:
        write_seeds()
    elif options.child:
        child(options.only, options.skip, options.rest)
    else:
        choice = [f"--skip={name}" for name in options.skip]
        choice += [f"--only={options.only}"] if options.only else []
        sys.exit(parent(options.seconds, choice, options.keep))


if __name__ == "__main__":
    main()
