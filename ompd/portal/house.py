"""What the pages share: the record, whom it may be shown to hospitals by, and the way out."""

from __future__ import annotations

import base64
import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.responses import Response

from ompd.confidential import Confidential
from ompd.errors import ConfigError, OutdatedError, RecordError, UnknownResourceError
from ompd.portal.door import Door
from ompd.record import Reader, Record
from ompd.roles.catalogue import Listing
from ompd.service import Client, SubscriberClient
from ompd.service.crew import Crew

#: Answers to forms that can be looked at again: of some tabs, and by going back.
_MOST_ANSWERS = 16


class House(Confidential):
    """Whatever outlives one request of the person; nothing of it outlives the process.

    Parameters
    ----------
    record : Record or None
        One's own; None for whoever reads what others share.
    door : Door
    hospitals : mapping of str to Path
        Configurations of the person as a user of hospitals, by the hospital's name.
    cloud : SubscriberClient, optional
        The way to the cloud that keeps what is shared.
    close : callable
        Ends the server.

    Attributes
    ----------
    opened : Reader or None
        What is read: the own record, or what somebody else shares.
    language : str
        Chosen by the person; empty as long as the browser says it.
    said : str
        What the next page begins with.
    owner : str
        Whose record it is, if it is somebody else's.
    notices : dict
        By recipient, a handle and what a recipient is to be given.
    shared_notices : bytes
        What opens the shared record that is read.
    """

    def __init__(
        self,
        record: Record | None,
        door: Door,
        *,
        hospitals: Mapping[str, Path] | None = None,
        cloud: SubscriberClient | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._own = record
        self.opened: Reader | None = record
        self.door = door
        self.hospitals = dict(hospitals or {})
        self.cloud = cloud
        self.close = close
        self.language = ""
        self.said = ""
        self.owner = ""
        self.notices: dict[str, tuple[str, bytes]] = {}
        self.shared_notices = b""
        self._secret = secrets.token_bytes(32)
        self._references: dict[str, str] = {}
        self._clients: dict[str, Client] = {}
        self._answers: dict[str, Response] = {}
        self._lock = threading.Lock()
        # Whoever waits for a hospital may look at another page meanwhile.
        self.crew = Crew("ompd-pages", 2)

    @property
    def reads_only(self) -> bool:
        """Whether the record is somebody else's."""
        return self._own is None

    @property
    def record(self) -> Reader:
        """What is read.

        Raises
        ------
        UnknownResourceError
            If nothing was opened.
        """
        if self.opened is None:
            raise UnknownResourceError("record: none is open")
        return self.opened

    @property
    def own(self) -> Record:
        """The record, to be written into.

        Raises
        ------
        RecordError
            If it is somebody else's.
        """
        if self._own is None:
            raise RecordError("record: is somebody else's, and can be read only")
        return self._own

    @property
    def person(self) -> SubscriberClient:
        """The way to the cloud.

        Raises
        ------
        ConfigError
            If none is set up.
        """
        if self.cloud is None:
            raise ConfigError("cloud: none is set up; start with --cloud")
        return self.cloud

    def client(self, hospital: str) -> Client:
        """Return what asks a hospital.

        Raises
        ------
        ConfigError, KeystoreError, PasswordError, StoreError
            If what its configuration names cannot be used.
        """
        with self._lock:
            if hospital not in self._clients:
                self._clients[hospital] = Client.open(self.hospitals[hospital])
            return self._clients[hospital]

    def known(self, hospital: str) -> Mapping[str, Listing] | None:
        """Return what is known of a hospital, without asking it; None if nothing is."""
        client = self._clients.get(hospital)
        if client is None:
            return None
        try:
            return client.user.diseases(hospital)
        except OutdatedError:
            return None

    def keep(self, answer: Response) -> str:
        """Return what stands for the answer to a form, until there were some others."""
        handle = secrets.token_urlsafe(12)
        self._answers[handle] = answer
        while len(self._answers) > _MOST_ANSWERS:
            self._answers.pop(next(iter(self._answers)), None)
        return handle

    def answer(self, handle: str) -> Response:
        """Return the answer to a form.

        Raises
        ------
        UnknownResourceError
            If it is not kept any more.
        """
        found = self._answers.get(handle)
        if found is None:
            raise UnknownResourceError("form: its answer is not kept any more")
        return found

    def leave(self) -> None:
        """Wait for the page that is being made, and close what was opened."""
        self.crew.close()
        for client in self._clients.values():
            client.close()

    def handle(self, reference: str) -> str:
        """Return what stands for a resource in addresses, until the process ends.

        Browsers keep addresses, and the names of resources from elsewhere may tell what they are.
        """
        digest = hmac.digest(self._secret, reference.encode(), "sha256")
        handle = base64.urlsafe_b64encode(digest[:12]).decode()
        self._references[handle] = reference
        return handle

    def reference(self, handle: str) -> str:
        """Return the resource that a handle stands for.

        Raises
        ------
        UnknownResourceError
            If it stands for none.
        """
        found = self._references.get(handle)
        if found is None:
            raise UnknownResourceError("record: there is no such resource any more")
        return found
