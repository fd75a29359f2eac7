"""The command that hands a table to a cloud."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from ompd.commands.console import BuiltIn, Method, needing, plain_errors, say
from ompd.errors import ConfigError, ParameterError

if TYPE_CHECKING:
    from ompd.service.config import HospitalConfig


class Priors(StrEnum):
    """Which shares the classes have among those who ask."""

    EQUAL = "equal"
    TRAINING = "training"


def outsource(
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="Records: CSV, ARFF, Parquet or Arrow; or wbc or mm."),
    ],
    disease: Annotated[str, typer.Option(help="What users ask for.")],
    config: Annotated[Path, typer.Option(help="The hospital's configuration.")] = Path(
        "hospital.toml"
    ),
    schema: Annotated[
        Path | None,
        typer.Option(
            help="What stands in which column, from `ompd schema`.",
            metavar="FILE",
            show_default="TABLE with .toml",
        ),
    ] = None,
    cloud: Annotated[
        str | None, typer.Option(help="Id of the cloud.", show_default="the only one")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", help="Neighbours that vote, odd.", show_default="chosen"),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="How features become vectors.", show_default="relief-mw")
    ] = None,
    priors: Annotated[
        Priors, typer.Option(help="Shares of the classes among those who ask.")
    ] = Priors.EQUAL,
    advice: Annotated[
        list[str] | None,
        typer.Option(help="What users get beside a label; once per class.", metavar="CLASS=TEXT"),
    ] = None,
    blind: Annotated[
        bool,
        typer.Option("--blind", help="A model that is asked without being seen, and no cloud."),
    ] = False,
    answers: Annotated[
        int | None,
        typer.Option(help="Rows that one user is told of a blind model.", show_default="20"),
    ] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train a hardened table anew, under fresh keys.")
    ] = False,
) -> None:
    """Train a table of records, hide it, and hand it to a cloud; from then on users can ask.

    If the hospital's server runs, it does so, and goes on answering meanwhile: this command finds
    it by a file in its state folder, which only the owner can read. Else the command does it
    itself. The table before it answers until the new one is there.

    Example: `ompd schema old.csv --out old.toml`, look at old.toml, then
    `ompd outsource old.csv --disease flu`
    """
    with plain_errors(), needing("service"):
        from ompd.service import logs
        from ompd.service.config import HospitalConfig, read_config
        from ompd.service.orders import outsource as hand_over
        from ompd.service.uploading import Order

        logs.configure(level="error")
        read = read_config(config, HospitalConfig)
        blind = blind or read.profile == "blind"
        built_in = table in list(BuiltIn) and schema is None
        if not built_in and schema is None:
            schema = Path(table).with_suffix(".toml")
            if not schema.exists():
                raise ConfigError(
                    f"schema: there is no {schema.name}; `ompd schema {table} --out {schema}` "
                    "proposes one"
                )
        order = Order(
            # The server may be in another folder.
            table=table if built_in else str(Path(table).absolute()),
            schema=None if schema is None else str(schema.absolute()),
            disease=disease,
            cloud=_only(read) if cloud is None and not blind else cloud,
            k=k,
            method=None if method is None else method.value,
            priors=priors.value,
            advice=_advice(advice or []),
            answers=answers,
            retrain=retrain,
            blind=blind,
        )
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            console=Console(stderr=True),
        ) as bar:  # fmt: skip
            tasks: dict[str, TaskID] = {}

            def progress(stage: str, share: float) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=1.0)
                bar.update(tasks[stage], completed=share)

            done = hand_over(read, order, progress)
        if blind:
            say(f"{disease}: learned from {done.rows} records, asked without being seen")
            return
        say(f"{disease}: {done.rows} records at {order.cloud}, {done.k} neighbours vote")


def _only(config: HospitalConfig) -> str:
    if len(config.clouds) != 1:
        raise ParameterError("cloud: there are several; choose one with --cloud")
    return next(iter(config.clouds))


def _advice(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, sign, advice = text.partition("=")
        if not sign or name in found:
            raise ParameterError("advice: expected CLASS=TEXT, once per class")
        found[name] = advice
    return found
