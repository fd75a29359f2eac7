"""The authority's side: sells tokens, takes them back, and evaluates functions for them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import lru_cache

from ompd.crypto import SigningKey
from ompd.crypto.ristretto import ELEMENT_BYTES
from ompd.crypto.symmetric import KEY_BYTES, derive
from ompd.errors import EpochError, ParameterError, SpentError, UnknownProgramError
from ompd.monitor.attributes import BITS
from ompd.monitor.encrypted import ProgramSecret
from ompd.share import Token, TokenKey, check_epoch, check_token, epoch_at
from ompd.stores import Till
from ompd.wire.payments import (
    POINT_BYTES,
    TOKEN_BYTES,
    AccountAnswer,
    Evaluated,
    Evaluation,
    ProgramKey,
    Purchase,
    Registration,
    Return,
    Returned,
    Tokens,
)

_PROGRAM_LABEL = b"ompd/monitor/program-key/1\x00"
_TOKEN_LABEL = b"ompd/monitor/tokens/1\x00"
#: Epochs after its own in which a token is taken.
GRACE = 1


def purpose_of(authority: str, epoch: int) -> bytes:
    """Return what tokens of an authority and an epoch are signed for."""
    return _TOKEN_LABEL + authority.encode() + b"|" + epoch.to_bytes(4, "big")


class Counter:
    """What an authority sells, on its books.

    Parameters
    ----------
    authority : str
        Id.
    key : SigningKey
        Of the authority; signs receipts.
    till : Till
    clock : callable
        Seconds since the epoch.

    Attributes
    ----------
    tokens : bytes
        Public key of tokens.
    """

    def __init__(
        self, authority: str, key: SigningKey, till: Till, clock: Callable[[], float]
    ) -> None:
        self._authority = authority
        self._backend = key.backend
        self._till = till
        self._clock = clock
        secret = till.secret("tokens", lambda: TokenKey.generate(key.backend).to_bytes())
        self._tokens = TokenKey(secret, key.backend)
        self._master = till.secret("programs", lambda: secrets.token_bytes(KEY_BYTES))
        self._secret_of = lru_cache(maxsize=256)(self._made)
        self.tokens = self._tokens.public
        self._epoch = -1

    def answer(self, account: str, matter: Purchase | Return | Registration) -> AccountAnswer:
        """Do what a registered party asks; the same again has the same effect, once.

        Raises
        ------
        CreditError
            If the account cannot pay.
        EpochError
            If tokens are for another epoch than can be bought or given back now.
        PointError, TokenError
            If points or tokens are not acceptable.
        ContextMismatchError
            If another order of this name is in the books, or the program is another company's.
        QuotaError
            If the company has very many programs.
        ParameterError
            If lengths do not fit.
        """
        self._tidy()
        if isinstance(matter, Purchase):
            return AccountAnswer(self._sell(account, matter))
        if isinstance(matter, Return):
            return AccountAnswer(self._take_back(account, matter))
        return AccountAnswer(self._register(account, matter))

    def evaluate(self, body: Evaluation) -> Evaluated:
        """Evaluate blinded prefixes for tokens; the same request again, for the same tokens.

        Raises
        ------
        UnknownProgramError
            If the program is not registered.
        EpochError
            If the program's epoch is not the present one, or the tokens are too old or too new.
        ParameterError
            If there are not 16 elements for each token, or a token is there twice.
        PointError, TokenError
            If elements or tokens are not acceptable. Nothing is spent then.
        """
        self._tidy()
        check_epoch(body.epoch, self._clock())
        if not self._till.is_registered(body.program):
            raise UnknownProgramError("program: is not registered")
        tokens = self._checked(body.tokens, body.purchased)
        elements = _parts(body.elements, ELEMENT_BYTES, "elements")
        if len(elements) != BITS * len(tokens):
            raise ParameterError(f"elements: expected {BITS} for each token")
        # Before the tokens are spent, so that what is no element costs nothing.
        answer = self._secret_of(body.program, body.epoch).evaluator.evaluate(elements)
        try:
            receipt = self._till.redeem(tokens, body.digest, body.purchased)
        except SpentError:
            return Evaluated(b"", b"", self._till.spent(tokens, body.digest))
        return Evaluated(receipt, answer, b"")

    def _tidy(self) -> None:
        """Forget what was spent of epochs whose tokens are not taken any more."""
        present = epoch_at(self._clock())
        if present > self._epoch:
            self._till.forget(max(0, present - GRACE))
            self._epoch = present

    def _sell(self, account: str, order: Purchase) -> Tokens:
        points = _parts(order.points, POINT_BYTES, "points")
        # Signed before they are paid: a point that is none costs nothing. Nobody sees it unpaid.
        signed = b"".join(self._tokens.issue(point) for point in points)
        self._check_sold(order.epoch)
        receipt = self._till.purchase(account, order.order, order.digest, len(points))
        return Tokens(order.order, signed, receipt)

    def _take_back(self, account: str, order: Return) -> Returned:
        tokens = self._checked(order.tokens, order.epoch)
        digest = order.digest
        try:
            receipt = self._till.refund(account, order.order, tokens, digest, order.epoch)
        except SpentError:
            return Returned(order.order, b"", self._till.spent(tokens, digest))
        return Returned(order.order, receipt, b"")

    def _register(self, company: str, wanted: Registration) -> ProgramKey:
        # A company prepares the next epoch while the present one lasts.
        if wanted.epoch - epoch_at(self._clock()) not in (0, 1):
            raise EpochError("epoch: expected the present one or the next")
        self._till.register(wanted.program, company)
        seed = self._seed(wanted.program, wanted.epoch)
        return ProgramKey(wanted.program, wanted.epoch, seed, self.tokens)

    def _check_sold(self, epoch: int) -> None:
        """Sell for this epoch, and fill late orders of the one before."""
        if epoch_at(self._clock()) - epoch not in range(GRACE + 1):
            raise EpochError("epoch: expected the present one")

    def _checked(self, encoded: bytes, epoch: int) -> list[bytes]:
        """Return the names of tokens that were issued for an epoch which is not over for them."""
        self._check_sold(epoch)
        tokens = [Token.from_bytes(part) for part in _parts(encoded, TOKEN_BYTES, "tokens")]
        names = [token.name for token in tokens]
        if len(set(names)) < len(names):
            raise ParameterError("tokens: one is there twice")
        purpose = purpose_of(self._authority, epoch)
        for token in tokens:
            check_token(self.tokens, purpose, token, self._backend)
        return names

    def _seed(self, program: bytes, epoch: int) -> bytes:
        return derive(_PROGRAM_LABEL, self._master, program, epoch.to_bytes(4, "big"))

    def _made(self, program: bytes, epoch: int) -> ProgramSecret:
        return ProgramSecret(self._seed(program, epoch), program, epoch)


def _parts(encoded: bytes, length: int, name: str) -> list[bytes]:
    if not encoded or len(encoded) % length:
        raise ParameterError(f"{name}: expected {length} bytes each")
    return [encoded[start : start + length] for start in range(0, len(encoded), length)]
