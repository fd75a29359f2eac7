"""The person's side: orders tokens, uses them, gives them back; nothing is lost or sent half.

Each method that returns something to be sent has put it down in the wallet before. What was put
down and not answered is sent again: see `Purse.unanswered`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec

from ompd.crypto import backend as choose_backend
from ompd.crypto.oprf import OUTPUT_BYTES, blind_all, finalize_all
from ompd.crypto.ristretto import ELEMENT_BYTES
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import ContextMismatchError, ParameterError, SpentError
from ompd.monitor.attributes import BITS
from ompd.monitor.counter import GRACE, purpose_of
from ompd.monitor.encrypted import Card, inputs
from ompd.share import Blinded, Token, blind, check_epoch, epoch_at, unblind
from ompd.stores.wallet import Order, Piece, Use, Wallet
from ompd.wire.canonical import decode, encode
from ompd.wire.payments import (
    MAX_TOKENS,
    POINT_BYTES,
    Evaluated,
    Evaluation,
    PaymentReceipt,
    Purchase,
    Return,
    Returned,
    Tokens,
)

_NAME_BYTES = 16
_EVALUATION = "evaluation"
_RETURN = "return"
_SCALAR_BYTES = 32


class _Asked(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is kept of an evaluation until it is answered."""

    card: bytes
    attributes: tuple[int, ...]
    indices: tuple[int, ...]
    blinds: bytes
    elements: bytes

    def __repr__(self) -> str:
        return "<_Asked>"


_ASKED = msgspec.msgpack.Decoder(_Asked)


class Purse:
    """A person's tokens of one authority, and what they were used for.

    Parameters
    ----------
    wallet : Wallet
    account : str
        Id of the person, as the authority knows it.
    authority : str
        Id.
    tokens : bytes
        The authority's public key of tokens.
    receipts : bytes
        The authority's signing key, which receipts are verified with.
    clock : callable
        Seconds since the epoch.
    backend : str or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.
    """

    def __init__(
        self,
        wallet: Wallet,
        account: str,
        authority: str,
        tokens: bytes,
        receipts: bytes,
        clock: Callable[[], float],
        backend: str | SignatureBackend | None = None,
    ) -> None:
        self._wallet = wallet
        self._account = account
        self._authority = authority
        self._tokens = tokens
        self._signer = receipts
        self._clock = clock
        self._backend = choose_backend(backend)

    @property
    def ready(self) -> int:
        """How many tokens can be used now."""
        return sum(self._wallet.ready(self._authority, epoch) for epoch in self._epochs())

    # --- buying

    def order(self, count: int) -> Purchase:
        """Order tokens.

        Raises
        ------
        ParameterError
            If the number is not from 1 to 1024.
        """
        if type(count) is not int or not 1 <= count <= MAX_TOKENS:
            raise ParameterError(f"count: expected 1 to {MAX_TOKENS} tokens")
        epoch = epoch_at(self._clock())
        purpose = purpose_of(self._authority, epoch)
        blinded = [blind(purpose, self._backend) for _ in range(count)]
        name = secrets.token_bytes(_NAME_BYTES)
        pieces = [Piece(each.name, each.factor, each.point) for each in blinded]
        self._wallet.forget(epoch - GRACE)
        self._wallet.order(self._authority, name, epoch, pieces)
        return Purchase(name, epoch, b"".join(each.point for each in blinded))

    def fill(self, answer: Tokens) -> None:
        """Take what an order brought, after checking every token and the receipt.

        Raises
        ------
        ContextMismatchError
            If no such order is open, or answer or receipt are of another one.
        TokenError, PointError, SignatureError
            If a token or the receipt is not the authority's.
        """
        order = self._wallet.open_order(self._authority, answer.order)
        points = [
            answer.points[start : start + POINT_BYTES]
            for start in range(0, len(answer.points), POINT_BYTES)
        ]
        if len(points) != len(order.pieces):
            raise ContextMismatchError("tokens: expected as many as were ordered")
        sent = _ordered(order)
        self._check_receipt(answer.receipt, "purchase", self._account, len(points), sent.digest)
        purpose = purpose_of(self._authority, order.epoch)
        tokens = [
            unblind(
                self._tokens,
                purpose,
                Blinded(piece.token, piece.factor, piece.point),
                point,
                self._backend,
            )
            for piece, point in zip(order.pieces, points, strict=True)
        ]
        self._wallet.fill(order.name, [token.signature for token in tokens], answer.receipt)

    def cancel(self, order: Purchase) -> None:
        """Forget an order that the authority refused."""
        self._wallet.cancel(order.order)

    # --- giving back

    def give_back(self, count: int) -> tuple[bytes, Return]:
        """Bind tokens that were never used, to be given back; returns name and message.

        Raises
        ------
        CreditError
            If there are not as many of one epoch.
        """
        name = secrets.token_bytes(_NAME_BYTES)
        use = self._wallet.bind(self._authority, name, _RETURN, count, self._epochs(), b"")
        return name, _returned(use)

    def given_back(self, answer: Returned) -> None:
        """Take the answer to tokens that were given back.

        Raises
        ------
        SpentError
            If some are spent, as after an older copy of the wallet was put back. They are dropped,
            nothing was credited, and the others can be used again.
        ContextMismatchError, SignatureError
            If none are on their way under this name, or the receipt is not the authority's.
        """
        use = self._wallet.open_use(self._authority, answer.order)
        if not answer.receipt:
            self._refused(use, answer.spent)
        sent = _returned(use)
        self._check_receipt(answer.receipt, "refund", self._account, len(use.tokens), sent.digest)
        self._wallet.finish(use.name, answer.receipt, [], use.epoch)

    # --- using

    def outputs(self, card: Card, attribute: int, index: int) -> list[bytes] | None:
        """Return the function of a value's prefixes if it was bought before."""
        found = self._wallet.result(_result_key(card, attribute, index))
        if found is None:
            return None
        return [found[start : start + OUTPUT_BYTES] for start in range(0, len(found), OUTPUT_BYTES)]

    def use(self, card: Card, values: Sequence[tuple[int, int]]) -> bytes:
        """Bind one token to each value, and put down the blinded request; returns its name.

        Parameters
        ----------
        card : Card
        values : sequence of (attribute, index)

        Raises
        ------
        CreditError
            If there are not enough tokens of one epoch.
        EpochError
            If the card's epoch is over.
        ParameterError
            If there is no value.
        """
        check_epoch(card.epoch, self._clock())
        if not values:
            raise ParameterError("values: expected at least one")
        messages = [each for value in values for each in inputs(card, *value)]
        blinds, elements = blind_all(messages)
        asked = _Asked(
            card.to_bytes(),
            tuple(attribute for attribute, _ in values),
            tuple(index for _, index in values),
            b"".join(each.to_bytes(_SCALAR_BYTES, "big") for each in blinds),
            b"".join(elements),
        )
        name = secrets.token_bytes(_NAME_BYTES)
        self._wallet.bind(
            self._authority, name, _EVALUATION, len(values), self._epochs(), encode(asked)
        )
        return name

    def on_its_way(self, card: Card, attribute: int, index: int) -> bytes | None:
        """Return the name of an open request for a value; None if there is none."""
        encoded = card.to_bytes()
        for use in self._wallet.uses(self._authority, _EVALUATION):
            asked = decode(_ASKED, use.content)
            values = zip(asked.attributes, asked.indices, strict=True)
            if asked.card == encoded and (attribute, index) in values:
                return use.name
        return None

    def request(self, name: bytes, reply_key: bytes) -> Evaluation:
        """Return a request that was put down; the same each time but for the reply key.

        Raises
        ------
        ContextMismatchError
            If none of this name is open.
        """
        return _requested(self._wallet.open_use(self._authority, name), reply_key)

    def used(self, name: bytes, answer: Evaluated) -> None:
        """Take the answer to a request: verify the proof, and put down what was bought.

        Raises
        ------
        SpentError
            If some tokens are spent on something else, as after an older copy of the wallet was
            put back. They are dropped, and the others can be used again.
        ProofError, PointError
            If the authority did not evaluate the program's function. The request stays open.
        ContextMismatchError, SignatureError
            If none of this name is open, or the receipt is not the authority's.
        """
        use = self._wallet.open_use(self._authority, name)
        if not answer.receipt:
            self._refused(use, answer.spent)
        digest = _requested(use, b"").digest
        self._check_receipt(answer.receipt, "redemption", "", len(use.tokens), digest)
        asked = decode(_ASKED, use.content)
        card = Card.from_bytes(asked.card)
        values = list(zip(asked.attributes, asked.indices, strict=True))
        outputs = finalize_all(
            [each for value in values for each in inputs(card, *value)],
            [int.from_bytes(each, "big") for each in _cut(asked.blinds, _SCALAR_BYTES)],
            _cut(asked.elements, ELEMENT_BYTES),
            answer.answer,
            card.function,
        )
        results = [
            (_result_key(card, *value), b"".join(outputs[BITS * k : BITS * (k + 1)]))
            for k, value in enumerate(values)
        ]
        self._wallet.finish(name, answer.receipt, results, card.epoch)

    # --- after a crash

    def unanswered(self) -> tuple[list[Purchase], list[Return], list[bytes]]:
        """Return what was put down and not answered: orders, returns, and names of requests.

        What no authority takes any more is let go of first: tokens two epochs old, and requests for
        programs of an epoch that is over, whose tokens can be used again unless they were spent.
        """
        present = epoch_at(self._clock())
        self._wallet.forget(present - GRACE)
        requests = []
        for use in self._wallet.uses(self._authority, _EVALUATION):
            if Card.from_bytes(decode(_ASKED, use.content).card).epoch < present:
                self.abandon(use.name)
            else:
                requests.append(use.name)
        orders = [_ordered(each) for each in self._wallet.orders(self._authority)]
        returns = [_returned(use) for use in self._wallet.uses(self._authority, _RETURN)]
        return orders, returns, requests

    def abandon(self, name: bytes) -> None:
        """Give up a request that was never sent, or never will be accepted; tokens stay.

        Whether tokens were spent on it shows when they are used next.
        """
        use = self._wallet.open_use(self._authority, name)
        self._wallet.release(name, bytes(len(use.tokens)))

    def _epochs(self) -> list[int]:
        """Epochs whose tokens are taken now; those that end first come first."""
        present = epoch_at(self._clock())
        return [epoch for epoch in range(present - GRACE, present + 1) if epoch >= 0]

    def _refused(self, use: Use, spent: bytes) -> None:
        if len(spent) != len(use.tokens) or not any(spent):
            raise ContextMismatchError("answer: does not tell which tokens are spent")
        self._wallet.release(use.name, spent)
        raise SpentError("tokens: some were spent before, and are dropped; try again")

    def _check_receipt(
        self, encoded: bytes, what: str, account: str, tokens: int, reference: bytes
    ) -> None:
        receipt = PaymentReceipt.from_bytes(encoded)
        # One of another order, though signed, would be worth nothing once this one is denied.
        found = receipt.what, receipt.account, receipt.tokens, receipt.reference
        if found != (what, account, tokens, reference):
            raise ContextMismatchError("receipt: is for something else")
        self._backend.verify(self._signer, receipt.message, receipt.signature)


def _ordered(order: Order) -> Purchase:
    return Purchase(order.name, order.epoch, b"".join(piece.point for piece in order.pieces))


def _requested(use: Use, reply_key: bytes) -> Evaluation:
    asked = decode(_ASKED, use.content)
    card = Card.from_bytes(asked.card)
    tokens = b"".join(token + signature for token, signature in use.tokens)
    return Evaluation(card.program, card.epoch, use.epoch, asked.elements, tokens, reply_key)


def _returned(use: Use) -> Return:
    tokens = b"".join(Token(name, signature).to_bytes() for name, signature in use.tokens)
    return Return(use.name, use.epoch, tokens)


def _result_key(card: Card, attribute: int, index: int) -> bytes:
    # The function's key is another for each program and epoch.
    return card.function + attribute.to_bytes(2, "big") + index.to_bytes(2, "big")


def _cut(content: bytes, length: int) -> list[bytes]:
    return [content[start : start + length] for start in range(0, len(content), length)]
