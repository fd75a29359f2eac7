"""The dealer: it makes correlated randomness, and sees neither images nor what clouds exchange."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Literal

from ompd.errors import ParameterError
from ompd.images.match_material import deal_match
from ompd.images.match_plan import MatchPlan, match_plan
from ompd.images.material import Array
from ompd.images.modes import mode as mode_of
from ompd.images.streams import Draws
from ompd.roles.imaging.delivery import Outgoing
from ompd.roles.party import Party
from ompd.wire import (
    MATERIAL_PART,
    Body,
    ImageKey,
    ImageMaterial,
    ImageTicket,
    MatchKey,
    MatchTicket,
)


class Authority(Party):
    """Deals material for images.

    Together with one of the clouds it could read every image: it must work with neither. It keeps
    nothing of what it dealt.
    """

    role = "authority"

    def deal(
        self,
        height: int,
        width: int,
        depth: int = 8,
        *,
        mode: Literal["hidden", "extract"] = "hidden",
        clouds: tuple[str, str],
        patient: str,
        physician: str,
    ) -> Iterator[Outgoing]:
        """Make what one image takes.

        Parameters
        ----------
        height, width : int
            Pixels, 16 to 512.
        depth : {8, 16}
            Bits of a pixel.
        mode : {"hidden", "extract"}, default "hidden"
            Whether clouds learn how many features there are, or where they are.
        clouds : tuple of str
            Ids of two clouds; the first one leads, the second one gets the material.
        patient, physician : str
            Ids of who may upload the image, and of who may read its features.

        Yields
        ------
        (str, bytes)
            Recipient and frame, in the order in which they are to be delivered. Material is made
            as it is asked for; memory holds one part of 8 MiB.

        Raises
        ------
        ParameterError
            If size, depth or mode is not possible, or a party takes part twice.
        UnknownKeyError
            If a party is not registered here.
        """
        mode_of(mode).geometry(height, width, depth)
        if len({*clouds, patient, physician, self.id}) != 5 or len(clouds) != 2:
            raise ParameterError("clouds: expected two, and everybody in one place only")
        return self._deal((height, width, depth), mode, clouds, patient, physician)

    def _deal(
        self,
        shape: tuple[int, int, int],
        mode: Literal["hidden", "extract"],
        clouds: tuple[str, str],
        patient: str,
        physician: str,
    ) -> Iterator[Outgoing]:
        session = secrets.token_bytes(16)
        chosen = mode_of(mode)
        size = chosen.geometry(*shape)
        plan = chosen.plan(size)
        draws = Draws.generate(), Draws.generate()

        def frame(recipient: str, body: Body, sequence: int) -> Outgoing:
            return recipient, self._post.send(recipient, body, nonce=session, sequence=sequence)

        for leader, cloud, other, own in zip(
            (True, False), clouds, reversed(clouds), draws, strict=True
        ):
            bytes_after = 0 if leader else plan.size
            key = ImageKey(*shape, leader, other, patient, physician, own.key, bytes_after, mode)
            yield frame(cloud, key, 0)
        for body in _parts(chosen.deal(size, *draws)):
            yield frame(clouds[1], body, body.offset)
        # Last, so that nobody asks for a session that is not complete.
        ticket = ImageTicket(*shape, *clouds, patient, physician, mode)
        yield frame(patient, ticket, 0)
        yield frame(physician, ticket, 0)

    def deal_match(
        self,
        features: int,
        templates: int,
        depth: int = 8,
        *,
        clouds: tuple[str, str],
        patient: str,
        physician: str,
    ) -> Iterator[Outgoing]:
        """Make what one match takes.

        Parameters
        ----------
        features : int
            Of the image at most, 0 to 4096. A match takes time and bytes for as many as there are.
        templates : int
            Of the collection, 0 to 4096.
        depth : {8, 16}
            Bits of a pixel of the image.
        clouds : tuple of str
            Ids of two clouds; the first one leads, the second one gets the material.
        patient, physician : str
            Ids of whose image it is, and of who has the templates and gets the count.

        Yields
        ------
        (str, bytes)
            As `deal`.

        Raises
        ------
        ParameterError
            If the numbers or the depth are not possible, or a party takes part twice.
        UnknownKeyError
            If a party is not registered here.
        """
        plan = match_plan(features, templates, depth)
        if len({*clouds, patient, physician, self.id}) != 5 or len(clouds) != 2:
            raise ParameterError("clouds: expected two, and everybody in one place only")
        return self._deal_match((features, templates, depth), plan, clouds, patient, physician)

    def _deal_match(
        self,
        shape: tuple[int, int, int],
        plan: MatchPlan,
        clouds: tuple[str, str],
        patient: str,
        physician: str,
    ) -> Iterator[Outgoing]:
        session = secrets.token_bytes(16)
        draws = Draws.generate(), Draws.generate()

        def frame(recipient: str, body: Body, sequence: int) -> Outgoing:
            return recipient, self._post.send(recipient, body, nonce=session, sequence=sequence)

        for leader, cloud, other, own in zip(
            (True, False), clouds, reversed(clouds), draws, strict=True
        ):
            size = 0 if leader else plan.size
            key = MatchKey(*shape, leader, other, patient, physician, own.key, size)
            yield frame(cloud, key, 0)
        for body in _parts(deal_match(plan, *draws)):
            yield frame(clouds[1], body, body.offset)
        yield frame(physician, MatchTicket(*shape, *clouds, patient, physician), 0)


def _parts(pieces: Iterator[Array]) -> Iterator[ImageMaterial]:
    """Material in parts of 8 MiB."""
    offset = 0
    part = bytearray()
    for piece in pieces:
        part += piece.data.cast("B")
        while len(part) >= MATERIAL_PART:
            yield ImageMaterial(offset, bytes(part[:MATERIAL_PART]))
            offset += MATERIAL_PART
            del part[:MATERIAL_PART]
    if part:
        yield ImageMaterial(offset, bytes(part))
