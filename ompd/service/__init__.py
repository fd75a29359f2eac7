"""Hospital, cloud and authority as servers, and the clients of those who ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.service.client import Client
    from ompd.service.subscriber import SubscriberClient

__all__ = ["Client", "SubscriberClient"]


def __getattr__(name: str) -> Any:
    # When it is used: a cloud's server needs neither it nor what it imports.
    if name == "Client":
        from ompd.service.client import Client

        return Client
    if name == "SubscriberClient":
        from ompd.service.subscriber import SubscriberClient

        return SubscriberClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
