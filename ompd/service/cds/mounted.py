"""What a hospital's server mounts, if its configuration says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.routing import Route

from ompd.service.cds.desk import Desk
from ompd.service.cds.routes import routes
from ompd.service.config import HospitalConfig
from ompd.service.parties import open_asker


@contextmanager
def mounted(
    config: HospitalConfig,
    catalogue: Callable[[], bytes],
    send: Callable[[bytes], Awaitable[bytes | None]],
) -> Iterator[list[Route]]:
    """Return the routes of the CDS services, none if there are none; closes all at the end.

    Parameters
    ----------
    config : HospitalConfig
    catalogue, send : callable
        As for `Desk`.

    Raises
    ------
    ConfigError, KeystoreError, PasswordError, StoreError
        If what it names is missing, of another party, or in use.
    """
    if config.cds is None:
        yield []
        return
    with open_asker(config, config.cds) as user:
        yield routes(config.cds, config.id, Desk(user, config.id, catalogue, send))
