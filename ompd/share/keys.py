"""The secret of a person who shares, and the keys that follow from it."""

from __future__ import annotations

import secrets
from typing import Self

from ompd.confidential import Confidential
from ompd.crypto.groups import Group, group
from ompd.crypto.signatures import SignatureBackend
from ompd.crypto.symmetric import KEY_BYTES, derive_scalar
from ompd.errors import KeyMaterialError, ParameterError
from ompd.share.scopes import Scope

_SCOPE_LABEL = b"ompd/share/scope/1\x00"
_RECEIVING_LABEL = b"ompd/share/receiving/1\x00"


class ScopeKey(Confidential):
    """The key of one scope.

    Made by `SharingKey.scope`.

    Attributes
    ----------
    scope : Scope
    secret : int
        Opens every record of the scope.
    public : bytes
        What others seal to, 48 bytes.
    group : Group
    """

    __slots__ = ("group", "public", "scope", "secret")

    def __init__(self, scope: Scope, secret: int, arithmetic: Group) -> None:
        self.scope = scope
        self.secret = secret
        self.group = arithmetic
        self.public = arithmetic.encode(arithmetic.multiply(arithmetic.generator, secret))


class SharingKey(Confidential):
    """What one person's scoped keys follow from, and the key that others grant to.

    Parameters
    ----------
    secret : bytes
        32 bytes; `generate` draws them.
    backend : str or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.

    Attributes
    ----------
    public : bytes
        What others grant to, 48 bytes.
    group : Group

    Raises
    ------
    KeyMaterialError
        If the secret is not 32 bytes.
    """

    __slots__ = ("_secret", "group", "public", "receiving")

    def __init__(self, secret: bytes, backend: str | SignatureBackend | None = None) -> None:
        if type(secret) is not bytes or len(secret) != KEY_BYTES:
            raise KeyMaterialError(f"secret: expected {KEY_BYTES} bytes")
        self._secret = secret
        self.group = group(backend)
        self.receiving = derive_scalar(_RECEIVING_LABEL, secret)
        point = self.group.multiply(self.group.generator, self.receiving)
        self.public = self.group.encode(point)

    @classmethod
    def generate(cls, backend: str | SignatureBackend | None = None) -> Self:
        """Draw a secret from the operating system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES), backend)

    def to_bytes(self) -> bytes:
        """Return the **secret**, 32 bytes."""
        return self._secret

    def scope(self, scope: Scope) -> ScopeKey:
        """Return the key of a scope, the same each time.

        Raises
        ------
        ParameterError
            If it is none.
        """
        if not isinstance(scope, Scope):
            raise ParameterError(f"scope: expected Scope, got {type(scope).__name__}")
        secret = derive_scalar(_SCOPE_LABEL, self._secret, scope.to_bytes())
        return ScopeKey(scope, secret, self.group)
