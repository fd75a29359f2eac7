"""The patient: masks an image for two clouds."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ompd.errors import ContextMismatchError, MaterialError
from ompd.images.pixels import depth_of, fixed_point
from ompd.images.streams import pixel_mask
from ompd.roles.imaging.delivery import Outgoing
from ompd.roles.party import Party
from ompd.wire import ImageRequest, ImageSeed, ImageTicket, Kind, MaskedImage

Shape = tuple[int, int, int]


class Patient(Party):
    """Uploads images that no cloud sees."""

    role = "patient"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tickets: dict[bytes, ImageTicket] = {}
        self._images: dict[bytes, npt.NDArray[np.uint64]] = {}
        self._seeds: dict[bytes, dict[str, bytes]] = {}

    def submit(
        self,
        image: npt.NDArray[Any],
        *,
        mode: Literal["hidden", "extract"] = "hidden",
        disclose: bool = False,
    ) -> list[Outgoing]:
        """Ask both clouds to take part for an image; it is sent once they answer.

        Parameters
        ----------
        image : ndarray of uint8 or uint16, (height, width)
            Grey levels; the largest value of the type is white. Of 16 bits the upper twelve are
            kept.
        mode : {"hidden", "extract"}, default "hidden"
            Of what was dealt.
        disclose : bool, default False
            In hidden mode: whether the physician gets places and descriptors of the features. In
            extract mode it always does.

        Raises
        ------
        ImageError
            If it is of another type or shape.
        MaterialError
            If nothing was dealt for an image of this size in this mode.
        """
        depth = depth_of(image)
        shape = (image.shape[0], image.shape[1], depth)
        suitable = (
            session
            for session, each in self._tickets.items()
            if ((each.height, each.width, each.depth), each.mode) == (shape, mode)
        )
        if (session := next(suitable, None)) is None:
            raise MaterialError("image: nothing was dealt for this height, width, depth and mode")
        ticket = self._tickets.pop(session)
        self._images[session] = fixed_point(image, depth)
        self._seeds[session] = dict.fromkeys((ticket.leader, ticket.other), b"")
        body = ImageRequest(*shape, mode, disclose)
        return [
            (cloud, self._post.send(cloud, body, nonce=session, sequence=0))
            for cloud in (ticket.leader, ticket.other)
        ]

    def receive(self, frame: bytes) -> list[Outgoing]:
        """Take a dealer's ticket or a cloud's seed; return what is to be sent.

        Raises
        ------
        OmpdError
            If the frame is not acceptable; nothing has changed then.
        """
        decoded = self._post.authenticate(frame, Kind.IMAGE_TICKET, Kind.IMAGE_SEED)
        header = decoded.header
        session = header.nonce
        if header.kind is Kind.IMAGE_TICKET:
            ticket = self._post.open(decoded, ImageTicket)
            if ticket.patient != self.id:
                raise ContextMismatchError("ticket: is for another patient")
            self._post.claim(decoded)
            self._tickets[session] = ticket
            return []
        seeds = self._seeds.get(session)
        if seeds is None or seeds.get(header.sender) != b"":
            raise ContextMismatchError("seed: was not asked for")
        seed = self._post.open(decoded, ImageSeed)
        self._post.claim(decoded)
        seeds[header.sender] = seed.key
        if not all(seeds.values()):
            return []
        # Both are forgotten with the image: nothing is masked by them again.
        del self._seeds[session]
        image = self._images.pop(session)
        for key in seeds.values():
            image += pixel_mask(key, *image.shape)
        body = MaskedImage(image.astype("<u8", copy=False).tobytes())
        return [(cloud, self._post.send(cloud, body, nonce=session, sequence=1)) for cloud in seeds]
