"""The cloud's server, from its configuration to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ompd.service.cloud import CloudServer
from ompd.service.config import CloudConfig
from ompd.service.journal import Journal
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.service.operations import operations_app
from ompd.service.parties import open_cloud_server
from ompd.service.running import Running, told
from ompd.service.serving import Addresses, run
from ompd.stores.tables import FolderTables, Tables


def serve_cloud(
    config: CloudConfig,
    started: Callable[[Addresses], None],
    tables_at: Callable[[Path], Tables] = FolderTables,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    config : CloudConfig
    started : callable
        Told the addresses once they answer.
    tables_at : callable
        Opens the folder of the cloud's tables.

    Raises
    ------
    OmpdError
        If the cloud cannot be opened, or an address not be listened on.
    """
    log = logger(config.id)
    with open_cloud_server(config, tables_at) as (cloud, audit), contextlib.ExitStack() as stack:
        metrics = Metrics()
        server = CloudServer(cloud, config.state / "answers", Journal(metrics, audit, log))

        def begin(addresses: Addresses) -> None:
            stack.enter_context(told(config.state, Running.of(addresses)))
            log.info("serving")
            started(addresses)

        operations = operations_app(metrics, server.status)
        run(server.app, config.listen, metrics=operations, started=begin)
