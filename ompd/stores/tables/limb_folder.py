"""The folder of a limb table: who may write to it, and what is left over in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ompd.errors import OmpdError, TableError, VersionError
from ompd.files import FolderLock, is_spare, make_folder, refusing, sweep
from ompd.stores.tables.limb_index import INDEX, read_index


def make_table_folder(folder: Path) -> None:
    """Create the folder, or make sure that an existing one is a table or empty."""
    with refusing(TableError, "path"):
        make_folder(folder)
        foreign = any(
            entry.name != "lock"
            and not entry.name.startswith(("limbs-", INDEX))
            and not is_spare(entry.name)
            for entry in folder.iterdir()
        )
    if foreign:
        raise TableError("path: expected an empty folder or a table")


def next_generation(folder: Path) -> int:
    """Generation that follows the folder's, so that whoever has it open notices the change."""
    with contextlib.suppress(TableError, VersionError):
        return read_index(folder)[0].generation + 1
    return 0


def sweep_limbs(folder: Path) -> None:
    """Remove what no index names; whoever still maps limbs keeps them until they close.

    The folder is locked. If it has an index that cannot be read, all stays as it is.
    """
    with contextlib.suppress(OmpdError, OSError):
        indexes = [path.name for path in folder.iterdir() if path.name.startswith(INDEX)]
        named = {read_index(folder, name)[0].limb_file for name in indexes}
        sweep(folder)
        for path in folder.glob("limbs-*"):
            if path.name not in named:
                path.unlink()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's write lock; it falls with the process that holds it."""
    with refusing(TableError, "lock"):
        lock = FolderLock(folder, wait=True)
    try:
        yield
    finally:
        lock.release()
