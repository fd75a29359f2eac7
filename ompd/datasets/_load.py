"""One door for the built-in data sets and for a hospital's own file."""

from __future__ import annotations

import codecs
import hashlib
import os
from pathlib import Path

from ompd.datasets._builtin import NAMES, load_builtin
from ompd.datasets._dataset import Dataset, DatasetInfo
from ompd.datasets._table import check_domains, read_table
from ompd.errors import DatasetError
from ompd.schema import Schema


def load(
    source: str | os.PathLike[str], schema: Schema | str | os.PathLike[str] | None = None
) -> Dataset:
    """Read a built-in data set or a CSV file.

    Parameters
    ----------
    source : str or path
        ``"wbc"`` or ``"mm"``; anything else is the path of a file. The file is UTF-8 and
        comma-separated. Its header is the schema's feature names in order and one more name, that
        of the label column, which holds class names.
    schema : Schema or path of its JSON, optional
        Needed for a file; a built-in data set brings its own.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If there is no such file or name, the schema is absent, the text is not UTF-8 or not CSV,
        header or number of cells are wrong, no row is there, or a built-in file was changed.
    SchemaError
        If the schema's JSON is not a schema.
    FeatureError
        For a feature that is missing or no plain decimal number.
    DomainError
        For a number outside its domain, or a fraction where whole numbers are due.
    LabelError
        For a class that is missing or not in the schema.

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
    return _load_file(Path(source), _schema(schema))


def _load_file(path: Path, schema: Schema) -> Dataset:
    raw = _read(path)
    table = read_table(raw, schema, path.name)
    check_domains(table, schema, path.name)
    counts = [int((table.codes == code).sum()) for code in range(len(schema.classes))]
    info = DatasetInfo(
        name=path.stem,
        title=path.name,
        schema=schema,
        rows=len(table.codes),
        class_rows=tuple(counts),
        sha256=hashlib.sha256(raw).hexdigest(),
    )
    return Dataset(info, table.values, table.codes)


def _schema(schema: Schema | str | os.PathLike[str]) -> Schema:
    if isinstance(schema, Schema):
        return schema
    if not isinstance(schema, (str, os.PathLike)):
        raise DatasetError(
            f"schema: expected a Schema or the path of its JSON, got {type(schema).__name__}"
        )
    return Schema.from_json(_read(Path(schema)).removeprefix(codecs.BOM_UTF8))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problem = "no such file"
    except IsADirectoryError:
        problem = "expected a file, got a folder"
    except (OSError, ValueError):  # ValueError: a NUL in the path
        problem = "the file cannot be read"
    raise DatasetError(f"{path}: {problem}")
