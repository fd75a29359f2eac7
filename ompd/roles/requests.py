"""One request and its answer, between parties that have met: with what is paid or kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

from ompd.errors import (
    ContextMismatchError,
    OmpdError,
    RefusedError,
    ReplayError,
    StoreError,
)
from ompd.roles.post import Post
from ompd.wire import KIND_OF, Body, Header, Kind, Refusal

Q = TypeVar("Q", bound=Body)
A = TypeVar("A", bound=Body)
#: Takes a frame to another party, and brings its answer.
Carrier = Callable[[bytes], bytes]

_NONCE_BYTES = 16


def ask(post: Post, recipient: str, body: Body, answer: type[A], carry: Carrier) -> A:
    """Send a request, and return the body of its answer.

    Raises
    ------
    RefusedError
        If the other party did not accept it.
    OmpdError
        If what came back is not an authentic answer to it, or it cannot be sent.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)

    def expected(header: Header, _size: int) -> None:
        if (header.sender, header.nonce, header.sequence) != (recipient, nonce, 0):
            raise ContextMismatchError("answer: is not the one to this request")

    found = carry(post.send(recipient, body, nonce=nonce, sequence=0))
    frame = post.authenticate(found, KIND_OF[answer], Kind.REFUSAL, admit=expected)
    if frame.header.kind == Kind.REFUSAL:
        post.open(frame, Refusal)
        post.claim(frame)
        raise RefusedError("answer: the other party did not accept the request")
    content = post.open(frame, answer)
    post.claim(frame)
    return content


class Desk:
    """Answers requests of one kind, each frame once.

    Parameters
    ----------
    post : Post
    request : type
        Body of the requests.
    work : callable
        Given the sender and a body, does what is asked and returns the body of the answer. To do
        the same twice has to have the effect of once: it runs before the frame is claimed.
    """

    def __init__(self, post: Post, request: type[Q], work: Callable[[Header, Q], Body]) -> None:
        self._post = post
        self._body = request
        self._kind = KIND_OF[request]
        self._work: Callable[[Header, Q], Body] = work

    def answer(self, request: bytes) -> bytes:
        """Return the answer frame; to the same frame, the same again.

        Raises
        ------
        OmpdError
            If the frame is not authentic, fresh and well-formed, or what it asks is refused.
        """
        try:
            frame = self._post.authenticate(request, self._kind)
        except ReplayError:
            if (given := self._post.again(request, self._kind)) is not None:
                return given
            raise
        header = frame.header
        body = self._work(header, self._post.open(frame, self._body))
        self._post.claim(frame)
        answer = self._post.send(header.sender, body, nonce=header.nonce, sequence=header.sequence)
        return self._post.answered(header, answer)

    def answer_or_refuse(self, request: bytes) -> bytes:
        """As `answer`, with a refusal frame where an authentic request is refused.

        Raises
        ------
        OmpdError
            If the frame is not authentic or fresh.
        """
        try:
            return self.answer(request)
        except ReplayError:
            return self._post.settle(self._post.claimed(request, self._kind))
        except StoreError:
            raise
        except OmpdError:
            return self._post.refuse(request, self._kind)
