"""How a recipient of shared records is told to the person who shares: by a line of text."""

from __future__ import annotations

import base64
import binascii

from ompd.crypto import check_id
from ompd.errors import KeyMaterialError


class CodeError(KeyMaterialError):
    """What was typed is no code of a recipient."""


_PUBLIC_BYTES = 48


def code_of(party: str, public: bytes) -> str:
    """Return the code of a recipient: the id, and the public key that records are granted to."""
    return f"{party}:{base64.urlsafe_b64encode(public).decode()}"


def read_code(code: str) -> tuple[str, bytes]:
    """Return id and public key of a code.

    Raises
    ------
    CodeError
        If it is none.
    """
    party, _, text = "".join(code.split()).rpartition(":")
    public = b""
    try:
        public = base64.b64decode(text, altchars=b"-_", validate=True)
        check_id(party)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != _PUBLIC_BYTES:
        raise CodeError("code: expected name:key, as the recipient's page shows it")
    return party, public
