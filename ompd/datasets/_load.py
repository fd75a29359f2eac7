"""One door for the built-in data sets and for a hospital's own file."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ompd.datasets._builtin import NAMES, load_builtin
from ompd.datasets._dataset import Dataset
from ompd.datasets._frames import Part, needed, read_part, sift_parts
from ompd.datasets._table import read_table, sift_table
from ompd.errors import DatasetError
from ompd.schema import Errors, Schema
from ompd.schema.arrow import MAGIC, batches
from ompd.schema.delimited import MOST_BYTES, read_file
from ompd.schema.rows import check_errors

#: Largest schema, in bytes.
MOST_SCHEMA = 64 << 20


def load(
    source: str | os.PathLike[str],
    schema: Schema | str | os.PathLike[str] | None = None,
    *,
    errors: Errors = "raise",
) -> Dataset:
    """Read a built-in data set or a file.

    Parameters
    ----------
    source : str or path
        ``"wbc"``, ``"mm"`` or ``"cleveland"``; anything else is the path of a file: CSV, ARFF,
        Parquet or Arrow.
        Text is UTF-8. What stands in which column, `schema.table` says; without it, cells are
        separated by commas, the first line names the columns, and the last one holds classes.
        Columns are found by name, and others are not read.
    schema : Schema or path of its TOML or JSON, optional
        Needed for a file; `Schema.infer` proposes one. A built-in data set brings its own.
    errors : {"raise", "skip", "collect"}, default="raise"
        What becomes of a row with a fault: an error; it is left out; it is left out and told in
        the data set's `errors`.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If there is no such file or name, the schema is absent, the text is not UTF-8 or not of
        the schema's form, a column, an id or a cell is missing, an id is there twice, no row is
        there, or a built-in file was changed.
    SchemaError
        If the schema's file is not a schema.
    FeatureError
        For a feature that is missing or no plain decimal number.
    DomainError
        For a number outside its domain, a fraction where whole numbers are due, or a text that is
        none of its feature's levels.
    LabelError
        For a class that is missing or not in the schema.
    BackendUnavailableError
        If Parquet or Arrow needs the extra ``arrow``.

    Notes
    -----
    Messages carry the line in the file, from 1, and the name of the column, never a value. The
    form of the whole file is checked first, then domains: the first fault of each sort is named.

    Examples
    --------
    >>> from ompd.datasets import load
    >>> load("mm")
    <Dataset 'mm': 830 × 5, 427 benign, 403 malignant>
    """
    if not isinstance(source, (str, os.PathLike)):
        raise DatasetError(f"source: expected a name or path, got {type(source).__name__}")
    errors = check_errors(errors)
    if isinstance(source, str) and source in NAMES:
        if schema is not None:
            raise DatasetError(
                f"schema: {source!r} brings its own; for a file of that name pass a pathlib.Path"
            )
        return load_builtin(source)
    if schema is None:
        raise DatasetError(
            f"schema: needed to read a file; without one, source must be one of {', '.join(NAMES)}"
        )
    return _load_file(Path(source), read_schema(schema), errors)


def _load_file(path: Path, schema: Schema, errors: Errors) -> Dataset:
    form = MAGIC.get(read_file(path, 4, whole=False))
    if form is not None:
        values, codes, ids, told = sift_parts(_parts(path, schema, form), schema, errors)
        digest = _digest(path)
    else:
        raw = read_file(path, MOST_BYTES)
        # Both let go of the interpreter.
        with ThreadPoolExecutor(1) as other:
            hashed = other.submit(hashlib.sha256, raw)
            table = read_table(raw, schema, path.name, lenient=errors != "raise")
            digest = hashed.result().hexdigest()
            del raw, hashed
        values, codes, ids, told = sift_table(table, path.name, errors)
        del table
    return Dataset.of(
        schema, values, codes, ids, told, name=path.stem, title=path.name, sha256=digest
    )


def _parts(path: Path, schema: Schema, form: str) -> Iterator[Part]:
    def wanted(names: list[str]) -> list[str]:
        features, label, ident = needed(names, schema)
        return [*features, label, *([ident] if ident else [])]

    for frame in batches(path, form, wanted):
        yield read_part(frame, schema)


def read_schema(schema: Schema | str | os.PathLike[str]) -> Schema:
    """Return a schema, or read one from a file of TOML (``.toml``) or JSON.

    Raises
    ------
    DatasetError, SchemaError
        If there is none.
    """
    if isinstance(schema, Schema):
        return schema
    if not isinstance(schema, (str, os.PathLike)):
        raise DatasetError(
            f"schema: expected a Schema or the path of its file, got {type(schema).__name__}"
        )
    path = Path(schema)
    data = read_file(path, MOST_SCHEMA).removeprefix(codecs.BOM_UTF8)
    return Schema.from_toml(data) if path.suffix.lower() == ".toml" else Schema.from_json(data)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    raise DatasetError(f"{path}: the file cannot be read")
