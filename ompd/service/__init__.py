"""Hospital and cloud as servers, and the client of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.service.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    # When it is used: a cloud's server needs neither it nor what it imports.
    if name == "Client":
        from ompd.service.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
