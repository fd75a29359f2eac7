"""The data sets that ship with the package."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import msgspec

from ompd.datasets._dataset import Dataset
from ompd.datasets._info import Change, DatasetInfo
from ompd.datasets._table import Table, check_domains, read_table
from ompd.errors import DatasetError

NAMES = ("wbc", "mm", "cleveland")


def available() -> tuple[DatasetInfo, ...]:
    """Describe the built-in data sets without reading their rows."""
    return tuple(_info(name) for name in NAMES)


def load_builtin(name: str) -> Dataset:
    """Read one of `NAMES`, check it and apply its recorded corrections.

    Raises
    ------
    DatasetError
        If the installed file is missing, or differs from the one that was recorded.
    """
    info = _info(name)
    where = f"{name}.csv"
    raw = _resource(where)
    if hashlib.sha256(raw).hexdigest() != info.sha256:
        raise DatasetError(f"{where}: the SHA-256 differs from the recorded one; reinstall ompd")
    table = read_table(raw, info.schema, where)
    for change in info.changes:
        _correct(table, change, info)
    check_domains(table, where)
    dataset = Dataset(info, table.values, table.codes)
    if len(dataset) != info.rows or dataset.class_rows != info.class_rows:
        raise DatasetError(f"{where}: expected as many rows of each class as {name}.json records")
    return dataset


def _correct(table: Table, change: Change, info: DatasetInfo) -> None:
    """Replace the cell that `change` names; do nothing for a change of another sort."""
    if change.row is None:
        return
    columns = [feature.name for feature in info.schema.features]
    # The old value is part of the record, so that a record for other data cannot pass unseen.
    fits = (
        change.feature in columns
        and change.now is not None
        and 0 <= change.row < len(table.values)
        and table.values[change.row, columns.index(change.feature)] == change.was
    )
    if not fits:
        raise DatasetError(f"{info.name}.json: a recorded correction does not fit the table")
    table.values[change.row, columns.index(str(change.feature))] = change.now


def _info(name: str) -> DatasetInfo:
    try:
        return msgspec.json.decode(_resource(f"{name}.json"), type=DatasetInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise DatasetError(f"{name}.json: damaged; reinstall ompd") from None


def _resource(name: str) -> bytes:
    try:
        return files("ompd.datasets").joinpath("data", name).read_bytes()
    except OSError:
        raise DatasetError(f"{name}: missing from the installation; reinstall ompd") from None
