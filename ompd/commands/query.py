"""The command that asks a hospital."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.catalogue import show_listing
from ompd.commands.console import cell, needing, plain_errors, say
from ompd.errors import FeatureError, ParameterError, StoreError
from ompd.files import refusing

if TYPE_CHECKING:
    from ompd.roles import Diagnoses, Diagnosis
    from ompd.roles.catalogue import Listing
    from ompd.service import Client

#: Rows that are shown; `--out` has all.
_SHOWN = 20


def query(
    people: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE... | FILE",
            help="One person's features, or a file of people: CSV, ARFF, Parquet or Arrow.",
            show_default="show what can be asked",
        ),
    ] = None,
    disease: Annotated[
        str | None, typer.Option(help="What to ask for.", show_default="the only one")
    ] = None,
    config: Annotated[Path, typer.Option(help="The user's configuration.")] = Path("user.toml"),
    schema: Annotated[
        Path | None,
        typer.Option(
            help="How FILE is written, from `ompd schema`.",
            metavar="FILE",
            show_default="cells between commas, named in the first line",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New CSV file for all diagnoses of FILE.")
    ] = None,
) -> None:
    """Ask a hospital for a diagnosis; without a person, show what it can be asked.

    A feature that is left out is missing, where the hospital allows that.

    Example: `ompd query temperature=39.5 cough=yes`, or `ompd query people.csv --out found.csv`
    """
    with plain_errors(), needing("service"):
        from ompd.service import Client

        if out is not None and out.exists():
            raise StoreError(f"{out.name}: is there already; choose another with --out")
        with Client.open(config) as client:
            if not people:
                _show_what_can_be_asked(client, disease)
                return
            name, listing = _chosen(client, disease)
            if len(people) == 1 and "=" not in people[0]:
                found = _of_file(client, name, Path(people[0]), schema or listing.schema)
            else:
                found = client.ask(name, _person(people, listing))
        if out is not None:
            from ompd.bulk.score import csv_of

            with refusing(StoreError, out.name), out.open("xb") as file:
                file.write(csv_of(found))
        if len(found) == 1:
            _show_one(name, found[0])
        else:
            _show(name, found)


def _chosen(client: Client, disease: str | None) -> tuple[str, Listing]:
    listings = client.diseases()
    if disease is None:
        if len(listings) != 1:
            some = ", ".join(listings) or "none"
            raise ParameterError(f"disease: choose one of the hospital's with --disease: {some}")
        disease = next(iter(listings))
    if disease not in listings:
        some = ", ".join(listings) or "none"
        raise ParameterError(f"disease: the hospital has another: {some}")
    return disease, listings[disease]


def _show_what_can_be_asked(client: Client, disease: str | None) -> None:
    listings = client.diseases()
    if disease is not None:
        listings = dict([_chosen(client, disease)])
    if not listings:
        say("Nothing can be asked.")
    for name, listing in listings.items():
        show_listing(Console(highlight=False), name, listing)


def _person(texts: list[str], listing: Listing) -> dict[str, Any]:
    """Return what was written on the command line, by feature."""
    features = {feature.name: feature for feature in listing.schema.features}
    person: dict[str, Any] = dict.fromkeys(features)
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise FeatureError("people: expected NAME=VALUE for one person, or one FILE")
        if name not in features:
            raise FeatureError(f"{name}: is no feature; they are {', '.join(features)}")
        if person[name] is not None:
            raise FeatureError(f"{name}: is there twice")
        feature = features[name]
        person[name] = value if feature.levels or feature.since else _number(name, value)
    return person


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    raise FeatureError(f"{name}: expected a number")


def _of_file(client: Client, disease: str, path: Path, schema: Any) -> Diagnoses:
    from ompd.bulk import diagnose

    if client.diseases()[disease].blind is not None:
        client.enrol()
    return diagnose(
        path, disease=disease, hospital=client.hospital, user=client.user, send=client.send,
        schema=schema,
    )  # fmt: skip


def _show_one(disease: str, found: Diagnosis) -> None:
    if found.error:
        say(f"{disease}: {found.error}")
        return
    say(f"{disease}: {found.label}")
    for name, share in sorted(found.probabilities.items(), key=lambda each: -each[1]):
        votes = f", {found.votes[name]} of {found.k} neighbours" if found.k else ""
        say(f"  {name}: probability {share:.1%}{votes}")
    if found.advice:
        say(f"  {found.advice}")
    if found.filled:
        say(f"  {found.filled} missing values were filled in")
    if found.profile == "blind":
        say("  blind: the hospital does not know what it was asked")
    elif found.certified:
        say("  certified: the hospital knows that no record is nearer")


def _show(disease: str, found: Diagnoses) -> None:
    table = Table(title=cell(disease), title_justify="left")
    for heading in ("row", "label"):
        table.add_column(heading)
    for heading in ("probability", "certified"):
        table.add_column(heading, justify="right")
    for number in range(min(len(found), _SHOWN)):
        each = found[number]
        name = str(number + 1) if each.id is None else each.id
        if each.error:
            table.add_row(cell(name), cell(each.error), "", "")
        else:
            share = f"{each.probabilities[each.label]:.1%}"
            table.add_row(cell(name), cell(each.label), share, "yes" if each.certified else "no")
    console = Console(highlight=False)
    console.print(table)
    if len(found) > _SHOWN:
        say(f"and {len(found) - _SHOWN} more; --out writes all")
    say(f"{len(found)} rows, {found.failures} without a diagnosis")
