"""The authority: sells tokens, and evaluates programs' functions for whoever has some."""

from __future__ import annotations

from typing import Any

from ompd.crypto import Identity, encrypt
from ompd.errors import RoleError
from ompd.monitor import Counter
from ompd.monitor.letters import REQUEST_LABEL, answer_info
from ompd.roles.party import Party
from ompd.roles.requests import Desk
from ompd.stores import Till
from ompd.wire import Header, decode_body, encode_body
from ompd.wire.payments import AccountAnswer, AccountRequest, Evaluation, Registration


class Authority(Party):
    """Sells tokens under names, and takes them without.

    Parameters
    ----------
    identity : Identity
    till : str or path
        File of its books.
    **options
        Directory, replays, clock and window as for `Party`.

    Attributes
    ----------
    till : Till
    tokens : bytes
        Public key of tokens, 48 bytes.
    """

    role = "authority"

    def __init__(self, identity: Identity, *, till: Any, **options: Any) -> None:
        super().__init__(identity, **options)
        self.till = Till(till, identity.signing_key.sign)
        self._counter = Counter(self.id, identity.signing_key, self.till, self._post.now)
        self._desk = Desk(self._post, AccountRequest, self._work)
        self.tokens = self._counter.tokens

    def serve(self, request: bytes) -> bytes:
        """Sell tokens, take them back, or hand out a program's key.

        Parameters
        ----------
        request : bytes
            Frame of a person or company that this authority has met.

        Returns
        -------
        bytes
            Answer frame; the same again to the same frame.

        Raises
        ------
        CreditError, EpochError, PointError, TokenError, ContextMismatchError, QuotaError
            As `Counter.answer`.
        RoleError
            If somebody else than a company asks for a program's key.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        return self._desk.answer(request)

    def serve_or_refuse(self, request: bytes) -> bytes:
        """As `serve`, with a refusal frame where an authentic request is refused."""
        return self._desk.answer_or_refuse(request)

    def evaluate(self, letter: bytes) -> bytes:
        """Evaluate blinded prefixes for tokens.

        Parameters
        ----------
        letter : bytes
            An encrypted request that names nobody; see `ompd.monitor.letters`.

        Returns
        -------
        bytes
            Encrypted to the key in the letter.

        Raises
        ------
        DecryptionError, FrameError
            If the letter is none.
        UnknownProgramError, EpochError, ParameterError, PointError, TokenError
            As `Counter.evaluate`; nothing is spent then.
        """
        body = decode_body(Evaluation, self._post.decrypt(letter, REQUEST_LABEL))
        answer = encode_body(self._counter.evaluate(body))
        return encrypt(body.reply_key, answer, answer_info(letter))

    def close(self) -> None:
        """Close the books."""
        self.till.close()

    def _work(self, header: Header, request: AccountRequest) -> AccountAnswer:
        if isinstance(request.matter, Registration) and (
            self.directory.role(header.sender) != "company"
        ):
            raise RoleError("frame: its sender is not registered as a company")
        return self._counter.answer(header.sender, request.matter)
