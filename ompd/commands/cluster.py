"""Commands around a cluster of machines that answer for clouds."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import cell, plain_errors, say

cluster_app = typer.Typer(
    help="A Ray cluster whose nodes answer for clouds; needs ompd\\[cluster].",
    epilog="Start with: ompd cluster status --ray ADDRESS",
    no_args_is_help=True,
)


@cluster_app.callback()
def _group() -> None:
    """Keep the name of the one command that there is."""


@cluster_app.command()
def status(
    ray: Annotated[
        str, typer.Option("--ray", help="Address of the cluster.", metavar="ADDRESS")
    ] = "auto",
) -> None:
    """Show the nodes of a cluster and what the workers of clouds hold there.

    It is an error if a node has another version of this package or of NumPy than is here, or lets
    anybody in without a token.
    """
    with plain_errors():
        from ompd.cluster.rays import actors, check_nodes, connect, nodes

        module = connect(ray)
        try:
            there = nodes(module)
            known = check_nodes(module)
            working = actors(module)
        finally:
            module.shutdown()
        say(f"{len(there)} nodes, {len(working)} workers")
        console = Console(highlight=False)
        console.print(_nodes(there, known))
        if working:
            console.print(_workers(working))


def _nodes(there: list[dict[str, Any]], known: dict[str, dict[str, str]]) -> Table:
    table = Table("node", "address", title="nodes", title_justify="left")
    for title in ("processors", "memory"):
        table.add_column(title, justify="right")
    table.add_column("versions")
    for each in there:
        has = known[each["NodeID"]]
        table.add_row(
            each["NodeID"][:8],
            cell(str(each["NodeManagerAddress"])),
            f"{each['Resources'].get('CPU', 0):,.0f}",
            _size(each["Resources"].get("memory", 0)),
            cell(f"ompd {has['ompd']}, numpy {has['numpy']}"),
        )
    return table


def _workers(working: list[dict[str, Any]]) -> Table:
    table = Table("host", title="workers", title_justify="left")
    for title in ("process", "threads", "tables or parts", "memory", "asked"):
        table.add_column(title, justify="right")
    for each in sorted(working, key=lambda told: (told["node"], told["pid"])):
        table.add_row(
            cell(each["node"]),
            str(each["pid"]),
            str(each["threads"]),
            f"{len(each['held']):,}",
            _size(each["bytes"]),
            f"{each['asked']:,}",
        )
    return table


def _size(count: float) -> str:
    return f"{count / (1 << 30):,.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):,.1f} MiB"
