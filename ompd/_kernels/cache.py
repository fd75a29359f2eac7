"""Compiled kernels on disk.

Numba keeps a compiled function for as long as the file that defines it stays as it is, though the
code of all that it calls is compiled into it. Here every kernel lives as long as all kernels'
sources do: they lie in a folder that is named by a digest of these, inside the one that Numba
chooses (``NUMBA_CACHE_DIR``, ``__pycache__`` or the user's own). Numba also believes what it finds,
so that a cut file ends the program and a flipped bit could change distances. Here every file begins
with its digest, and no failure of reading or writing is more than a warning: the kernel is then
compiled in memory.
"""

import contextlib
import hashlib
import pickle
import secrets
import shutil
import sys
import time
import warnings
from functools import cache
from importlib import resources
from pathlib import Path

import numba
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, NullCache
from numba.core.serialize import dumps

_PREFIX = "ompd-kernels-"
_DIGEST_BYTES = 32
#: Folders of other sources that stay, the newest: branches that somebody works on.
_KEPT = 3
#: Seconds after which nobody still writes a file that was begun.
_ABANDONED = 3600


def _digest_of(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


_PACKAGE = resources.files(__package__)
# Taken before any kernel is defined: whatever is edited afterwards is seen to differ.
_SOURCES = {file.name: _digest_of(file) for file in _PACKAGE.iterdir() if file.name.endswith(".py")}


@cache
def _is_as_digested(name):
    """Whether a file is still what `_SOURCES` says; asked when its first kernel is defined."""
    return name in _SOURCES and _digest_of(_PACKAGE / name) == _SOURCES[name]


def _release():
    """Digest of what compiled code depends on, but for types and processor."""
    parts = [numba.__version__, sys.version]
    parts += [f"{name} {digest}" for name, digest in sorted(_SOURCES.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class _Store:
    """The files of this process's kernels. Whoever calls holds Numba's compiler lock."""

    def __init__(self):
        #: Whether all kernels of this process have the sources that the folder is named by.
        self.usable = True
        self._numba = None
        self._swept = False
        self._warned = False
        #: Until the first kernel asks, what a warning would have to name.
        self.folder = config.CACHE_DIR or str(Path(__file__).with_name("__pycache__"))

    def numba_for(self, function):
        """Numba's own means. All kernels lie side by side, so that the first finds the place."""
        if self._numba is None:
            self._numba = CompileResultCacheImpl(function)
            self.folder = Path(self._numba.locator.get_cache_path()) / (_PREFIX + _release())
        return self._numba

    def read(self, name):
        """Return what `write` was given, or None where there is no file."""
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError(f"{name} is damaged")
        return content

    def write(self, name, content):
        """Put a file there, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        new = self.folder / f"{secrets.token_hex(8)}.new"
        try:
            with new.open("xb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            new.replace(self.folder / name)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def warn(self, error):
        """Tell the first failure; what follows has the same reason."""
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"kernels are compiled in memory, because {self.folder} cannot be used "
            f"({type(error).__name__}: {error})",
            RuntimeWarning,
            stacklevel=2,
        )

    def _sweep(self):
        """Remove what older sources and dead writers left; once per process."""
        if self._swept:
            return
        self._swept = True
        with contextlib.suppress(OSError):
            folders = self.folder.parent.glob(_PREFIX + "*")
            others = sorted(
                (folder for folder in folders if folder != self.folder),
                key=lambda folder: folder.stat().st_mtime,
            )
            for folder in others[:-_KEPT]:
                shutil.rmtree(folder, ignore_errors=True)
            for file in self.folder.glob("*.new"):
                if time.time() - file.stat().st_mtime > _ABANDONED:
                    file.unlink()


_STORE = _Store()


class KernelCache(NullCache):
    """What a dispatcher asks before and tells after compiling one kernel for one signature."""

    def __init__(self, function):
        self._function = function
        self._flushed = False
        if not _is_as_digested(Path(function.__code__.co_filename).name):
            _STORE.usable = False

    @property
    def cache_path(self):
        """Folder of the kernels."""
        return str(_STORE.folder)

    def load_overload(self, signature, target):
        """Return the compiled kernel, or None if it is not there or of no use."""
        if self._flushed or not _STORE.usable:
            return None
        target.refresh()
        try:
            means = _STORE.numba_for(self._function)
            content = _STORE.read(self._name(signature, target.codegen()))
            if content is None:
                return None
            # As trusted as the program itself: it is machine code.
            return means.rebuild(target, pickle.loads(content))  # noqa: S301
        except Exception as error:
            _STORE.warn(error)
            return None

    def save_overload(self, signature, compiled):
        """Keep a compiled kernel, if possible."""
        if self._flushed or not _STORE.usable:
            return
        try:
            means = _STORE.numba_for(self._function)
            if means.check_cachable(compiled):
                name = self._name(signature, compiled.codegen)
                _STORE.write(name, dumps(means.reduce(compiled)))
        except Exception as error:
            _STORE.warn(error)

    def flush(self):
        """Part with the files, for this process.

        Whoever recompiles has changed what is compiled in, such as a constant of the module, and
        no digest tells others of that.
        """
        self._flushed = True

    def _name(self, signature, codegen):
        function = self._function
        module = Path(function.__code__.co_filename).stem
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()
        return f"{module}.{function.__qualname__}-{key[:32]}.nbc"
