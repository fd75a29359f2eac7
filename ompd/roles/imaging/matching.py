"""What a cloud keeps to match, and its matches: part of `ImageCloud`."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from ompd.errors import BusyError, ContextMismatchError, FramingError, RangeError, RoleError
from ompd.images.features import ENTRIES, MOST_ROWS, SharedFeatures, SharedTemplates
from ompd.images.match_plan import MatchPlan, Opening, match_plan
from ompd.images.matching import Matching, Opened
from ompd.images.material import DrawnMaterial, Material, StoredMaterial
from ompd.images.rounds import numbers
from ompd.images.streams import Draws
from ompd.roles.imaging.dealt import read_dealt, write_dealt
from ompd.roles.imaging.delivery import Outgoing
from ompd.roles.post import Post
from ompd.stores.material import MaterialStock
from ompd.wire import (
    Body,
    Frame,
    Kind,
    MatchCount,
    MatchKey,
    MatchRequest,
    MatchRound,
    Templates,
)

#: Images whose features a cloud keeps, and collections of a physician.
MOST_KEPT = 64
#: Matches that are worked on at a time, and that wait for their request.
MOST_MATCHES = 64


class _Kept(NamedTuple):
    """Features of an image, and who may have them matched."""

    patient: str
    physician: str
    features: SharedFeatures


class _Match:
    """A match that is worked on."""

    def __init__(
        self, dealt: MatchKey, request: MatchRequest, plan: MatchPlan, matching: Matching, rows: int
    ) -> None:
        self.dealt = dealt
        self.request = request
        self.openings = plan.openings(rows)
        self.work: Generator[Opened, Opened, int] = matching.rounds()
        self.wanted = 1


class MatchDesk:
    """Matches of one cloud.

    Parameters
    ----------
    post : Post
    stock : MaterialStock
        Where material is kept and marked as used.

    Notes
    -----
    Features and templates are in memory, and end with the process. A match that fails stays
    unusable, whatever the reason: its material is spent when the first round leaves.
    """

    def __init__(self, post: Post, stock: MaterialStock) -> None:
        self._post = post
        self.stock = stock
        self._features: dict[bytes, _Kept] = {}
        self._templates: dict[tuple[str, bytes], SharedTemplates] = {}
        self._matches: dict[bytes, _Match] = {}
        #: First rounds of the other cloud that were faster than the physician's request.
        self._early: dict[bytes, MatchRound] = {}

    def keep(self, session: bytes, patient: str, physician: str, features: SharedFeatures) -> None:
        """Keep the features of an image, to be matched; the oldest goes where there are many."""
        if len(self._features) >= MOST_KEPT:
            del self._features[next(iter(self._features))]
        self._features[session] = _Kept(patient, physician, features)

    def drop(self, session: bytes) -> None:
        """Forget an image's features, or a match that is worked on."""
        self._features.pop(session, None)
        self._matches.pop(session, None)
        self._early.pop(session, None)

    def drop_templates(self, physician: str, name: bytes) -> None:
        """Forget a collection of templates."""
        self._templates.pop((physician, name), None)

    def take(self, frame: Frame) -> list[Outgoing]:
        """Take an authentic frame of a match; return what is to be sent."""
        kind = frame.header.kind
        if kind is Kind.MATCH_KEY:
            return self._take_key(frame)
        if kind is Kind.TEMPLATES:
            return self._take_templates(frame)
        if kind is Kind.MATCH_REQUEST:
            return self._begin(frame)
        return self._take_round(frame)

    def _take_key(self, frame: Frame) -> list[Outgoing]:
        dealt = self._post.open(frame, MatchKey)
        expected = _plan(dealt).size
        if dealt.size != (0 if dealt.leader else expected):
            raise RangeError("key: expected the size of the material of such a match")
        self._post.claim(frame)
        self.stock.add(frame.header.nonce, write_dealt(dealt), dealt.size)
        return []

    def _take_templates(self, frame: Frame) -> list[Outgoing]:
        owner, name = frame.header.sender, frame.header.nonce
        body = self._post.open(frame, Templates)
        shares = numbers(body.shares, "<u4", np.uint32, None, "templates", ENTRIES)
        if len(shares) > MOST_ROWS:
            raise RangeError(f"templates: expected at most {MOST_ROWS}")
        if sum(each == owner for each, _ in self._templates) >= MOST_KEPT:
            raise BusyError("templates: this physician has as many collections as possible")
        if (owner, name) in self._templates:
            raise ContextMismatchError("templates: there is a collection of this name")
        self._post.claim(frame)
        self._templates[owner, name] = SharedTemplates(shares)
        return []

    def _begin(self, frame: Frame) -> list[Outgoing]:
        """Check everything, spend the material, and only then open anything."""
        session = frame.header.nonce
        request = self._post.open(frame, MatchRequest)
        dealt = read_dealt(MatchKey, self.stock.dealt(session))
        if frame.header.sender != dealt.physician:
            raise RoleError("request: the session was dealt for another physician")
        kept = self._features.get(request.features)
        if kept is None or (kept.patient, kept.physician) != (dealt.patient, dealt.physician):
            raise ContextMismatchError("request: no features of this patient for this physician")
        templates = self._templates.get((dealt.physician, request.templates))
        if templates is None:
            raise ContextMismatchError("request: no templates of this name of this physician")
        features, plan = kept.features, _plan(dealt)
        if len(features) > plan.features or len(templates) != plan.templates:
            raise ContextMismatchError("request: the session was dealt for other numbers of them")
        if features.depth != plan.depth:
            raise ContextMismatchError("request: the session was dealt for another depth")
        if len(self._matches) >= MOST_MATCHES:
            raise BusyError("matches: as many as possible are worked on")
        early = self._early.get(session)
        if early is not None:
            _check_same(early, request)
        self._post.claim(frame)
        data = self.stock.spend(session)
        draws = Draws(dealt.key)
        material: Material = DrawnMaterial(draws) if dealt.leader else StoredMaterial(data)
        matching = Matching(plan, dealt.leader, draws, material, features, templates)
        match = _Match(dealt, request, plan, matching, len(features))
        self._matches[session] = match
        sent = self._advance(session, match, None)
        if self._early.pop(session, None) is not None and early is not None:
            sent += self._go_on(session, match, early)
        return sent

    def _take_round(self, frame: Frame) -> list[Outgoing]:
        header = frame.header
        match = self._matches.get(header.nonce)
        if match is None:
            return self._take_early(frame)
        if (header.sender, header.sequence) != (match.dealt.other, match.wanted):
            raise ContextMismatchError("frame: is not what comes next in its session")
        body = self._post.open(frame, MatchRound)
        if body.number != header.sequence:
            raise ContextMismatchError("round: expected the number of its frame")
        _check_same(body, match.request)
        # Checked before anything changes.
        _unpack(match, body)
        self._post.claim(frame)
        return self._go_on(header.nonce, match, body)

    def _take_early(self, frame: Frame) -> list[Outgoing]:
        """Keep the other cloud's first round until the physician asks this one."""
        header = frame.header
        dealt = read_dealt(MatchKey, self.stock.dealt(header.nonce))
        if (header.sender, header.sequence) != (dealt.other, 1) or header.nonce in self._early:
            raise ContextMismatchError("frame: is not what comes next in its session")
        body = self._post.open(frame, MatchRound)
        kept = self._features.get(body.features)
        if body.number != 1 or kept is None:
            raise ContextMismatchError("round: expected the first, of features that are here")
        openings = _plan(dealt).openings(len(kept.features))
        _check_size(body, openings[0] if openings else [])
        if len(self._early) >= MOST_MATCHES:
            raise BusyError("matches: as many as possible wait")
        self._post.claim(frame)
        self._early[header.nonce] = body
        return []

    def _go_on(self, session: bytes, match: _Match, body: MatchRound) -> list[Outgoing]:
        return self._advance(session, match, _unpack(match, body))

    def _advance(self, session: bytes, match: _Match, others: Opened | None) -> list[Outgoing]:
        """Compute with the other cloud's round; return the next one, or the count's share."""
        try:
            opened = next(match.work) if others is None else match.work.send(others)
        except StopIteration as done:
            del self._matches[session]
            return [self._send(session, match.dealt.physician, MatchCount(done.value), 0)]
        if others is not None:
            match.wanted += 1
        content = b"".join(
            each.astype(kind, copy=False).tobytes()
            for each, (_, kind) in zip(opened, match.openings[match.wanted - 1], strict=True)
        )
        request = match.request
        body = MatchRound(match.wanted, request.features, request.templates, content)
        return [self._send(session, match.dealt.other, body, match.wanted)]

    def _send(self, session: bytes, recipient: str, body: Body, sequence: int) -> Outgoing:
        return recipient, self._post.send(recipient, body, nonce=session, sequence=sequence)


def _plan(dealt: MatchKey) -> MatchPlan:
    return match_plan(dealt.features, dealt.templates, dealt.depth)


def _check_same(body: MatchRound, request: MatchRequest) -> None:
    if (body.features, body.templates) != (request.features, request.templates):
        raise ContextMismatchError("round: the other cloud was asked for another match")


def _check_size(body: MatchRound, openings: list[Opening]) -> None:
    expected = sum(each.size for each in openings)
    if len(body.content) != expected:
        raise FramingError(f"round: expected {expected} bytes, got {len(body.content)}")


def _unpack(match: _Match, body: MatchRound) -> Opened:
    """Return the arrays of a round.

    Raises
    ------
    FramingError
        If there are more or fewer bytes than these arrays have.
    """
    openings = match.openings[body.number - 1]
    _check_size(body, openings)
    found = []
    start = 0
    for each in openings:
        part = body.content[start : start + each.size]
        kind = np.dtype(each.kind)
        # A copy: aligned, and of this machine's own order of bytes.
        found.append(np.frombuffer(part, kind).astype(kind.newbyteorder("=")).reshape(each.shape))
        start += each.size
    return found
