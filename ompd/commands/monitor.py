"""The command that shows a program that is paid per use, on real readings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import needing, plain_errors, say

if TYPE_CHECKING:
    from ompd.commands.monitor_run import MonitorResult

monitor_app = typer.Typer(
    help="Decision programs of a company, encrypted in a cloud and paid per use.",
    epilog="Start with: ompd monitor demo",
    no_args_is_help=True,
)


@monitor_app.callback()
def _monitor() -> None:
    """Decision programs of a company, encrypted in a cloud and paid per use."""


@monitor_app.command()
def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Let a cardiac program advise on twelve minutes of a person's heart, for tokens.

    Company, authority, cloud, person and physician are made for the call and speak by frames. The
    thresholds are examples, and no medical advice.
    """
    with plain_errors(), needing("monitor"):
        from ompd.commands.monitor_run import run_monitor

        result = run_monitor()
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
    else:
        _show(result)


@monitor_app.command()
def deposit(
    account: Annotated[str, typer.Argument(help="Id of who paid.")],
    tokens: Annotated[int, typer.Argument(min=1, help="How many tokens were paid for.")],
    payment: Annotated[str, typer.Option(help="What names the payment; it counts once.")],
    config: Annotated[Path, typer.Option(help="Configuration of the authority.")] = Path(
        "authority.toml"
    ),
) -> None:
    """Credit tokens that somebody has paid for; the authority's server may run."""
    with plain_errors(), needing("service"):
        from ompd.crypto import check_id
        from ompd.service.config import AuthorityConfig, read_config
        from ompd.service.parties import open_till

        name = hashlib.sha256(payment.encode(errors="surrogatepass")).digest()[:16]
        with open_till(read_config(config, AuthorityConfig)) as till:
            till.deposit(check_id(account), name, tokens)
            say(f"{account} can buy {till.credit(account)} tokens")


def _show(result: MonitorResult) -> None:
    console = Console(highlight=False)
    table = Table("minute", "beats/min", "SDNN ms", "RMSSD ms", "advice", "tokens")
    for number, (reading, advice, tokens) in enumerate(result.minutes, start=1):
        table.add_row(str(number), *(f"{each:.1f}" for each in reading), advice, str(tokens))
    console.print(table)
    console.print(
        f"{result.bought} tokens bought, {result.used} used, {result.given_back} given back; "
        f"program {result.program_bytes:,} bytes; "
        f"{'all' if result.agrees else 'NOT ALL'} as the plain program advises"
    )
    console.print(
        f"record shared with a physician: {'opened' if result.shared else 'NOT opened'}; "
        f"receipts of the authority: {result.receipts}, one chain"
    )
    console.print(
        "texts of program and record in files of cloud and authority: "
        f"{result.found_in_files} of {result.looked_for}"
    )
