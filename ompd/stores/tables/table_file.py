"""The file of a table in a cloud's folder: which versions there are; see `folder`."""

from __future__ import annotations

import itertools
import re

import msgspec

from ompd.arrays import Form
from ompd.stores.tables.contract import Past
from ompd.stores.tables.profiles import MADE_BY
from ompd.wire import Header

FORM = Form("tables of a cloud", 2)
HOME = re.compile(r"([0-9a-f]{32})-[0-9a-f]{16}")
INDEX_FILE = re.compile(r"index(-[0-9a-f]{16})?")


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One version in the file of its table."""

    owner: str
    version: int
    upload: Header
    receipt: bytes
    asked: bool
    expires: float | None
    home: str
    index: str
    past: tuple[Past, ...]
    withdrawn: bool


class TableFile(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The file of a table."""

    versions: tuple[Entry, ...]


def plausible(table: str, versions: tuple[Entry, ...]) -> bool:
    """Whether a file names versions of one hospital, newest first, and data of its own table."""
    homes = [HOME.fullmatch(entry.home) for entry in versions]
    numbers = [entry.version for entry in versions]
    return (
        len({entry.owner for entry in versions}) == 1
        and all(entry.withdrawn or entry.upload.kind in MADE_BY for entry in versions)
        and all(entry.withdrawn or INDEX_FILE.fullmatch(entry.index) for entry in versions)
        and all(
            entry.withdrawn or (home is not None and home[1] == table)
            for entry, home in zip(versions, homes, strict=True)
        )
        and all(new > old for new, old in itertools.pairwise(numbers))
    )
