"""The command that runs a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ompd.commands.console import needing, plain_errors
from ompd.errors import ParameterError

if TYPE_CHECKING:
    from ompd.service.serving import Addresses
    from ompd.stores.tables import Tables

_PREPARING = "preparing: a first start compiles, for a minute or so"


class Server(StrEnum):
    """Parties that serve."""

    HOSPITAL = "hospital"
    CLOUD = "cloud"
    AUTHORITY = "authority"


def serve(
    party: Annotated[Server, typer.Argument(help="Which one.", metavar="hospital|cloud|authority")],
    config: Annotated[
        Path | None,
        typer.Option(help="Its configuration.", show_default="PARTY.toml"),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Ray cluster whose nodes answer for a cloud; needs ompd\\[cluster].",
            metavar="ADDRESS",
        ),
    ] = None,
) -> None:
    """Run the server of a party, until Ctrl-C or SIGTERM; `ompd init` configures the first two.

    It says where it listens once it does, and logs to standard error, a line of JSON each. When it
    is told to end, what was accepted is answered first.
    """
    with plain_errors(), needing("service"):
        if ray is not None and party is not Server.CLOUD:
            raise ParameterError("--ray: is for a cloud alone")
        from ompd.service import logs
        from ompd.service.serving import check_free

        file = Path(f"{party.value}.toml") if config is None else config
        if party is Server.HOSPITAL:
            from ompd.compilation import warmup
            from ompd.service.config import HospitalConfig, read_config
            from ompd.service.hospital import serve_hospital

            hospital = read_config(file, HospitalConfig)
            check_free(hospital.listen)
            logs.configure()
            logs.logger(hospital.id).info(_PREPARING)
            warmup()
            serve_hospital(hospital, _started(hospital.id))
        elif party is Server.AUTHORITY:
            from ompd.service.authority import serve_authority
            from ompd.service.config import AuthorityConfig, read_config

            authority = read_config(file, AuthorityConfig)
            check_free(authority.listen)
            logs.configure()
            serve_authority(authority, _started(authority.id))
        else:
            from ompd.service.cloud_server import serve_cloud
            from ompd.service.config import CloudConfig, read_config

            cloud = read_config(file, CloudConfig)
            check_free(cloud.listen)
            logs.configure()
            logs.logger(cloud.id).info(_PREPARING)
            # By another process: this one is not to load what a hospital blinds with.
            subprocess.run([sys.executable, "-c", "import ompd; ompd.warmup()"], check=False)
            serve_cloud(cloud, _started(cloud.id), _tables_at(ray))


def _tables_at(ray: str | None) -> Callable[[Path], Tables]:
    """Return what opens a cloud's folder of tables: for itself, or for a cluster."""
    from ompd.stores.tables import FolderTables

    if ray is None:
        return FolderTables
    from ompd.cluster import Tables as ClusterTables

    return partial(ClusterTables, address=ray)


def _started(party: str) -> Callable[[Addresses], None]:
    def say(addresses: Addresses) -> None:
        sys.stdout.write(f"{party} serves at {addresses.service}, figures {addresses.metrics}\n")
        sys.stdout.flush()

    return say
