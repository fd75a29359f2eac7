"""How a hospital gets the key that a user's blind queries are encrypted with."""

from __future__ import annotations

from ompd.errors import RefusedError
from ompd.roles.blind_keys import BlindKeys
from ompd.roles.pending import Pending
from ompd.roles.post import Post
from ompd.wire import BlindKey, BlindKeyReceipt, Header, Kind, Refusal


class Enrolment:
    """The keys on their way from one user to hospitals. For several threads.

    Parameters
    ----------
    post : Post
    keys : BlindKeys
    """

    def __init__(self, post: Post, keys: BlindKeys) -> None:
        self._post = post
        self._keys = keys
        self._waiting: Pending[bytes] = Pending(post.window)

    def ask(self, hospital: str, session: tuple[bytes, int], encrypt_to: bytes) -> bytes:
        """As `User.enrol`."""
        key = self._keys.get()
        nonce, sequence = session
        body = BlindKey(key.public)
        frame = self._post.send(
            hospital, body, nonce=nonce, sequence=sequence, encrypt_to=encrypt_to
        )
        self._waiting.add(hospital, nonce, sequence, key.key_id, self._post.now())
        return frame

    def read(self, receipt: bytes) -> None:
        """As `User.enrolled`."""
        kinds = (Kind.BLIND_KEY_RECEIPT, Kind.REFUSAL)
        frame = self._post.authenticate(receipt, *kinds, admit=self._expected)
        header = frame.header
        key_id = self._waiting.find(header, self._post.now())
        told = None
        if header.kind == Kind.REFUSAL:
            self._post.open(frame, Refusal)
        else:
            told = self._post.open(frame, BlindKeyReceipt).key_id
        self._post.claim(frame)
        self._waiting.close(header.sender, header.nonce, header.sequence)
        if told != key_id:
            raise RefusedError("receipt: the hospital did not take the key")

    def _expected(self, header: Header, _size: int) -> None:
        """Refuse what answers nothing that waits, before it is read."""
        self._waiting.find(header, self._post.now())
