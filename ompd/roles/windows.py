"""New windows of hints: the hospital fetches a whole sealed table and makes them from it."""

from __future__ import annotations

import secrets

from ompd.errors import RefusedError
from ompd.roles.pending import Pending
from ompd.roles.post import Post
from ompd.roles.publication import Published, check_ref
from ompd.roles.retrieval import TableRef
from ompd.wire import Header, Kind, Refusal, SealedAnswer, check_answer_size


class Windows:
    """Requests for whole tables that await their answer.

    Parameters
    ----------
    post : Post
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._open: Pending[Published] = Pending(post.window)

    def request(self, table: Published) -> bytes:
        """Return a frame that asks the table's cloud for all of it.

        Raises
        ------
        OmpdError
            As `Hospital.renew`.
        """
        body, _ = table.retrieval.whole()
        nonce = secrets.token_bytes(16)
        self._open.add(table.cloud, nonce, 0, table, self._post.now())
        return self._post.send(table.cloud, body, nonce=nonce, sequence=0)

    def renew(self, answer: bytes) -> None:
        """Make the hints of a new window.

        Raises
        ------
        OmpdError
            As `Hospital.renewed`.
        """
        post = self._post
        frame = post.authenticate(answer, Kind.SEALED_ANSWER, Kind.REFUSAL, admit=self._expected)
        header = frame.header
        table = self._open.find(header, post.now())
        if header.kind == Kind.REFUSAL:
            post.open(frame, Refusal)
            post.claim(frame)
            self._open.close(header.sender, header.nonce, header.sequence)
            raise RefusedError("answer: the cloud did not accept the request")
        body = post.open(frame, SealedAnswer)
        check_ref(TableRef(body.table_id, body.version), table.ref)
        post.claim(frame)
        self._open.close(header.sender, header.nonce, header.sequence)
        table.retrieval.renew(body)

    def _expected(self, header: Header, size: int) -> None:
        """Refuse what answers no request, or is longer than the table, before it is read."""
        _, numbers = self._open.find(header, self._post.now()).retrieval.whole()
        check_answer_size(size, numbers)
