"""What messages and headers are made of, and how long it may be."""

from __future__ import annotations

import unicodedata
from typing import Annotated

import msgspec

from ompd.errors import ParameterError
from ompd.params import MAX_TEXT

#: Most queries in one frame.
MAX_BATCH = 100_000
#: Widest values, in 64-bit limbs, and longest vectors.
MAX_LIMBS = 64
MAX_COORDINATES = 4096
#: Longest advice, in characters.
MAX_ADVICE = 65_536
#: The form of a query whose user does not know the schema.
ANY_FORM = bytes(16)
#: Most neighbours: counts of votes travel as 16-bit numbers.
MAX_K = 65_535

PartyId = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Unsigned63 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**32)]
Batch = Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)]
Form = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
TableId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Advice = Annotated[str, msgspec.Meta(max_length=MAX_ADVICE)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096)]


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a frame says."""

    def __repr__(self) -> str:
        # Bodies hold features, tokens and diagnoses, none of which belongs in a log.
        return f"<{type(self).__name__}>"


def check_text(name: str, text: object, *, least: int = 1, most: int = MAX_TEXT) -> None:
    """Refuse what cannot travel as a text of that length.

    Raises
    ------
    ParameterError
    """
    if (
        not isinstance(text, str)
        or not least <= len(text) <= most
        or any("\ud800" <= character <= "\udfff" for character in text)
    ):
        raise ParameterError(f"{name}: expected a text of {least} to {most} characters")


def disease_name(text: str) -> str:
    """Return the name of a disease in the one form in which names are compared (Unicode's NFC).

    Keyboards and file systems differ in whether an umlaut is one character or two.

    Raises
    ------
    ParameterError
        If it cannot travel.
    """
    name = unicodedata.normalize("NFC", text) if isinstance(text, str) else text
    check_text("disease", name)
    return name
