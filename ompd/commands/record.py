"""Commands of a person's health record: make one, fill it from files, read it, write it out."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ompd.commands.console import needing, plain_errors, say
from ompd.commands.passwords import PasswordOption, password_of
from ompd.errors import ImportFileError, ParameterError

if TYPE_CHECKING:
    from ompd.record import Record
    from ompd.record.importing import Imported, Mapping

record_app = typer.Typer(
    no_args_is_help=True, help="A person's own health record, in a sealed file."
)

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the record.")]

# Bytes of a mapping that are read: more than it may have.
_MOST_MAPPING = 1 << 17


class Form(StrEnum):
    """What a record is written as."""

    BUNDLE = "bundle"
    SUMMARY = "summary"
    TABLE = "table"
    PDF = "pdf"


class Language(StrEnum):
    """Of what people read."""

    EN = "en"
    DE = "de"


LanguageOption = Annotated[Language, typer.Option(help="Of words that are not the record's.")]


@record_app.command()
def create(folder: FolderArgument, password_file: PasswordOption = None) -> None:
    """Make an empty record."""
    with plain_errors():
        from ompd.record import Record

        with Record.create(folder, password_of(password_file, fresh=True)):
            say(f"made an empty record in {folder}")


@record_app.command(name="import")
def import_(
    folder: FolderArgument,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Bundles of FHIR R4 (JSON), tables (CSV), exports of Apple Health (zip or XML)."
        ),
    ],
    mapping: Annotated[
        Path | None, typer.Option(help="What the columns of tables are, in TOML.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out, and count, what is wrong in a file.")
    ] = False,
    password_file: PasswordOption = None,
) -> None:
    """Add to a record what files tell of its person. The same file again adds nothing.

    A file with anything wrong is refused as a whole, unless with `--partial`.
    """
    with plain_errors(), needing("care"):
        columns = _mapping_of(mapping)
        with opened(folder, password_file) as record:
            for path in files:
                done = _imported(record, path, columns, partial=partial)
                say(
                    f"{path.name}: {done.added:,} added, {done.replaced:,} replaced, "
                    f"{done.same:,} known"
                )
                for reason, count in done.skipped.items():
                    say(f"  left out: {count:,} × {reason}")


@record_app.command()
def export(
    folder: FolderArgument,
    out: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    form: Annotated[
        Form,
        typer.Option(
            help="The whole as a bundle of FHIR, to be imported again; the International Patient "
            "Summary; a table for spreadsheets; print."
        ),
    ] = Form.BUNDLE,
    language: LanguageOption = Language.EN,
    password_file: PasswordOption = None,
) -> None:
    """Write a record into a file that anybody can read who has it."""
    with plain_errors(), needing("care"):
        from ompd.files import write_private
        from ompd.record import exporting

        with opened(folder, password_file) as record:
            if form is Form.BUNDLE:
                content = exporting.everything(record)
            elif form is Form.SUMMARY:
                content = exporting.summary(record, language=language.value)
            elif form is Form.TABLE:
                content = exporting.table(record, language=language.value)
            else:
                content = exporting.pdf(record, language=language.value)
        problem = ""
        try:
            write_private(out, [content], exclusive=True)
        except OSError as error:
            problem = error.strerror or "cannot be written"
        if problem:
            raise ParameterError(f"{out}: {problem}")
        say(f"wrote {len(content):,} bytes, not sealed, to {out}")


@record_app.command()
def show(
    folder: FolderArgument,
    reference: Annotated[
        str | None, typer.Argument(help="One resource, such as Observation/abc, as JSON.")
    ] = None,
    search: Annotated[str, typer.Option(help="Words that must all occur, or a code.")] = "",
    kind: Annotated[str | None, typer.Option(help="Such as Observation.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most resources.")] = 20,
    language: LanguageOption = Language.EN,
    password_file: PasswordOption = None,
) -> None:
    """Show what is in a record, newest first; or one resource."""
    with plain_errors(), needing("care"):
        from ompd.record.exporting import described

        with opened(folder, password_file) as record:
            if reference is not None:
                document = json.loads(record.get(reference).json)
                for line in json.dumps(document, indent=2, ensure_ascii=False).splitlines():
                    say(line)
                return
            found = record.search(search) if search else record.list()
            found = [entry for entry in found if kind in {None, entry.kind}]
            for entry in found[:limit]:
                title, value = described(record.get(entry.reference), language.value, record)
                when = entry.when.date().isoformat() if entry.when else " " * 10
                say(f"{when}  {title}: {value}".removesuffix(": ").replace("\n", "; "))
                say(f"            {entry.reference}")
            if len(found) > limit:
                say(f"and {len(found) - limit:,} more")


def opened(folder: Path, password_file: Path | None) -> Record:
    """Open the record in a folder; a password is asked for only if there is one."""
    from ompd.record import Record
    from ompd.record.record import FILE

    if not (folder / FILE).is_file():
        raise ParameterError(f"{folder}: holds no record; ompd record create makes one")
    return Record.open(folder, password_of(password_file))


def _mapping_of(path: Path | None) -> Mapping | None:
    from ompd.record.importing import Mapping

    if path is None:
        return None
    try:
        with path.open("rb") as stream:
            return Mapping.from_toml(stream.read(_MOST_MAPPING))
    except OSError:
        pass
    raise ImportFileError("mapping: expected a file that can be read")


def _imported(record: Record, path: Path, mapping: Mapping | None, *, partial: bool) -> Imported:
    from ompd.record.importing import import_file

    problem = ""
    try:
        with path.open("rb") as stream:
            return import_file(record, stream, mapping=mapping, partial=partial)
    except ImportFileError as error:
        problem = str(error)
    except OSError:
        problem = "expected a file that can be read"
    raise ImportFileError(f"{path.name}: {problem}")
