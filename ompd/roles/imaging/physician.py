"""The physician: reads features from what two clouds send."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.errors import ContextMismatchError
from ompd.images.geometry import BINS
from ompd.images.hidden.layout import HiddenGeometry
from ompd.images.hidden.reading import check_numbers, disclosed
from ompd.images.modes import mode
from ompd.images.reading import Features, Points, Poses
from ompd.images.rounds import numbers
from ompd.roles.imaging.counting import Counts
from ompd.roles.imaging.delivery import Outgoing
from ompd.roles.imaging.places import read_places, write_places
from ompd.roles.party import Party
from ompd.wire import (
    Body,
    Frame,
    ImageCandidates,
    ImageFeatures,
    ImagePoints,
    ImagePoses,
    ImageSums,
    ImageTicket,
    Kind,
)


class _Reading:
    """What is known of one image."""

    def __init__(self, ticket: ImageTicket) -> None:
        self.clouds = (ticket.leader, ticket.other)
        self.geometry = mode(ticket.mode).geometry(ticket.height, ticket.width, ticket.depth)
        hidden = isinstance(self.geometry, HiddenGeometry)
        self.wanted = Kind.IMAGE_FEATURES if hidden else Kind.IMAGE_CANDIDATES
        #: Shares of what is wanted now, by cloud.
        self.shares: dict[str, Any] = {}
        self.points: Points | None = None
        self.poses: Poses | None = None
        self.features: Features | None = None


class Physician(Party):
    """Gets keypoints and descriptors of images that were dealt for, or counts of matches."""

    role = "physician"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._readings: dict[bytes, _Reading] = {}
        self._counts = Counts(self._post)

    @property
    def sessions(self) -> list[bytes]:
        """Sessions that were dealt for this physician, oldest first."""
        return list(self._readings)

    def drop(self, session: bytes) -> None:
        """Forget an image, such as one whose features the patient does not disclose."""
        self._readings.pop(session, None)

    def features(self, session: bytes | None = None) -> Features:
        """Return the features of an image, and forget it.

        Parameters
        ----------
        session : bytes, optional
            The oldest that is read by default.

        Raises
        ------
        ContextMismatchError
            If there is no such session, or it is not read yet.
        """
        for name, reading in self._readings.items():
            if session in (None, name) and reading.features is not None:
                del self._readings[name]
                return reading.features
        raise ContextMismatchError("session: its features are not here")

    def upload_templates(
        self, descriptors: npt.NDArray[Any], clouds: tuple[str, str]
    ) -> tuple[bytes, list[Outgoing]]:
        """Share templates between two clouds, neither of which learns more than how many.

        Parameters
        ----------
        descriptors : ndarray of float, (m, 128)
            At most 4096 rows, of any length above 0, no entry below 0: those of `Features`, or
            OpenCV's.
        clouds : tuple of str
            Ids of both.

        Returns
        -------
        (bytes, list of (str, bytes))
            The collection's name of 16 bytes, and what is to be sent.

        Raises
        ------
        ParameterError
            If they are no such descriptors.
        """
        return self._counts.upload(descriptors, clouds)

    def match(self, features: bytes, templates: bytes, depth: int = 8) -> list[Outgoing]:
        """Ask both clouds how many features of an image match templates, by the ratio test at .8.

        Parameters
        ----------
        features : bytes
            The session of the image.
        templates : bytes
            The collection's name.
        depth : {8, 16}
            Bits of the image's pixels.

        Raises
        ------
        ContextMismatchError
            If no collection of that name was uploaded.
        MaterialError
            If nothing was dealt for a match with so many templates.
        """
        return self._counts.match(features, templates, depth)

    def matches(self, session: bytes | None = None) -> int:
        """Return how many features matched, and forget it.

        Parameters
        ----------
        session : bytes, optional
            Of the match; the oldest that was answered by default.

        Raises
        ------
        ContextMismatchError
            If there is no such session, or it is not answered yet.
        """
        return self._counts.count(session)

    @property
    def asked(self) -> list[bytes]:
        """Sessions of matches whose counts were not read yet, oldest first."""
        return self._counts.sessions

    def receive(self, frame: bytes) -> list[Outgoing]:
        """Take a dealer's ticket or a cloud's shares; return what is to be sent.

        Raises
        ------
        OmpdError
            If the frame is not acceptable; nothing has changed then.
        """
        decoded = self._post.authenticate(
            frame, Kind.IMAGE_TICKET, Kind.IMAGE_CANDIDATES, Kind.IMAGE_SUMS, Kind.IMAGE_FEATURES,
            Kind.MATCH_TICKET, Kind.MATCH_COUNT,
        )  # fmt: skip
        header = decoded.header
        if header.kind in (Kind.MATCH_TICKET, Kind.MATCH_COUNT):
            return self._counts.take(decoded)
        if header.kind is Kind.IMAGE_TICKET:
            ticket = self._post.open(decoded, ImageTicket)
            if ticket.physician != self.id:
                raise ContextMismatchError("ticket: is for another physician")
            reading = _Reading(ticket)
            self._post.claim(decoded)
            self._readings[header.nonce] = reading
            return []
        reading = self._of(decoded)
        share = self._share(reading, decoded)
        self._post.claim(decoded)
        reading.shares[header.sender] = share
        if len(reading.shares) < 2:
            return []
        left, right = reading.shares.values()
        reading.shares = {}
        body = self._next(reading, left, right)
        if body is None:
            return []
        sequence = 0 if isinstance(body, ImagePoints) else 1
        return [
            (cloud, self._post.send(cloud, body, nonce=header.nonce, sequence=sequence))
            for cloud in reading.clouds
        ]

    def _of(self, frame: Frame) -> _Reading:
        header = frame.header
        reading = self._readings.get(header.nonce)
        if reading is None or header.sender not in reading.clouds:
            raise ContextMismatchError("frame: belongs to no session of this physician and cloud")
        if header.kind is not reading.wanted or header.sender in reading.shares or reading.features:
            raise ContextMismatchError("frame: is not what comes next in its session")
        return reading

    def _share(self, reading: _Reading, frame: Frame) -> Any:
        """Open and check one cloud's share."""
        if reading.wanted is Kind.IMAGE_CANDIDATES:
            body = self._post.open(frame, ImageCandidates)
            places = read_places(reading.geometry, body.places)
            cubes = numbers(body.cubes, "<u8", np.uint64, 125 * len(places), "cubes")
            for known, _ in reading.shares.values():
                if not np.array_equal(known, places):
                    raise ContextMismatchError("candidates: the clouds name different ones")
            return places, cubes.reshape(-1, 5, 5, 5)
        if reading.wanted is Kind.IMAGE_FEATURES:
            return self._found(reading, frame)
        sums = self._post.open(frame, ImageSums)
        described = reading.poses is not None
        if sums.described != described:
            raise ContextMismatchError("sums: are not what comes next in this session")
        if reading.poses is not None:
            rows, width = len(reading.poses.places), 128
        else:
            assert reading.points is not None  # noqa: S101  (sums are wanted after points)
            rows, width = len(reading.points.places), BINS
        return numbers(sums.sums, "<u4", np.uint32, rows, "sums", width)

    def _found(self, reading: _Reading, frame: Frame) -> Any:
        """Open and check one cloud's share of what hidden mode found."""
        body = self._post.open(frame, ImageFeatures)
        found = numbers(body.numbers, "<u4", np.uint32, None, "numbers")
        for known, _ in reading.shares.values():
            if len(known) != len(found):
                raise ContextMismatchError("features: the clouds have different numbers of them")
            assert isinstance(reading.geometry, HiddenGeometry)  # noqa: S101  (of the ticket)
            check_numbers(reading.geometry, known + found)
        return found, numbers(body.sums, "<u4", np.uint32, len(found), "sums", 128)

    def _next(self, reading: _Reading, left: Any, right: Any) -> Body | None:
        """Go on with both shares; return what to ask of both clouds."""
        size = reading.geometry
        if isinstance(size, HiddenGeometry):
            reading.features = disclosed(size, left[0] + right[0], left[1] + right[1])
            return None
        if reading.wanted is Kind.IMAGE_CANDIDATES:
            reading.wanted = Kind.IMAGE_SUMS
            reading.points = points = Points(size, left[0], left[1] + right[1])
            scales = points.scales.astype("<f8", copy=False).tobytes()
            return ImagePoints(write_places(points.places), scales)
        if reading.poses is None:
            assert reading.points is not None  # noqa: S101
            reading.poses = poses = reading.points.posed(size, left + right)
            values = poses.poses.astype("<f8", copy=False).tobytes()
            return ImagePoses(write_places(poses.places), values)
        reading.features = reading.poses.described(size, left + right)
        return None
