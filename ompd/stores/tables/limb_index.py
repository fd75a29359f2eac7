"""The index file of a limb table on disk; see `limbs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np

from ompd.arrays import BLOCK_ROWS, I64, Array, Form, pack, unpack
from ompd.errors import TableError
from ompd.files import refusing, write_private
from ompd.search import Index, LimbTable

_FORM = Form("limb table", 3)

#: The file of the newest version where there is only one.
INDEX = "index"

#: What a profile adds to its table; constant as the table changes.
Facts = Mapping[str, int | bytes]


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the file says."""

    limb_file: str
    rows: int
    coordinates: int
    limbs: int
    classes: int
    generation: int
    scalars: dict[str, int]
    facts: dict[str, int | bytes]
    blocks: tuple[bytes, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the limbs."""
        return self.rows, self.coordinates, self.limbs


def write_index(
    folder: Path,
    table: LimbTable,
    limb_file: str,
    generation: int,
    facts: Facts,
    blocks: tuple[bytes, ...],
    blank: I64,
    name: str = INDEX,
) -> Head:
    """Replace an index file; the new table exists from the rename on.

    `blank` are the rows that hold zeros, or shall.

    Raises
    ------
    TableError
        If the file system refuses.
    """
    stored: dict[str, Array] = {"labels": table.labels.astype("<u2"), "blank": blank}
    scalars = {}
    for field in fields(Index):
        value = getattr(table.index, field.name)
        if isinstance(value, np.ndarray):
            stored[field.name] = value
        else:
            scalars[field.name] = int(value)
    rows, coordinates, limbs = table.limbs.shape
    head = Head(
        limb_file, rows, coordinates, limbs, table.classes, generation, scalars, dict(facts),
        blocks,
    )  # fmt: skip
    with refusing(TableError, "index"):
        write_private(folder / name, pack(_FORM, head, stored).parts)
    return head


def read_index(folder: Path, name: str = INDEX) -> tuple[Head, dict[str, Array]]:
    """Return what the file says, and the arrays of labels, blank rows and index.

    Raises
    ------
    TableError
        If the file is missing, foreign, cut or damaged.
    VersionError
        If it is of another version.
    """
    with refusing(TableError, "index"):
        data = (folder / name).read_bytes()
    head, arrays, _ = unpack(data, _FORM, Head, name="index", error=TableError)
    if not _plausible(head):
        raise TableError("index: expected the index of a table")
    return head, arrays


def _plausible(head: Head) -> bool:
    """Whether the index names a file of this folder and possible sizes."""
    return (
        head.limb_file.startswith("limbs-")
        and head.limb_file[6:].isalnum()
        and min(*head.shape, head.classes) >= 1
        and len(head.blocks) == -(-head.rows // BLOCK_ROWS)
    )
