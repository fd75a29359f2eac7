"""A person who pays for advice of programs, and keeps records in a cloud and shares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ompd.crypto import EnvelopeKey, Identity
from ompd.errors import (
    ContextMismatchError,
    CreditError,
    OmpdError,
    RefusedError,
    RoleError,
    SpentError,
)
from ompd.monitor import Card, Purse, walk
from ompd.monitor.letters import open_answer, seal_request
from ompd.monitor.program import index_of
from ompd.roles.party import Party
from ompd.roles.requests import Carrier, ask
from ompd.roles.sharing import Records
from ompd.share import SharingKey, check_epoch
from ompd.stores import Wallet
from ompd.wire.keeping import KeepingAnswer, KeepingRequest, ProgramAnswer, ProgramRequest
from ompd.wire.payments import AccountAnswer, AccountRequest, Purchase, Return, Returned, Tokens


class Subscriber(Party):
    """Pays for advice by tokens, and shares records.

    Parameters
    ----------
    identity : Identity
    wallet : str or path
        File of tokens, which no other person uses.
    sharing : SharingKey, optional
        What the keys of records follow from; a new one by default, which is lost with the process.
    **options
        Directory, replays, clock and window as for `Party`.

    Attributes
    ----------
    wallet : Wallet
    records : Records
    """

    role = "user"

    def __init__(
        self,
        identity: Identity,
        *,
        wallet: Any,
        sharing: SharingKey | None = None,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        self.wallet = Wallet(wallet)
        backend = identity.signing_key.backend
        self.records = Records(self._post, sharing or SharingKey.generate(backend))

    def read_card(self, encoded: bytes) -> Card:
        """Return a company's card, verified.

        Raises
        ------
        UnknownKeyError, RoleError
            If this person has not met the company, or not as one.
        SignatureError
            If the company did not sign it.
        EpochError
            If its epoch is not the present one.
        FrameError, ProgramError
            If it is not of its form.
        """
        card = Card.from_bytes(encoded)
        company = self.directory.get(card.company)
        if self.directory.role(card.company) != "company":
            raise RoleError("card: its maker is not registered as a company")
        backend = self._post.identity.signing_key.backend
        backend.verify(company.signing_key, card.message, card.signature)
        check_epoch(card.epoch, self._post.now())
        return card

    def purse(self, card: Card) -> Purse:
        """Return what this person has of tokens of a card's authority."""
        signer = self.directory.get(card.authority).signing_key
        backend = self._post.identity.signing_key.backend
        return Purse(
            self.wallet, self.id, card.authority, card.tokens, signer, self._post.now, backend
        )

    def buy(self, card: Card, count: int, authority: Carrier) -> None:
        """Buy tokens, from the credit that the authority has for this person.

        Raises
        ------
        RefusedError, CreditError
            If the credit is not enough. The order is forgotten.
        OmpdError
            If the authority cannot be asked. The order stays in the wallet then, and `resume`
            sends it again.
        """
        purse = self.purse(card)
        self._order(purse, card, purse.order(count), authority)

    def give_back(self, card: Card, count: int, authority: Carrier) -> None:
        """Give back tokens that were never used, for credit.

        Raises
        ------
        CreditError
            If there are not as many of one epoch.
        SpentError
            If some are spent, as after an older copy of the wallet was put back.
        OmpdError
            If the authority cannot be asked; as `buy`.
        """
        purse = self.purse(card)
        self._return(purse, card, purse.give_back(count)[1], authority)

    def resume(self, card: Card, account: Carrier, authority: Carrier) -> None:
        """Send again what was sent or put down before and not answered, as after a crash.

        What no authority takes any more is let go of. One that is refused keeps nothing else from
        being sent: its error comes at the end.

        Parameters
        ----------
        card : Card
        account : callable
            To the authority, for frames.
        authority : callable
            To the authority, for evaluations.

        Raises
        ------
        OmpdError
            As `buy`, `give_back` and `advise`; of several, the first.
        """
        purse = self.purse(card)
        orders, returns, requests = purse.unanswered()
        steps: list[Callable[[], None]] = [
            *(partial(self._order, purse, card, order, account) for order in orders),
            *(partial(self._return, purse, card, each, account) for each in returns),
            *(partial(self._evaluate, purse, card, name, authority) for name in requests),
        ]
        problems = []
        for step in steps:
            try:
                step()
            except OmpdError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def fetch(self, card: Card, cloud: Carrier) -> bytes:
        """Return a card's program, encrypted, from its cloud.

        Raises
        ------
        ContextMismatchError
            If the cloud answers with something else.
        OmpdError
            If the cloud cannot be asked, or refuses.
        """
        wanted = KeepingRequest(ProgramRequest(card.program, card.epoch))
        answer = ask(self._post, card.cloud, wanted, KeepingAnswer, cloud).matter
        if not isinstance(answer, ProgramAnswer):
            raise ContextMismatchError("answer: is no program")
        return answer.content

    def advise(
        self, card: Card, content: bytes, values: Mapping[str, float], authority: Carrier
    ) -> str:
        """Return a program's advice; pays one token for each attribute that it comes to ask for.

        What was paid for is remembered: the same value costs nothing until the epoch ends.

        Parameters
        ----------
        card : Card
        content : bytes
            The encrypted program, from `fetch`.
        values : mapping of str to float
            By names of attributes.
        authority : callable
            Takes a letter to the authority and brings the answer, as `Authority.evaluate` does.
            The letter names nobody; whether the way there does is the caller's duty.

        Raises
        ------
        FeatureError, DomainError
            If a value that is asked for is missing, no number or outside its domain.
        CreditError
            If there are not enough tokens.
        EpochError
            If the card's epoch is over.
        ProgramError, ContextMismatchError
            If the program is damaged, or another than the card's.
        OmpdError
            If the authority cannot be asked. The request stays in the wallet then; `resume`.
        """
        purse = self.purse(card)
        outputs: dict[int, list[bytes]] = {}
        while True:
            advice, attribute = walk(card, content, outputs)
            if advice is not None:
                return advice
            index = index_of(card.attributes[attribute], values)
            while (found := purse.outputs(card, attribute, index)) is None:
                self._pay(purse, card, (attribute, index), authority)
            outputs[attribute] = found

    def close(self) -> None:
        """Close the wallet."""
        self.wallet.close()

    def _pay(self, purse: Purse, card: Card, value: tuple[int, int], authority: Carrier) -> None:
        """Have a value evaluated, once, or drop tokens that turn out to be spent."""
        # What was paid for and not answered is not paid for again.
        name = purse.on_its_way(card, *value) or purse.use(card, [value])
        try:
            self._evaluate(purse, card, name, authority)
        except SpentError:
            # Those of an older copy of the wallet, until there are none.
            return
        except ContextMismatchError:
            # Another thread may have got the same answer to the same request before.
            if purse.outputs(card, *value) is None:
                raise

    def _order(self, purse: Purse, card: Card, order: Purchase, carry: Carrier) -> None:
        try:
            answer = ask(self._post, card.authority, AccountRequest(order), AccountAnswer, carry)
        except (RefusedError, CreditError):
            # Or it would be filled one day when nobody wants it any more.
            purse.cancel(order)
            raise
        if not isinstance(answer.matter, Tokens):
            raise ContextMismatchError("answer: expected tokens")
        purse.fill(answer.matter)

    def _return(self, purse: Purse, card: Card, order: Return, carry: Carrier) -> None:
        answer = ask(self._post, card.authority, AccountRequest(order), AccountAnswer, carry)
        if not isinstance(answer.matter, Returned):
            raise ContextMismatchError("answer: expected what became of tokens")
        purse.given_back(answer.matter)

    def _evaluate(self, purse: Purse, card: Card, name: bytes, carry: Carrier) -> None:
        key = EnvelopeKey.generate(self._post.identity.envelope_key.suite)
        known = self.directory.get(card.authority)
        body = purse.request(name, key.public_bytes)
        letter = seal_request(body, known.key_at(self._post.now()))
        purse.used(name, open_answer(letter, carry(letter), key))
