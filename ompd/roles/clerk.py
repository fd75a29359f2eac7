"""The cryptography of many frames at once, which other processes may do for a party."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ompd.confidential import Confidential
from ompd.crypto import SigningKey, encrypt
from ompd.errors import OmpdError, TooLargeError
from ompd.wire import CAPS, SIGNATURE_BYTES, Header, encode_signed_part


class Letter(NamedTuple):
    """What a frame is made of.

    Attributes
    ----------
    header : Header
    key : bytes
        Public envelope key of whoever is to read it.
    content : bytes
        An encoded body.
    """

    header: Header
    key: bytes
    content: bytes

    def __repr__(self) -> str:
        return f"<Letter of {len(self.content)} bytes>"


def seal(signing_key: SigningKey, letter: Letter) -> bytes:
    """Return the frame: encrypted, then signed.

    Raises
    ------
    TooLargeError
        If it would be above the cap of its kind.
    OmpdError
        If the envelope key is refused.
    """
    header = letter.header
    ciphertext = encrypt(letter.key, letter.content, header.envelope_info())
    signed, message = encode_signed_part(header, ciphertext)
    size = len(signed) + SIGNATURE_BYTES
    if size > CAPS[header.kind]:
        raise TooLargeError(
            f"frame: a {header.kind.words} of {size} bytes is above the cap of {CAPS[header.kind]}"
        )
    del ciphertext  # a frame may be long; no more copies of it than are needed
    signature = signing_key.sign(message)
    del message
    return signed + signature


class Clerk(Confidential):
    """Seals and verifies many frames, in the thread that asks. For several threads.

    Parameters
    ----------
    signing_key : SigningKey
        Of the party that it works for.
    """

    def __init__(self, signing_key: SigningKey) -> None:
        self._signing_key = signing_key

    @property
    def public_key(self) -> bytes:
        """What its signatures are verified with."""
        return self._signing_key.public_key

    def verify_many(self, items: Sequence[tuple[bytes, bytes, bytes]]) -> list[OmpdError | None]:
        """As `SignatureBackend.verify_many`: a bad signature is told, not raised."""
        return self._signing_key.backend.verify_many(items)

    def seal_many(self, letters: Sequence[Letter]) -> list[bytes | OmpdError]:
        """Return one entry per letter, in order: its frame, or the error that `seal` raises."""
        return [self._sealed(letter) for letter in letters]

    def _sealed(self, letter: Letter) -> bytes | OmpdError:
        try:
            return seal(self._signing_key, letter)
        except OmpdError as error:
            # A new one without traceback, which would keep the letter alive.
            return type(error)(*error.args)
