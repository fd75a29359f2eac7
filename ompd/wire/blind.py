"""What user and hospital say to one another for a diagnosis that only the user sees."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ompd.params import MAX_CLASSES
from ompd.wire.fields import Advice, Batch, Body, Form, PublicKey, Text

#: Longest key of a user, in bytes.
MAX_KEY_BYTES = 4 << 20
#: Longest query and reply, in bytes.
MAX_SEALED_BYTES = 1 << 20

KeyId = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class BlindKey(Body, frozen=True):
    """User to hospital: the public half of the key that queries will be encrypted with.

    Parameters
    ----------
    key : bytes
        As `ompd.scoring.PublicKey` reads it.
    """

    key: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_KEY_BYTES)]


class BlindKeyReceipt(Body, frozen=True):
    """Hospital to user: the key is there.

    Parameters
    ----------
    key_id : bytes
        SHA-256 of the key.
    """

    key_id: KeyId


class BlindQuery(Body, frozen=True):
    """User to hospital: in which cells the features lie, encrypted with the user's own key.

    Parameters
    ----------
    disease : str
    edition : bytes
        Which model the cells are of, by the hospital's catalogue.
    rows : int
        Number of vectors, in one ciphertext.
    key_id : bytes
        SHA-256 of the user's key, which the hospital has.
    cells : bytes
        As `ompd.scoring` seals them.
    reply_key : bytes
        Public envelope key that the answer is encrypted to, fresh for this query.
    """

    disease: Text
    edition: Form
    rows: Batch
    key_id: KeyId
    cells: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_SEALED_BYTES)]
    reply_key: PublicKey


class BlindReport(Body, frozen=True):
    """Hospital to user: scores under the user's key, and what can be said about every class.

    Parameters
    ----------
    edition : bytes
    findings : tuple of (label, advice)
        Of all classes, in their order: the hospital does not know which it is.
    scores : bytes
        As `ompd.scoring` opens them.
    """

    edition: Form
    findings: Annotated[
        tuple[tuple[Text, Advice], ...], msgspec.Meta(min_length=2, max_length=MAX_CLASSES)
    ]
    scores: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_SEALED_BYTES)]
