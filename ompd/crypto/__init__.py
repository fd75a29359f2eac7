"""Signatures, encrypted envelopes and the identities that own the keys.

Most callers need `Identity`, `Directory` and `encrypt`. The signature backends are loaded when the
first key is made or checked, not when this package is imported.
"""

from __future__ import annotations

from ompd.crypto.backends import backend
from ompd.crypto.directory import Directory, PartyDirectory, check_fresh, merged
from ompd.crypto.envelope import (
    COMPACT,
    POST_QUANTUM,
    check_envelope_key,
    check_suite,
    encrypt,
    overhead,
    suite_of,
)
from ompd.crypto.identity import Identity, PublicIdentity, check_id
from ompd.crypto.keys import EnvelopeKey, SigningKey
from ompd.crypto.prekeys import Prekeys, SignedPrekey
from ompd.crypto.signatures import SignatureBackend

__all__ = [
    "COMPACT",
    "POST_QUANTUM",
    "Directory",
    "EnvelopeKey",
    "Identity",
    "PartyDirectory",
    "Prekeys",
    "PublicIdentity",
    "SignatureBackend",
    "SignedPrekey",
    "SigningKey",
    "backend",
    "check_envelope_key",
    "check_fresh",
    "check_id",
    "check_suite",
    "encrypt",
    "merged",
    "overhead",
    "suite_of",
]
