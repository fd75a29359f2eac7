"""Requests to an authority that name nobody: encrypted, not signed; what pays for them is inside.

The answer is encrypted to a fresh key that the request holds. Nobody but the authority can read
the request, so nobody else can make an answer that opens.
"""

from __future__ import annotations

import hashlib

from ompd.crypto import EnvelopeKey, encrypt
from ompd.wire import decode_body, encode_body
from ompd.wire.payments import Evaluated, Evaluation

REQUEST_LABEL = b"ompd/evaluation/1\x00"
_ANSWER_LABEL = b"ompd/evaluated/1\x00"


def seal_request(body: Evaluation, authority: bytes) -> bytes:
    """Return the letter, encrypted to a public envelope key of the authority."""
    return encrypt(authority, encode_body(body), REQUEST_LABEL)


def open_answer(letter: bytes, answer: bytes, key: EnvelopeKey) -> Evaluated:
    """Return what the authority answered to a letter.

    Raises
    ------
    DecryptionError, FrameError
        If it is no answer to this letter.
    """
    return decode_body(Evaluated, key.decrypt(answer, answer_info(letter)))


def answer_info(letter: bytes) -> bytes:
    """Return what binds an answer to its letter."""
    return _ANSWER_LABEL + hashlib.sha256(letter).digest()
