"""Arithmetic in the groups G1 and G2 of BLS12-381, for what is built on them besides signatures.

`group` picks the same library as `backend` does. Points are decoded here and nowhere else: what is
not canonical, infinite or outside the prime-order subgroup is refused with the same error whichever
library computes. Points in the form of a library never leave the modules that asked for them.
"""

from __future__ import annotations

import importlib
import secrets
import threading
from abc import ABC, abstractmethod
from typing import Any

from ompd.crypto.backends import backend
from ompd.crypto.points import GROUP_ORDER, check_g1, check_g2, refuse_g1, refuse_g2
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import PointDecodingError

#: Length in bytes of an encoded scalar.
SCALAR_BYTES = 32

_GROUPS = {
    "pyblst": ("ompd.crypto._pyblst", "PyblstGroup"),
    "py_ecc": ("ompd.crypto._py_ecc", "PyEccGroup"),
}
_loaded: dict[str, Group] = {}
_loading = threading.Lock()


class Group(ABC):
    """One library's arithmetic; may be shared between threads.

    Parameters
    ----------
    curve : SignatureBackend
        Of the same library.

    Attributes
    ----------
    name : str
        "pyblst" or "py_ecc".
    generator : point of G1
    """

    generator: Any

    def __init__(self, curve: SignatureBackend) -> None:
        self._curve = curve
        self.name = curve.name

    def decode_g1(self, encoded: object, name: str) -> Any:
        """Return a point of G1.

        Parameters
        ----------
        encoded : object
            What a peer sent; 48 bytes are expected.
        name : str
            How error messages call it.

        Raises
        ------
        PointDecodingError, IdentityPointError, SubgroupError
            If it is not the canonical encoding of a finite point of the prime-order subgroup.
        """
        checked = check_g1(encoded, name)
        point = self._curve._load_key(checked)
        if point is None:
            refuse_g1(checked, name)
        return point

    def decode_g2(self, encoded: object, name: str) -> Any:
        """Return a point of G2, of 96 bytes; as `decode_g1`."""
        checked = check_g2(encoded, name)
        point = self._curve._load_signature(checked)
        if point is None:
            refuse_g2(checked, name)
        return point

    def hash_to_g2(self, message: bytes, dst: bytes) -> Any:
        """Return the hash of a message in G2 under a domain separation tag (RFC 9380)."""
        return self._curve._hash(message, dst)

    def same_exponent(self, key: Any, base: Any, power: Any) -> bool:
        """Tell whether e(key, base) equals e(generator, power): one key made power of base.

        Parameters
        ----------
        key : point of G1
        base, power : points of G2
        """
        loops = self._curve._loop(key, base)
        return self._curve._agree(loops, self._curve._generator_loop(power))

    @abstractmethod
    def multiply(self, point: Any, scalar: int) -> Any:
        """Return a point of either group times a scalar from 1 to r - 1."""

    @abstractmethod
    def add(self, left: Any, right: Any) -> Any:
        """Return the sum of two points of one group."""

    @abstractmethod
    def encode(self, point: Any) -> bytes:
        """Return the compressed form of a point: 48 bytes of G1, 96 of G2."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def group(name: str | SignatureBackend | None = None) -> Group:
    """Return the arithmetic of a library.

    Parameters
    ----------
    name : {"pyblst", "py_ecc"} or SignatureBackend, optional
        As for `backend`.

    Raises
    ------
    BackendUnavailableError, ParameterError
        As `backend`.
    """
    curve = backend(name)
    with _loading:
        if curve.name not in _loaded:
            module, cls = _GROUPS[curve.name]
            _loaded[curve.name] = getattr(importlib.import_module(module), cls)(curve)
        return _loaded[curve.name]


def random_scalar() -> int:
    """Return a scalar from 1 to r - 1, uniform, from the operating system's randomness."""
    return secrets.randbelow(GROUP_ORDER - 1) + 1


def inverse(scalar: int) -> int:
    """Return the inverse of a scalar modulo r."""
    return pow(scalar, -1, GROUP_ORDER)


def encode_scalar(scalar: int) -> bytes:
    """Return a scalar as 32 bytes, big-endian."""
    return scalar.to_bytes(SCALAR_BYTES, "big")


def decode_scalar(encoded: object, name: str) -> int:
    """Return a scalar from 1 to r - 1.

    Raises
    ------
    PointDecodingError
        If it is not the one encoding of such a scalar.
    """
    if type(encoded) is not bytes or len(encoded) != SCALAR_BYTES:
        raise PointDecodingError(f"{name}: expected {SCALAR_BYTES} bytes")
    scalar = int.from_bytes(encoded, "big")
    if not 1 <= scalar < GROUP_ORDER:
        raise PointDecodingError(f"{name}: expected a scalar below the order of the group")
    return scalar
