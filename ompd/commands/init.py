"""The command that makes a working configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ompd.commands.console import Profile, needing, plain_errors, say
from ompd.commands.key_tables import fingerprint


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Empty, or new.")],
    profile: Annotated[
        Profile, typer.Option(help="What the hospital's tables tell the cloud.")
    ] = Profile.SEALED,
    hospital: Annotated[str, typer.Option(help="Id of the hospital.")] = "hospital",
    cloud: Annotated[str, typer.Option(help="Id of the cloud.")] = "cloud",
    user: Annotated[str, typer.Option(help="Id of the user.")] = "user",
    port: Annotated[
        int,
        typer.Option(
            help="Port of the hospital; the cloud has the next one, and figures are 1000 above.",
            min=1,
            max=64_534,
        ),
    ] = 8111,
) -> None:
    """Make keys, registries and configurations of a hospital, a cloud and a user on one machine.

    Then, in that folder and each in a terminal of its own: `ompd serve cloud`,
    `ompd serve hospital`, and `ompd outsource wbc --disease breast-cancer-cytology`, after which
    `ompd query` asks.
    """
    with plain_errors(), needing("service"):
        from ompd.service.setup import Ids, Ports, set_up

        made = set_up(
            folder,
            profile=profile.value,
            ids=Ids(hospital, cloud, user),
            ports=Ports(port, port + 1000, port + 1, port + 1001),
        )
        for role, public in made.items():
            say(f"{role}: {public.id}, fingerprint {fingerprint(public)}")
        say(f"wrote hospital.toml, cloud.toml and user.toml in {folder}")
