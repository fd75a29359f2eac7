"""What patient, clouds, dealer and physician say to one another about one image.

A session is one image: its 16 bytes are the nonce of every frame of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ompd.wire.fields import Body, PartyId, Unsigned63

#: Most rounds between the clouds: of hidden mode; extract mode has four.
ROUNDS = 8
#: Largest part of the dealer's material in one frame, in bytes.
MATERIAL_PART = 8 << 20

Side = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
Mode = Literal["hidden", "extract"]
Depth = Annotated[int, msgspec.Meta(ge=8, le=16)]
StreamKey = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class ImageKey(Body, frozen=True):
    """Dealer to cloud: what it draws its part of a session from.

    Parameters
    ----------
    height, width, depth : int
        Of the image: pixels, and bits of a pixel.
    leader : bool
        Of the two clouds one leads; the other one gets material.
    other, patient, physician : str
        Ids of the other cloud, of who may upload, and of who may read.
    key : bytes
        16 secret bytes.
    size : int
        Bytes of material that follow.
    mode : {"hidden", "extract"}
        Nothing that was dealt for one can be used for the other.
    """

    height: Side
    width: Side
    depth: Depth
    leader: bool
    other: PartyId
    patient: PartyId
    physician: PartyId
    key: StreamKey
    size: Unsigned63
    mode: Mode


class ImageMaterial(Body, frozen=True):
    """Dealer to the cloud that does not lead: a part of its material.

    Parameters
    ----------
    offset : int
        Where it belongs; parts come in order.
    content : bytes
    """

    offset: Unsigned63
    content: bytes


class ImageTicket(Body, frozen=True):
    """Dealer to patient and physician: that there is a session, and who takes part.

    Parameters
    ----------
    height, width, depth : int
    leader, other : str
        Ids of the clouds.
    patient, physician : str
    mode : {"hidden", "extract"}
    """

    height: Side
    width: Side
    depth: Depth
    leader: PartyId
    other: PartyId
    patient: PartyId
    physician: PartyId
    mode: Mode


class ImageRequest(Body, frozen=True):
    """Patient to cloud: an image of this size is to be masked.

    Parameters
    ----------
    height, width, depth : int
    mode : {"hidden", "extract"}
    disclosed : bool
        In hidden mode: whether the physician gets what was found.
    """

    height: Side
    width: Side
    depth: Depth
    mode: Mode
    disclosed: bool


class ImageSeed(Body, frozen=True):
    """Cloud to patient: what its mask of the pixels is drawn from.

    Parameters
    ----------
    key : bytes
        16 secret bytes.
    """

    key: StreamKey


class MaskedImage(Body, frozen=True):
    """Patient to cloud: the image plus both masks, modulo 2^64.

    Parameters
    ----------
    pixels : bytes
        Row by row, little-endian uint64.
    """

    pixels: bytes


class ImageRound(Body, frozen=True):
    """Cloud to cloud: what it opens in a round, little-endian numbers.

    Parameters
    ----------
    number : int
        From 1 on.
    words : bytes
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=ROUNDS)]
    words: bytes


class ImageCandidates(Body, frozen=True):
    """Cloud to physician: where keypoints may lie, and its share of the differences around.

    Parameters
    ----------
    places : bytes
        Rows of four little-endian uint16: octave, layer, y, x.
    cubes : bytes
        125 little-endian uint64 each.
    """

    places: bytes
    cubes: bytes


class ImagePoints(Body, frozen=True):
    """Physician to cloud: the accepted candidates; it asks for their orientations.

    Parameters
    ----------
    places : bytes
        As in `ImageCandidates`.
    scales : bytes
        Blur in pixels of the octave, little-endian float64.
    """

    places: bytes
    scales: bytes


class ImagePoses(Body, frozen=True):
    """Physician to cloud: points with orientations; it asks for their descriptors.

    Parameters
    ----------
    places : bytes
        As in `ImageCandidates`.
    poses : bytes
        Rows of four little-endian float64: blur, degrees, their cosine and sine.
    """

    places: bytes
    poses: bytes


class ImageSums(Body, frozen=True):
    """Cloud to physician: its share of the sums of gradients that were asked for.

    Parameters
    ----------
    described : bool
        Whether these are descriptors, 128 sums each, or orientations, 36 each.
    sums : bytes
        Little-endian uint32.
    """

    described: bool
    sums: bytes


class ImageFeatures(Body, frozen=True):
    """Cloud to physician: its shares of what hidden mode found, if the patient disclosed it.

    Parameters
    ----------
    numbers : bytes
        Of the lane of each feature; little-endian uint32.
    sums : bytes
        128 sums each, little-endian uint32.
    """

    numbers: bytes
    sums: bytes
