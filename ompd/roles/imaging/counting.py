"""What a physician asks of matches, and what is answered: part of `Physician`."""

from __future__ import annotations

import secrets
from typing import Any

import numpy.typing as npt

from ompd.errors import ContextMismatchError, MaterialError, RangeError
from ompd.images.features import share, template_integers
from ompd.roles.imaging.delivery import Outgoing
from ompd.roles.post import Post
from ompd.wire import Frame, Kind, MatchCount, MatchRequest, MatchTicket, Templates


class _Asked:
    """A match that was asked for."""

    def __init__(self, ticket: MatchTicket) -> None:
        self.clouds = (ticket.leader, ticket.other)
        self.features = ticket.features
        self.shares: dict[str, int] = {}

    @property
    def done(self) -> bool:
        return len(self.shares) == 2


class Counts:
    """Templates, matches and counts of one physician.

    Parameters
    ----------
    post : Post
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._tickets: dict[bytes, MatchTicket] = {}
        self._sizes: dict[bytes, int] = {}
        self._asked: dict[bytes, _Asked] = {}

    def upload(
        self, descriptors: npt.NDArray[Any], clouds: tuple[str, str]
    ) -> tuple[bytes, list[Outgoing]]:
        """See `Physician.upload_templates`."""
        integers = template_integers(descriptors)
        if len(set(clouds)) != 2:
            raise RangeError("clouds: expected two")
        name = secrets.token_bytes(16)
        sent = []
        for cloud, part in zip(clouds, share(integers), strict=True):
            body = Templates(part.shares.astype("<u4", copy=False).tobytes())
            sent.append((cloud, self._post.send(cloud, body, nonce=name, sequence=0)))
        self._sizes[name] = len(integers)
        return name, sent

    def match(self, features: bytes, templates: bytes, depth: int) -> list[Outgoing]:
        """See `Physician.match`."""
        count = self._sizes.get(templates)
        if count is None:
            raise ContextMismatchError("templates: no collection of this name was uploaded")
        suitable = (
            session
            for session, each in self._tickets.items()
            if (each.templates, each.depth) == (count, depth)
        )
        if (session := next(suitable, None)) is None:
            raise MaterialError("templates: nothing was dealt for so many, of this depth")
        self._asked[session] = asked = _Asked(self._tickets.pop(session))
        body = MatchRequest(features, templates)
        return [
            (cloud, self._post.send(cloud, body, nonce=session, sequence=0))
            for cloud in asked.clouds
        ]

    def count(self, session: bytes | None) -> int:
        """See `Physician.matches`."""
        for name, asked in self._asked.items():
            if session in (None, name) and asked.done:
                del self._asked[name]
                return sum(asked.shares.values()) % (1 << 32)
        raise ContextMismatchError("session: its count is not here")

    @property
    def sessions(self) -> list[bytes]:
        """Matches that were asked for and whose count was not read, oldest first."""
        return list(self._asked)

    def take(self, frame: Frame) -> list[Outgoing]:
        """Take an authentic frame of a match."""
        header = frame.header
        if header.kind is Kind.MATCH_TICKET:
            ticket = self._post.open(frame, MatchTicket)
            if ticket.physician != self._post.identity.id:
                raise ContextMismatchError("ticket: is for another physician")
            self._post.claim(frame)
            self._tickets[header.nonce] = ticket
            return []
        asked = self._asked.get(header.nonce)
        if asked is None or header.sender not in asked.clouds or header.sender in asked.shares:
            raise ContextMismatchError("count: was not asked for")
        body = self._post.open(frame, MatchCount)
        total = (sum(asked.shares.values()) + body.share) % (1 << 32)
        if asked.shares and total > asked.features:
            raise RangeError("count: is more than there are features")
        self._post.claim(frame)
        asked.shares[header.sender] = body.share
        return []
