"""A person beside a cloud that is reached by a function, and not over HTTP."""

from __future__ import annotations

from ompd.roles import Subscriber
from ompd.roles.requests import Carrier
from ompd.share import Received, Scope


class Direct:
    """A `ompd.record.parcels.Person` over any transport.

    Parameters
    ----------
    subscriber : Subscriber
    cloud : (id, callable)
        The callable takes a frame there and brings the answer.
    """

    def __init__(self, subscriber: Subscriber, cloud: tuple[str, Carrier]) -> None:
        self.subscriber = subscriber
        self._cloud = cloud

    def store(
        self, kind: str, content: bytes, *, record: bytes | None = None, epoch: int | None = None
    ) -> bytes:
        """As `Records.store`."""
        return self.subscriber.records.store(kind, content, self._cloud, record, epoch)

    def remove(self, scope: Scope, record: bytes) -> None:
        """As `Records.remove`."""
        self.subscriber.records.remove(scope, record, self._cloud)

    def names(self, scope: Scope) -> list[bytes]:
        """As `Records.names`."""
        return self.subscriber.records.names(scope, self._cloud)

    def open_record(self, scope: Scope, record: bytes) -> bytes:
        """As `Records.open`."""
        return self.subscriber.records.open(scope, record, self._cloud)

    def grant(self, kind: str, recipient: str, public: bytes) -> bytes:
        """As `Records.grant`."""
        return self.subscriber.records.grant(kind, recipient, public, self._cloud)

    def revoke(self, scope: Scope, recipient: str) -> None:
        """As `Records.revoke`."""
        self.subscriber.records.revoke(scope, recipient, self._cloud)

    def accept(self, notice: bytes) -> Received:
        """As `Records.accept`."""
        return self.subscriber.records.accept(notice)

    def open_shared(self, received: Received, record: bytes) -> bytes:
        """As `Records.open_shared`."""
        return self.subscriber.records.open_shared(received, record, self._cloud)
