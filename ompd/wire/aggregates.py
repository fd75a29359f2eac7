"""What physician, patients and cloud say to one another for sums of hidden values."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from ompd.wire.canonical import encode
from ompd.wire.fields import Body, Count, PartyId, TableId, Text

#: Most ciphertexts of a contribution, a request or a result.
MAX_PARTS = 16
#: Most values of a contribution: the largest ring has no more coefficients.
MAX_LENGTH = 1 << 16
#: Most patients or hospitals of a collection.
MAX_CONTRIBUTORS = 1 << 20

Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Parts = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_PARTS)]
Contributors = Annotated[int, msgspec.Meta(ge=1, le=MAX_CONTRIBUTORS)]

_TERMS_LABEL = b"ompd/aggregate-terms/1\x00"


class Terms(Body, frozen=True):
    """What is collected and what becomes of it, the same for physician, contributors and cloud.

    Parameters
    ----------
    collection : bytes
        16 random bytes.
    physician : str
        Id of who alone may ask for the result, and can open it.
    cloud : str
        Id of who keeps and adds.
    about : str
        What the values are, for people.
    function : str
        Name of the one function of them that is evaluated.
    least, most : int
        Fewest contributors of which there is a result, and most that are taken.
    length : int
        Values of a contribution.
    bound : int
        Largest absolute value of one.
    key : bytes
        SHA-256 of the public key.
    """

    collection: TableId
    physician: PartyId
    cloud: PartyId
    about: Text
    function: Text
    least: Contributors
    most: Contributors
    length: Annotated[int, msgspec.Meta(ge=1, le=MAX_LENGTH)]
    bound: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    key: Digest

    def digest(self) -> bytes:
        """32 bytes that stand for all of it."""
        return hashlib.sha256(_TERMS_LABEL + encode(self)).digest()


class Collection(Body, frozen=True):
    """Physician to cloud: contributions are to be kept.

    Parameters
    ----------
    terms : Terms
    key : bytes
        Public key with what products need.
    """

    terms: Terms
    key: bytes


class Invitation(Body, frozen=True):
    """Physician to patient or hospital: what can be contributed to.

    Parameters
    ----------
    terms : Terms
    key : bytes
        Public key.
    """

    terms: Terms
    key: bytes


class Contribution(Body, frozen=True):
    """Patient or hospital to cloud: hidden values.

    Parameters
    ----------
    collection : bytes
    terms : bytes
        Digest of the terms that the contributor was told: the cloud takes none on others.
    parts : tuple of bytes
        Ciphertexts, as many as the function takes.
    """

    collection: TableId
    terms: Digest
    parts: Annotated[Parts, msgspec.Meta(min_length=1)]


class CollectionReceipt(Body, frozen=True):
    """Cloud to physician or contributor: what was sent is kept.

    Parameters
    ----------
    collection : bytes
    """

    collection: TableId


class AggregateRequest(Body, frozen=True):
    """Physician to cloud: the function is to be evaluated.

    Parameters
    ----------
    collection : bytes
    contributor : str
        Whose values, for a function of one; empty for a function of all.
    operands : tuple of bytes
        The physician's own, as many as the function takes.
    """

    collection: TableId
    contributor: Annotated[str, msgspec.Meta(max_length=63)]
    operands: Parts


class AggregateResult(Body, frozen=True):
    """Cloud to physician: the hidden result.

    Parameters
    ----------
    collection : bytes
    contributors : int
        Whose values are in it.
    parts : tuple of bytes
        Ciphertexts, finished.
    """

    collection: TableId
    contributors: Count
    parts: Annotated[Parts, msgspec.Meta(min_length=1)]
