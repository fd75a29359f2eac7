"""The command that shows what a hospital says of itself."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ompd.commands.console import plain_errors
from ompd.commands.key_tables import moment
from ompd.errors import StoreError, UnknownDiseaseError
from ompd.files import refusing

if TYPE_CHECKING:
    from ompd.roles.catalogue import Catalogue, Listing
    from ompd.schema import Feature


def catalogue(
    file: Annotated[Path, typer.Argument(help="What a hospital handed out.")],
    registry: Annotated[Path, typer.Option(help="Registry file, which has its keys.")],
    disease: Annotated[str | None, typer.Option(help="Only this one, with its features.")] = None,
) -> None:
    """Verify a hospital's catalogue and show what can be asked."""
    with plain_errors():
        found = _read(file, registry)
        listings = found.diseases
        if disease is not None:
            name = unicodedata.normalize("NFC", disease)
            if name not in listings:
                raise UnknownDiseaseError("disease: is not in this catalogue")
            listings = {name: listings[name]}
        console = Console(highlight=False)
        console.print(
            f"{found.hospital}, made {moment(found.made_at / 1000)}, valid until "
            f"{moment(found.valid_until / 1000)}",
            markup=False,
        )
        if not listings:
            console.print("Nothing can be asked.")
        for name, listing in listings.items():
            show_listing(console, name, listing)


def _read(file: Path, registry: Path) -> Catalogue:
    from ompd.crypto import backend
    from ompd.roles.catalogue import MOST_BYTES, read_catalogue
    from ompd.stores.registry import Registry

    with refusing(StoreError, file.name), file.open("rb") as opened:
        # One more, so that what is too long is found to be.
        data = opened.read(MOST_BYTES + 1)
    if not os.path.lexists(registry):
        raise StoreError(f"{registry.name}: there is no such registry")
    with Registry(registry) as parties:
        return read_catalogue(data, parties, backend(), time.time())[0]


def show_listing(console: Console, disease: str, listing: Listing) -> None:
    """Show what a hospital says of one disease."""
    noise = "" if listing.epsilon is None else f", noise of epsilon {listing.epsilon:g} per row"
    asked = f"{listing.k} neighbours"
    if listing.blind is not None:
        asked = f"{listing.blind.answers} rows per user"
    console.print(f"\n{disease}", style="bold", markup=False)
    console.print(
        f"{listing.profile}, {listing.method}, {asked}, up to {listing.most_rows} "
        f"rows per query{noise}; schema {listing.form.hex()}",
        markup=False,
    )
    console.print(f"Classes: {', '.join(listing.schema.classes)}", markup=False)
    table = Table()
    for heading in ("feature", "kind", "domain", "unit", "missing", "about"):
        table.add_column(heading, overflow="fold")
    for feature in listing.schema.features:
        row = (
            feature.name, feature.kind, _domain(feature), feature.unit, feature.missing,
            feature.about,
        )  # fmt: skip
        table.add_row(*map(escape, row))
    console.print(table)


def _domain(feature: Feature) -> str:
    if feature.levels:
        return ", ".join(feature.levels)
    days = f" days since {feature.since}" if feature.since else ""
    return f"{feature.low:g} to {feature.high:g}{days}"
