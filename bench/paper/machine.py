"""What a reader must know of a run to repeat it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import ompd

_PACKAGES = ("numpy", "numba", "gmpy2", "scikit-learn", "scipy", "matplotlib", "tenseal")


def versions() -> dict[str, str]:
    """Versions of what computes; packages that are absent are left out."""
    found = {"python": platform.python_version(), "ompd": f"{ompd.__version__} ({commit()})"}
    for name in _PACKAGES:
        if version := metadata_of(name):
            found[name] = version
    return found


def metadata_of(package: str) -> str:
    """Installed version, or nothing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def commit() -> str:
    """Commit of the source tree, and whether it was changed."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return f"commit {git('rev-parse', '--short=12', 'HEAD')}" + (" with changes" * changed)
    except (OSError, subprocess.SubprocessError):
        return "commit unknown"


def processor() -> str:
    """Model and number of cores."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()}"
