"""The client of a person who keeps and shares records, and pays for advice of programs."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Self, TypeVar

from ompd.crypto.identity import MAX_PUBLIC_IDENTITY_BYTES
from ompd.errors import ConfigError, OmpdError, ParameterError, PrekeyError, UnreachableError
from ompd.monitor import Card
from ompd.roles import Subscriber
from ompd.service.acquaintance import meet_again
from ompd.service.caller import Caller
from ompd.service.client import PATIENCE
from ompd.service.config import Connect, SubscriberConfig, read_config
from ompd.service.parties import open_subscriber
from ompd.share import Received, Scope
from ompd.share.scopes import RECORD_BYTES
from ompd.wire import CAPS, Kind
from ompd.wire.payments import MAX_LETTER_BYTES

T = TypeVar("T")
#: Programs that are kept to be walked again.
_MOST_PROGRAMS = 16


class _UnansweredError(UnreachableError):
    """The server has no answer to this; perhaps to the same under its present short-lived key."""


class SubscriberClient:
    """Uses clouds and authorities over HTTP. For several threads.

    What is lost on the way is sent again, the identical bytes, and costs nothing twice: what is
    ordered or paid for stands in the wallet before it is sent, and is asked for again by the next
    call that pays, also after a crash.

    Parameters
    ----------
    subscriber : Subscriber
        Who asks; it has met those it asks.
    clouds, authorities : mapping of str to str
        Where each is, by its id: ``https://name:port``.
    connect : Connect
        Files of TLS.
    patience : float
        Seconds for which one request is tried.

    Raises
    ------
    ParameterError
        If the patience is no positive number.
    ConfigError
        If a file of TLS cannot be used.

    Notes
    -----
    `cloud` in methods is the id of a cloud; it may be left out where there is only one. Besides
    what they name, all methods that ask raise

    * `UnreachableError`, if a server cannot be reached or has no answer to this,
    * `BusyError`, if it is busy for `patience` seconds,
    * `ConfigError`, if nobody said where it is,
    * `RefusedError`, if it does not accept the request,

    and what the method of `Subscriber` or `Records` of the same name raises.

    Examples
    --------
    >>> from ompd.service import SubscriberClient
    >>> with SubscriberClient.open("person.toml") as client:  # doctest: +SKIP
    ...     name = client.store("cardio", b"rate 71")
    ...     notice = client.grant("cardio", "bell", public_of_bell)
    """

    def __init__(
        self,
        subscriber: Subscriber,
        *,
        clouds: Mapping[str, str],
        authorities: Mapping[str, str],
        connect: Connect = Connect(),  # noqa: B008  (it is immutable)
        patience: float = PATIENCE,
    ) -> None:
        if not 0 < patience < float("inf"):
            raise ParameterError("patience: expected a number of seconds above 0")
        self._subscriber = subscriber
        self._patience = patience
        self._stack = ExitStack()
        self._clouds = list(clouds)
        self._programs: dict[bytes, bytes] = {}
        self._callers = {
            party: self._stack.enter_context(Caller(role, url, connect))
            for role, urls in (("cloud", clouds), ("authority", authorities))
            for party, url in urls.items()
        }

    @classmethod
    def open(cls, config: str | os.PathLike[str], *, patience: float = PATIENCE) -> Self:
        """Return a client as a configuration says; see `SubscriberConfig`.

        The key that records are sealed under is kept in the folder of the identity, and made when
        it is not there.

        Raises
        ------
        ConfigError, KeystoreError, PasswordError, StoreError
            If it, or what it names, is missing or not of its form.
        """
        read = read_config(config, SubscriberConfig)
        with ExitStack() as stack:
            subscriber = stack.enter_context(open_subscriber(read))
            client = cls(
                subscriber,
                clouds=read.clouds,
                authorities=read.authorities,
                connect=read.connect,
                patience=patience,
            )
            client._stack.push(stack.pop_all())
            return client
        raise AssertionError  # pragma: no cover  (the stack swallows nothing)

    @property
    def subscriber(self) -> Subscriber:
        """Who asks."""
        return self._subscriber

    @property
    def public(self) -> bytes:
        """What others grant to, 48 bytes."""
        return self._subscriber.records.public

    def close(self) -> None:
        """Close connections, and files that were opened here."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- records

    def store(
        self,
        kind: str,
        content: bytes,
        *,
        record: bytes | None = None,
        epoch: int | None = None,
        cloud: str | None = None,
    ) -> bytes:
        """Have a record kept; returns its name. As `Records.store`."""
        # One name for all tries, so that there is one record.
        name = secrets.token_bytes(RECORD_BYTES) if record is None else record
        return self._of_cloud(
            cloud, lambda to: self._subscriber.records.store(kind, content, to, name, epoch)
        )

    def remove(self, scope: Scope, record: bytes, *, cloud: str | None = None) -> None:
        """Have a record forgotten."""
        self._of_cloud(cloud, lambda to: self._subscriber.records.remove(scope, record, to))

    def names(self, scope: Scope, *, cloud: str | None = None) -> list[bytes]:
        """Return the names of the records of a scope, which is one's own or granted."""
        return self._of_cloud(cloud, lambda to: self._subscriber.records.names(scope, to))

    def open_record(self, scope: Scope, record: bytes, *, cloud: str | None = None) -> bytes:
        """Return a record of one's own, opened. As `Records.open`."""
        return self._of_cloud(cloud, lambda to: self._subscriber.records.open(scope, record, to))

    def grant(self, kind: str, recipient: str, public: bytes, *, cloud: str | None = None) -> bytes:
        """Share a type of records of the present epoch; returns a notice for the recipient."""
        return self._of_cloud(
            cloud, lambda to: self._subscriber.records.grant(kind, recipient, public, to)
        )

    def revoke(self, scope: Scope, recipient: str, *, cloud: str | None = None) -> None:
        """Have a grant refused before its epoch ends. As `Records.revoke`."""
        self._of_cloud(cloud, lambda to: self._subscriber.records.revoke(scope, recipient, to))

    def outsource(self, kind: str, *, cloud: str | None = None) -> None:
        """Let a cloud do the work of opening one's own records. As `Records.outsource`."""
        self._of_cloud(cloud, lambda to: self._subscriber.records.outsource(kind, to))

    def accept(self, notice: bytes) -> Received:
        """Return what opens the records of a grant. As `Records.accept`; asks nobody."""
        return self._subscriber.records.accept(notice)

    def open_shared(self, received: Received, record: bytes, *, cloud: str | None = None) -> bytes:
        """Return a record that is shared with this person, opened. As `Records.open_shared`."""
        return self._of_cloud(
            cloud, lambda to: self._subscriber.records.open_shared(received, record, to)
        )

    # --- programs

    def read_card(self, encoded: bytes) -> Card:
        """Return a company's card, verified. As `Subscriber.read_card`; asks nobody."""
        return self._subscriber.read_card(encoded)

    def ready(self, card: Card) -> int:
        """Return how many tokens of the card's authority can be used now."""
        return self._subscriber.purse(card).ready

    def buy(self, card: Card, count: int) -> None:
        """Buy tokens; what was sent before and not answered comes first. As `Subscriber.buy`."""
        # Whatever keeps that from being answered is no reason not to buy.
        with contextlib.suppress(OmpdError):
            self.resume(card)
        frames = self._frames(card.authority, Kind.ACCOUNT_ANSWER)
        self._paid(card, lambda: self._subscriber.buy(card, count, frames))

    def give_back(self, card: Card, count: int) -> None:
        """Give back tokens that were never used. As `Subscriber.give_back`."""
        with contextlib.suppress(OmpdError):
            self.resume(card)
        frames = self._frames(card.authority, Kind.ACCOUNT_ANSWER)
        self._paid(card, lambda: self._subscriber.give_back(card, count, frames))

    def resume(self, card: Card) -> None:
        """Ask again for what was sent and not answered. As `Subscriber.resume`."""
        self._again(card.authority, lambda: self._resume(card))

    def advise(self, card: Card, values: Mapping[str, float]) -> str:
        """Return a program's advice. As `Subscriber.advise`; the program is fetched once."""
        if (content := self._programs.get(card.digest)) is None:
            content = self._of_cloud(card.cloud, lambda to: self._subscriber.fetch(card, to[1]))
            if len(self._programs) >= _MOST_PROGRAMS:
                self._programs.clear()
            self._programs[card.digest] = content
        letters = self._letters(card.authority)
        return self._again(
            card.authority, lambda: self._subscriber.advise(card, content, values, letters)
        )

    # --- on the way

    def _of_cloud(
        self, cloud: str | None, action: Callable[[tuple[str, Callable[[bytes], bytes]]], T]
    ) -> T:
        if cloud is None:
            if len(self._clouds) != 1:
                raise ConfigError("cloud: say which, since the configuration does not name one")
            cloud = self._clouds[0]
        if cloud not in self._clouds:
            raise ConfigError("clouds: the configuration does not say where this one is")
        to = cloud, self._frames(cloud, Kind.KEEPING_ANSWER)
        return self._again(cloud, lambda: action(to))

    def _paid(self, card: Card, action: Callable[[], None]) -> None:
        """Do what puts down an order, which is not to be put down twice."""
        try:
            action()
        except (_UnansweredError, PrekeyError):
            self._meet_again(card.authority)
            self._resume(card)

    def _resume(self, card: Card) -> None:
        frames = self._frames(card.authority, Kind.ACCOUNT_ANSWER)
        self._subscriber.resume(card, frames, self._letters(card.authority))

    def _again(self, party: str, action: Callable[[], T]) -> T:
        """Do what may be done twice, for a server that may have another short-lived key now."""
        try:
            return action()
        except (_UnansweredError, PrekeyError):
            self._meet_again(party)
        return action()

    def _meet_again(self, party: str) -> None:
        found = self._request(party, "GET", "/v1/identity", None, MAX_PUBLIC_IDENTITY_BYTES)
        meet_again(self._subscriber.directory, party, found)

    def _frames(self, party: str, answer: Kind) -> Callable[[bytes], bytes]:
        return lambda frame: self._request(party, "POST", "/v1/frames", frame, CAPS[answer])

    def _letters(self, party: str) -> Callable[[bytes], bytes]:
        return lambda letter: self._request(
            party, "POST", "/v1/evaluations", letter, MAX_LETTER_BYTES
        )

    def _request(
        self, party: str, method: str, path: str, content: bytes | None, most: int
    ) -> bytes:
        caller = self._callers.get(party)
        if caller is None:
            raise ConfigError("servers: the configuration does not say where this one is")
        end = time.monotonic() + self._patience
        found = caller.request(method, path, content, most, end)
        if found is None:
            # Whoever is on the way could say so, too: nothing is given up for it.
            raise _UnansweredError("server: has no answer to this")
        return found
