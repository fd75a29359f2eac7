"""The client of a user, for programs."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

from ompd.errors import (
    AllowanceError,
    BusyError,
    NoAnswerError,
    OmpdError,
    OutdatedError,
    ParameterError,
    PrekeyError,
    RefusedError,
    UnenrolledError,
    UnknownDiseaseError,
    UnreachableError,
)
from ompd.roles import Diagnoses, User
from ompd.roles.catalogue import MOST_BYTES, Listing
from ompd.roles.party import FRESHNESS_WINDOW
from ompd.service.acquaintance import meet_again
from ompd.service.caller import LONGEST_PAUSE, PAUSE, Caller
from ompd.service.config import Connect, UserConfig, read_config
from ompd.service.parties import open_user
from ompd.wire import CAPS, Kind

#: Seconds for which a diagnosis is tried for; a frame is acceptable for two minutes.
PATIENCE = 60.0
#: Seconds after which a frame may not be fresh any more; clocks may differ by as many.
_STALE = FRESHNESS_WINDOW / 2
#: How often a query is made anew that the hospital refused: it may have been on its way when the
#: hospital was stopped. Who is refused for another reason is refused again.
_REFUSALS = 2
_MOST_IDENTITY = 4096


class Client:
    """Asks a hospital over HTTP. For several threads.

    What is lost on the way is asked for again: the identical frame, which costs the hospital and
    the patient nothing, as long as it may have an answer; a new one where it has none.

    Parameters
    ----------
    user : User
        Who asks; it has met the hospital.
    hospital : str
        Its id.
    url : str
        Where it is: ``https://name:port``.
    connect : Connect
        Files of TLS.
    patience : float
        Seconds for which one diagnosis is tried for.

    Raises
    ------
    ParameterError
        If the patience is no number of seconds.
    ConfigError
        If a file of TLS cannot be used.

    Examples
    --------
    >>> from ompd.service import Client
    >>> with Client.open("user.toml") as client:  # doctest: +SKIP
    ...     found = client.ask("flu", {"temperature": 39.5, "cough": "yes"})
    ...     print(found[0].label)
    """

    def __init__(
        self,
        user: User,
        hospital: str,
        url: str,
        *,
        connect: Connect = Connect(),  # noqa: B008  (it is immutable)
        patience: float = PATIENCE,
    ) -> None:
        if not 0 < patience < math.inf:
            raise ParameterError("patience: expected a number of seconds above 0")
        self._user = user
        self._hospital = hospital
        self._patience = patience
        self._stack = ExitStack()
        self._caller = self._stack.enter_context(Caller("hospital", url, connect))

    @classmethod
    def open(cls, config: str | os.PathLike[str], *, patience: float = PATIENCE) -> Self:
        """Return a client as a configuration says.

        Parameters
        ----------
        config : path
            File of TOML; ``ompd init`` makes one.
        patience : float

        Raises
        ------
        ConfigError, KeystoreError, PasswordError, StoreError
            If it, or what it names, is missing or not of its form.
        """
        read = read_config(config, UserConfig)
        with ExitStack() as stack:
            user = stack.enter_context(open_user(read))
            client = cls(user, read.hospital, read.url, connect=read.connect, patience=patience)
            client._stack.push(stack.pop_all())
            return client
        raise AssertionError  # pragma: no cover  (the stack swallows nothing)

    @property
    def user(self) -> User:
        """Who asks."""
        return self._user

    @property
    def hospital(self) -> str:
        """Id of the hospital."""
        return self._hospital

    def close(self) -> None:
        """Close connections and files."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def diseases(self) -> Mapping[str, Listing]:
        """Return what can be asked, by the hospital's present catalogue; also meets it again.

        Raises
        ------
        UnreachableError
            If the hospital cannot be reached.
        OmpdError
            As `User.learn`.
        """
        self._learn()
        # For whoever goes on with `send`, which asks nothing anew after a refusal.
        with contextlib.suppress(OmpdError):
            self._meet_again()
        return self._user.diseases(self._hospital)

    def ask(self, disease: str, features: Any, **options: Any) -> Diagnoses:
        """Return the diagnoses of one person or several.

        Parameters
        ----------
        disease : str
        features
            As for `User.ask`; with names, in any order.
        **options
            `errors` and `ids` of `User.ask`.

        Raises
        ------
        UnreachableError
            If the hospital cannot be reached for `patience` seconds.
        BusyError
            If it is busy for as long.
        RefusedError
            If it does not accept the query, as `NoAnswerError` if it got no answer to it, as
            `AllowanceError` if it answers this user no more about a blind model.
        OmpdError
            As `User.ask` and `User.read`.
        """
        try:
            self._user.diseases(self._hospital)
        except OutdatedError:
            self._learn()
        end = time.monotonic() + self._patience
        refusals, pause, stale = 0, PAUSE, False
        while True:
            query, made = self._query(disease, features, options), time.monotonic()
            report = self._exchange(query, end)
            if report is None:
                if not stale and time.monotonic() - made > _STALE:
                    # It waited for so long that no hospital would take it any more.
                    stale = True
                    continue
                raise RefusedError("report: the hospital did not answer the query")
            try:
                return self._user.read(report)
            except OutdatedError:
                # The hospital has published another schema meanwhile.
                self._learn()
            except NoAnswerError:
                pass
            except UnenrolledError:
                self._enrol(end)
            except AllowanceError:
                raise
            except RefusedError:
                refusals += 1
                if refusals > _REFUSALS:
                    raise
                # A hospital that was restored has lost the short-lived key that it is known by.
                with contextlib.suppress(OmpdError):
                    self._meet_again()
            if time.monotonic() + pause >= end:
                raise NoAnswerError("report: the hospital got no answer in time")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def enrol(self) -> None:
        """Give the hospital this user's key for blind queries; `ask` does where it is needed.

        Raises
        ------
        UnreachableError, BusyError
            If the hospital cannot be reached for `patience` seconds.
        OmpdError
            As `User.enrol` and `User.enrolled`.
        """
        self._enrol(time.monotonic() + self._patience)

    def _enrol(self, end: float) -> None:
        receipt = self._exchange(self._user.enrol(self._hospital), end)
        if receipt is None:
            raise RefusedError("receipt: the hospital did not answer")
        self._user.enrolled(receipt)

    def send(self, query: bytes) -> bytes:
        """Take a query frame to the hospital and return its answer.

        For `ompd.diagnose`, with ``hospital=client.hospital`` and ``user=client.user``.

        Raises
        ------
        UnreachableError
            If the hospital cannot be reached for `patience` seconds, or is busy for as long, or has
            no answer to this.
        """
        busy = ""
        try:
            answer = self._exchange(query, time.monotonic() + self._patience)
        except BusyError as error:
            answer, busy = None, str(error)
        if answer is None:
            raise UnreachableError(busy or "hospital: did not answer the query")
        return answer

    def _query(self, disease: str, features: Any, options: Mapping[str, Any]) -> bytes:
        """Make a frame, with what the hospital says of itself now where that is needed."""
        for _ in range(2):
            try:
                return self._user.ask(self._hospital, disease, features, **options)
            except (OutdatedError, UnknownDiseaseError):
                # Its next catalogue may have it.
                self._learn()
            except PrekeyError:
                self._meet_again()
        return self._user.ask(self._hospital, disease, features, **options)

    def _learn(self) -> None:
        self._user.learn(self._get("/v1/diseases", MOST_BYTES))

    def _meet_again(self) -> None:
        found = self._get("/v1/identity", _MOST_IDENTITY)
        meet_again(self._user.directory, self._hospital, found)

    def _get(self, path: str, most: int) -> bytes:
        """Return what stands at a path.

        Raises
        ------
        UnreachableError, BusyError
        """
        found = self._caller.request("GET", path, None, most, time.monotonic() + self._patience)
        if found is None:
            raise UnreachableError("hospital: what answers there is none")
        return found

    def _exchange(self, query: bytes, end: float) -> bytes | None:
        return self._caller.request("POST", "/v1/frames", query, CAPS[Kind.REPORT], end)
