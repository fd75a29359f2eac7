"""Whole sealed tables that come for the hospital itself: for new windows, and for merges."""

from __future__ import annotations

import secrets
from typing import Literal, NamedTuple

from ompd.errors import ContextMismatchError, RefusedError
from ompd.roles.pending import Pending
from ompd.roles.post import Post
from ompd.roles.publication import Published, check_ref
from ompd.roles.retrieval import TableRef
from ompd.wire import Header, Kind, Refusal, SealedAnswer, check_answer_size

#: What a table can be asked for as a whole for.
Purpose = Literal["renew", "merge"]


class Due(NamedTuple):
    """What a server should do now, beside its answering.

    Attributes
    ----------
    disease : str
    what : {"renew", "merge", "resend"}
        A new window: ``hospital.renewed(cloud.answer(hospital.renew(disease)))``. Or a new version
        with all changes in it:
        ``hospital.deliver(hospital.merged(cloud.answer(hospital.merge(disease))), cloud.store)``.
        Or changes whose receipts did not come:
        ``hospital.deliver(hospital.resend(disease), cloud.store)``.
    """

    disease: str
    what: Purpose | Literal["resend"]


class _Open(NamedTuple):
    disease: str
    table: Published
    purpose: Purpose


class Windows:
    """Requests for whole tables that await their answer.

    Parameters
    ----------
    post : Post
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._open: Pending[_Open] = Pending(post.window)

    def request(self, disease: str, table: Published, purpose: Purpose) -> bytes:
        """Return a frame that asks the table's cloud for all of it.

        Raises
        ------
        OmpdError
            As `Hospital.renew`.
        """
        body, _ = table.retrieval.whole()
        nonce = secrets.token_bytes(16)
        self._open.add(table.cloud, nonce, 0, _Open(disease, table, purpose), self._post.now())
        frame = self._post.send(table.cloud, body, nonce=nonce, sequence=0)
        if purpose == "renew":
            table.retrieval.await_window()
        return frame

    def awaits(self, disease: str, purpose: Purpose) -> bool:
        """Tell whether a table was asked for that may still come."""
        return any(
            each.disease == disease and each.purpose == purpose
            for each in self._open.contexts(self._post.now())
        )

    def take(self, answer: bytes, purpose: Purpose) -> tuple[str, Published, SealedAnswer]:
        """Open the answer to a request for this purpose, once; returns whose table it is.

        Raises
        ------
        OmpdError
            As `Hospital.renewed`.
        """
        post = self._post

        def expected(header: Header, size: int) -> None:
            """Refuse what answers no request, or is longer than the table, before it is read."""
            _, numbers = self._find(header, purpose).table.retrieval.whole()
            check_answer_size(size, numbers)

        frame = post.authenticate(answer, Kind.SEALED_ANSWER, Kind.REFUSAL, admit=expected)
        header = frame.header
        disease, table, _ = self._find(header, purpose)
        if header.kind == Kind.REFUSAL:
            post.open(frame, Refusal)
            post.claim(frame)
            self._open.close(header.sender, header.nonce, header.sequence)
            raise RefusedError("answer: the cloud did not accept the request")
        body = post.open(frame, SealedAnswer)
        check_ref(TableRef(body.table_id, body.version), table.ref)
        post.claim(frame)
        self._open.close(header.sender, header.nonce, header.sequence)
        return disease, table, body

    def renew(self, answer: bytes) -> None:
        """Make the hints of a new window.

        Raises
        ------
        OmpdError
            As `Hospital.renewed`.
        """
        _, table, body = self.take(answer, "renew")
        table.retrieval.renew(body)

    def _find(self, header: Header, purpose: Purpose) -> _Open:
        found = self._open.find(header, self._post.now())
        if found.purpose != purpose:
            raise ContextMismatchError(f"answer: expected one to `{purpose}`")
        return found
