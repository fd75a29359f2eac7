"""What dealer, clouds and physician say to one another to match features with templates.

A session is one match: its 16 bytes are the nonce of every frame of it. Material travels as that of
images does, in `ImageMaterial`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ompd.wire.fields import Body, Nonce, PartyId, Unsigned63
from ompd.wire.images import Depth, StreamKey

#: Most rounds between the clouds.
MATCH_ROUNDS = 64

Rows = Annotated[int, msgspec.Meta(ge=0, le=4096)]
Share = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class MatchKey(Body, frozen=True):
    """Dealer to cloud: what it draws its part of a match from.

    Parameters
    ----------
    features, templates : int
        Most features, and how many templates.
    depth : int
        Bits of a pixel of the image that the features are of.
    leader : bool
        Of the two clouds one leads; the other one gets material.
    other, patient, physician : str
        Ids of the other cloud, of whose image is matched, and of who has the templates.
    key : bytes
        16 secret bytes.
    size : int
        Bytes of material that follow.
    """

    features: Rows
    templates: Rows
    depth: Depth
    leader: bool
    other: PartyId
    patient: PartyId
    physician: PartyId
    key: StreamKey
    size: Unsigned63


class MatchTicket(Body, frozen=True):
    """Dealer to physician: that there is a session, and who takes part.

    Parameters
    ----------
    features, templates, depth : int
        As in `MatchKey`.
    leader, other : str
        Ids of the clouds.
    patient, physician : str
    """

    features: Rows
    templates: Rows
    depth: Depth
    leader: PartyId
    other: PartyId
    patient: PartyId
    physician: PartyId


class Templates(Body, frozen=True):
    """Physician to cloud: shares of a collection of templates; the frame's nonce names it.

    Parameters
    ----------
    shares : bytes
        Rows of 128 little-endian uint32.
    """

    shares: bytes


class MatchRequest(Body, frozen=True):
    """Physician to cloud: which features and which templates are to be matched.

    Parameters
    ----------
    features : bytes
        The session of the image.
    templates : bytes
        The name of the collection.
    """

    features: Nonce
    templates: Nonce


class MatchRound(Body, frozen=True):
    """Cloud to cloud: what it opens in a round.

    Parameters
    ----------
    number : int
        From 1 on.
    features, templates : bytes
        As in `MatchRequest`: both clouds must have been asked for the same.
    content : bytes
        Little-endian arrays, one after the other.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=MATCH_ROUNDS)]
    features: Nonce
    templates: Nonce
    content: bytes


class MatchCount(Body, frozen=True):
    """Cloud to physician: its share, modulo 2^32, of how many features match.

    Parameters
    ----------
    share : int
    """

    share: Share
