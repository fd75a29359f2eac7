"""One of two clouds: computes on a masked image with the other one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ompd.errors import BusyError, ContextMismatchError, FramingError, RangeError, RoleError
from ompd.images.extraction import Extraction
from ompd.images.features import MOST_ROWS, SharedFeatures, Sums
from ompd.images.geometry import BINS
from ompd.images.hidden.concealment import Concealment
from ompd.images.hidden.layout import HiddenGeometry
from ompd.images.material import DrawnMaterial, Material, StoredMaterial
from ompd.images.modes import mode
from ompd.images.operators import SIGMA, Ints, Reals
from ompd.images.rounds import numbers, pack, unpack
from ompd.images.streams import Draws
from ompd.roles.imaging.dealt import read_dealt, write_dealt
from ompd.roles.imaging.delivery import Outgoing
from ompd.roles.imaging.matching import MatchDesk
from ompd.roles.imaging.places import read_places, write_places
from ompd.roles.party import Party
from ompd.stores.material import MaterialStock
from ompd.wire import (
    Body,
    Frame,
    ImageCandidates,
    ImageFeatures,
    ImageKey,
    ImageMaterial,
    ImagePoints,
    ImagePoses,
    ImageRequest,
    ImageRound,
    ImageSeed,
    ImageSums,
    Kind,
    MaskedImage,
)

#: Sessions that a cloud works on at a time; each takes some hundred bytes per pixel.
MOST_SESSIONS = 64
_MATCH_KINDS = (Kind.MATCH_KEY, Kind.TEMPLATES, Kind.MATCH_REQUEST, Kind.MATCH_ROUND)
#: Orientations of a point: peaks of a histogram of 36 bins, not next to each other.
_MOST_POSES = BINS // 2


class _Session:
    """An image that is worked on."""

    def __init__(self, dealt: ImageKey, work: Extraction | Concealment, *, disclosed: bool) -> None:
        self.dealt = dealt
        self.work = work
        self.disclosed = disclosed
        self.wanted: tuple[Kind, str, int] = (Kind.MASKED_IMAGE, dealt.patient, 1)
        #: The other cloud's first round, if it was faster than the patient.
        self.early: ImageRound | None = None
        self.candidates: Ints = np.empty((0, 4), np.int64)
        #: Places whose sums were asked for, and the blur at each.
        self.points: Reals = np.empty((0, 5))


class ImageCloud(Party):
    """Finds features in images that it does not see, with another cloud.

    Parameters
    ----------
    *args, **options
        As for `Party`.
    stock : MaterialStock, optional
        Where material is kept and marked as used; in memory by default.

    Notes
    -----
    A session that fails stays unusable, whatever the reason: its material is spent once the patient
    was sent the seed.
    """

    role = "cloud"

    def __init__(self, *args: Any, stock: MaterialStock | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stock = MaterialStock() if stock is None else stock
        self._sessions: dict[bytes, _Session] = {}
        #: Features and templates, and matches of them.
        self.matches = MatchDesk(self._post, self._stock)

    def drop(self, session: bytes) -> None:
        """Forget an image, or a match that is worked on; what was dealt for it is lost."""
        self._sessions.pop(session, None)
        self.matches.drop(session)

    def receive(self, frame: bytes) -> list[Outgoing]:
        """Take a frame of any of the others; return what is to be sent.

        Raises
        ------
        OmpdError
            If the frame is not acceptable; nothing has changed then.
        """
        decoded = self._post.authenticate(
            frame, Kind.IMAGE_KEY, Kind.IMAGE_MATERIAL, Kind.IMAGE_REQUEST, Kind.MASKED_IMAGE,
            Kind.IMAGE_ROUND, Kind.IMAGE_POINTS, Kind.IMAGE_POSES, *_MATCH_KINDS,
        )  # fmt: skip
        kind = decoded.header.kind
        if kind in _MATCH_KINDS:
            return self.matches.take(decoded)
        if kind is Kind.IMAGE_KEY:
            return self._take_key(decoded)
        if kind is Kind.IMAGE_MATERIAL:
            return self._take_material(decoded)
        if kind is Kind.IMAGE_REQUEST:
            return self._begin(decoded)
        session = self._expecting(decoded)
        if kind is Kind.MASKED_IMAGE:
            return self._take_image(session, decoded)
        if kind is Kind.IMAGE_ROUND:
            return self._take_round(session, decoded)
        if kind is Kind.IMAGE_POINTS:
            return self._take_points(session, decoded)
        return self._take_poses(session, decoded)

    def _take_key(self, frame: Frame) -> list[Outgoing]:
        dealt = self._post.open(frame, ImageKey)
        chosen = mode(dealt.mode)
        expected = chosen.plan(chosen.geometry(dealt.height, dealt.width, dealt.depth)).size
        if dealt.size != (0 if dealt.leader else expected):
            raise RangeError("key: expected the size of the material of such an image")
        self._post.claim(frame)
        self._stock.add(frame.header.nonce, write_dealt(dealt), dealt.size)
        return []

    def _take_material(self, frame: Frame) -> list[Outgoing]:
        part = self._post.open(frame, ImageMaterial)
        # The stock refuses what does not come next, so that a frame is not claimed in vain.
        self._stock.append(frame.header.nonce, part.offset, part.content)
        self._post.claim(frame)
        return []

    def _begin(self, frame: Frame) -> list[Outgoing]:
        """Spend the material, and only then give the patient what masks the image."""
        session = frame.header.nonce
        request = self._post.open(frame, ImageRequest)
        dealt = read_dealt(ImageKey, self._stock.dealt(session))
        if frame.header.sender != dealt.patient:
            raise RoleError("request: the session was dealt for another patient")
        shape = (dealt.height, dealt.width, dealt.depth)
        if (request.height, request.width, request.depth) != shape:
            raise ContextMismatchError("request: the session was dealt for another size or depth")
        if request.mode != dealt.mode:
            raise ContextMismatchError("request: the session was dealt for the other mode")
        if len(self._sessions) >= MOST_SESSIONS:
            raise BusyError("sessions: as many images as possible are worked on")
        self._post.claim(frame)
        data = self._stock.spend(session)
        draws = Draws(dealt.key)
        material: Material = DrawnMaterial(draws) if dealt.leader else StoredMaterial(data)
        size = mode(dealt.mode).geometry(*shape)
        work: Extraction | Concealment
        if isinstance(size, HiddenGeometry):
            work = Concealment(size, dealt.leader, draws, material)
        else:
            work = Extraction(size, dealt.leader, draws, material)
        self._sessions[session] = _Session(dealt, work, disclosed=request.disclosed)
        return [self._send(session, dealt.patient, ImageSeed(draws.pixel_key()), 0)]

    def _expecting(self, frame: Frame) -> _Session:
        """Return the session in which this frame comes next."""
        header = frame.header
        session = self._sessions.get(header.nonce)
        if session is None:
            raise ContextMismatchError("frame: belongs to no image that is worked on")
        found = (header.kind, header.sender, header.sequence)
        early = (Kind.IMAGE_ROUND, session.dealt.other, 1)
        waits = session.wanted[0] is Kind.MASKED_IMAGE and session.early is None
        if found != session.wanted and not (waits and found == early):
            raise ContextMismatchError("frame: is not what comes next in its session")
        return session

    def _take_image(self, session: _Session, frame: Frame) -> list[Outgoing]:
        dealt = session.dealt
        body = self._post.open(frame, MaskedImage)
        count = dealt.height * dealt.width
        pixels = numbers(body.pixels, "<u8", np.uint64, count, "pixels")
        self._post.claim(frame)
        opened = session.work.open_chunks(pixels.reshape(dealt.height, dealt.width))
        name = frame.header.nonce
        sent = [self._send(name, dealt.other, ImageRound(1, pack(opened)), 1)]
        session.wanted = (Kind.IMAGE_ROUND, dealt.other, 1)
        if session.early is not None:
            early, session.early = session.early, None
            sent += self._go_on(name, session, early)
        return sent

    def _take_round(self, session: _Session, frame: Frame) -> list[Outgoing]:
        body = self._post.open(frame, ImageRound)
        if body.number != frame.header.sequence:
            raise ContextMismatchError("round: expected the number of its frame")
        # Checked before anything changes.
        unpack(session.work.geometry, body.number, body.words)
        self._post.claim(frame)
        if session.wanted[0] is Kind.MASKED_IMAGE:
            session.early = body
            return []
        return self._go_on(frame.header.nonce, session, body)

    def _go_on(self, name: bytes, session: _Session, body: ImageRound) -> list[Outgoing]:
        """Compute with the other cloud's round."""
        work, dealt = session.work, session.dealt
        others = unpack(work.geometry, body.number, body.words)
        if isinstance(work, Concealment):
            return self._conceal(name, session, work, others)
        following = body.number + 1
        if body.number == 1:
            opened = work.open_results(others)
        elif body.number == 2:
            opened = [work.open_counts(others)]
        elif body.number == 3:
            opened = [work.open_candidates(others[0])]
        else:
            session.candidates = work.candidates(others[0])
            cubes = work.cubes(session.candidates)
            session.wanted = (Kind.IMAGE_POINTS, dealt.physician, 0)
            found = ImageCandidates(write_places(session.candidates), pack([cubes]))
            return [self._send(name, dealt.physician, found, 0)]
        session.wanted = (Kind.IMAGE_ROUND, dealt.other, following)
        return [self._send(name, dealt.other, ImageRound(following, pack(opened)), following)]

    def _conceal(
        self, name: bytes, session: _Session, work: Concealment, others: list[Any]
    ) -> list[Outgoing]:
        """Go on in hidden mode."""
        dealt = session.dealt
        opened = work.advance(others)
        session.wanted = (Kind.IMAGE_ROUND, dealt.other, work.wanted)
        sent = []
        if opened is not None:
            number, arrays = opened
            sent.append(self._send(name, dealt.other, ImageRound(number, pack(arrays)), number))
        if work.found is not None:
            del self._sessions[name]
            self._keep(name, dealt, work.found.sums)
            if session.disclosed:
                arrays = [work.found.numbers, work.found.sums]
                body = ImageFeatures(*(pack([each]) for each in arrays))
                sent.append(self._send(name, dealt.physician, body, 0))
        return sent

    def _take_points(self, session: _Session, frame: Frame) -> list[Outgoing]:
        body = self._post.open(frame, ImagePoints)
        work = _extracting(session)
        places = read_places(work.geometry, body.places)
        scales = numbers(body.scales, "<f8", np.float64, len(places), "scales")
        _check_scales(scales)
        _check_near(places, session.candidates)
        self._post.claim(frame)
        session.points = np.column_stack([places, scales])
        sums = work.orientations(places, scales)
        session.wanted = (Kind.IMAGE_POSES, session.dealt.physician, 1)
        body_back = ImageSums(False, sums.astype("<u4", copy=False).tobytes())
        return [self._send(frame.header.nonce, session.dealt.physician, body_back, 0)]

    def _take_poses(self, session: _Session, frame: Frame) -> list[Outgoing]:
        body = self._post.open(frame, ImagePoses)
        work = _extracting(session)
        places = read_places(work.geometry, body.places)
        poses = numbers(body.poses, "<f8", np.float64, len(places), "poses", 4)
        _check_scales(poses[:, 0])
        if not ((np.abs(poses[:, 2:]) <= 1).all() and ((poses >= -1) & (poses <= 360)).all()):
            raise RangeError("poses: expected degrees, cosine and sine")
        _check_posed(np.column_stack([places, poses[:, 0]]), session.points)
        self._post.claim(frame)
        sums = work.descriptors(places, poses)
        # All is said: what is left of the session goes.
        del self._sessions[frame.header.nonce]
        self._keep(frame.header.nonce, session.dealt, sums)
        body_back = ImageSums(True, sums.astype("<u4", copy=False).tobytes())
        return [self._send(frame.header.nonce, session.dealt.physician, body_back, 1)]

    def _keep(self, session: bytes, dealt: ImageKey, sums: Sums) -> None:
        """Keep features for matches, unless there are too many."""
        if len(sums) <= MOST_ROWS:
            features = SharedFeatures(dealt.depth, sums)
            self.matches.keep(session, dealt.patient, dealt.physician, features)

    def _send(self, session: bytes, recipient: str, body: Body, sequence: int) -> Outgoing:
        return recipient, self._post.send(recipient, body, nonce=session, sequence=sequence)


def _extracting(session: _Session) -> Extraction:
    """Only extract mode waits for what a physician sends."""
    assert isinstance(session.work, Extraction)  # noqa: S101
    return session.work


def _check_scales(scales: Reals) -> None:
    """Blurs from an octave's first layer to half a layer beyond its last; sums rely on it."""
    if not ((scales >= SIGMA) & (scales <= 2.25 * SIGMA)).all():
        raise RangeError("scales: expected blurs of keypoints in an octave")


def _check_near(places: Ints, candidates: Ints) -> None:
    """A physician gets sums around candidates, and nowhere else; each once."""
    if len(np.unique(places, axis=0)) != len(places):
        raise FramingError("places: expected each place once")
    for octave in np.unique(places[:, 0]):
        own = places[places[:, 0] == octave][:, None, 2:]
        there = candidates[candidates[:, 0] == octave][None, :, 2:]
        if not (np.abs(own - there).max(axis=2, initial=0) <= 2).any(axis=1).all():
            raise RangeError("places: expected places near candidates")


def _check_posed(posed: Reals, points: Reals) -> None:
    """Points that were asked for, at the same blurs, each with some orientations.

    Gradients are there as far as those blurs reach.
    """
    rows, counts = np.unique(posed, axis=0, return_counts=True)
    both = np.concatenate([rows, points])
    if len(np.unique(both, axis=0)) != len(points) or (counts > _MOST_POSES).any():
        raise RangeError("places: expected points that were asked for")
