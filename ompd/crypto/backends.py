"""Which library does the curve arithmetic of signatures."""

from __future__ import annotations

import importlib
import threading

from ompd.crypto.signatures import SignatureBackend
from ompd.errors import BackendUnavailableError, ParameterError

#: Backend name to module and class, in order of preference.
_BACKENDS = {
    "pyblst": ("ompd.crypto._pyblst", "PyblstBackend"),
    "py_ecc": ("ompd.crypto._py_ecc", "PyEccBackend"),
}
_loaded: dict[str, SignatureBackend] = {}
_loading = threading.Lock()


def backend(name: str | SignatureBackend | None = None) -> SignatureBackend:
    """Return a signature backend.

    Parameters
    ----------
    name : {"pyblst", "py_ecc"} or SignatureBackend, optional
        Which library must be used. Without it, pyblst if it can be imported, else py_ecc. A
        backend is returned as it is.

    Returns
    -------
    SignatureBackend
        The same object for every call with the same name.

    Raises
    ------
    BackendUnavailableError
        If the library is not installed here.
    ParameterError
        If there is no backend of that name.
    """
    if isinstance(name, SignatureBackend):
        return name
    if name is None:
        for candidate in _BACKENDS:
            try:
                return _load(candidate)
            except BackendUnavailableError:
                continue
        raise BackendUnavailableError(f"backend: none of {', '.join(_BACKENDS)} is installed")
    if not isinstance(name, str) or name not in _BACKENDS:
        raise ParameterError(f"backend: expected one of {', '.join(_BACKENDS)}")
    return _load(name)


def _load(name: str) -> SignatureBackend:
    with _loading:
        if name not in _loaded:
            module, cls = _BACKENDS[name]
            try:
                _loaded[name] = getattr(importlib.import_module(module), cls)()
            except ImportError:
                raise BackendUnavailableError(f"backend: {name} cannot be imported") from None
        return _loaded[name]
