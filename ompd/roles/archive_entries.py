"""The files of diseases in a hospital's state folder; see `archive`."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path

import msgspec

from ompd.arrays import Form, pack, unpack
from ompd.errors import OmpdError, StoreError
from ompd.files import refusing, write_private
from ompd.roles.storage import StoredTable, StoredUpload

FORM = Form("disease", 6)
#: Names of the files.
DISEASE = re.compile(r"disease-[0-9a-f]{32}")
#: Versions that a hospital may have given since a backup: no more than it can give.
_SINCE = 1 << 32


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One disease: the content of its file."""

    disease: str
    table_id: bytes
    last: int
    asked: StoredTable | None = None
    waiting: StoredUpload | None = None
    # Whether there is a file of what versions have in common.
    frozen: bool = False

    def __repr__(self) -> str:
        return "<Entry>"


def file_name(disease: str) -> str:
    """Name of the file of a disease, which may hold characters that no file name can."""
    digest = hashlib.blake2b(disease.encode(errors="surrogatepass"), digest_size=16)
    return f"disease-{digest.hexdigest()}"


def read_entry(file: Path) -> Entry:
    """Read the file of a disease.

    Raises
    ------
    StoreError, VersionError
    """
    with refusing(StoreError, "file"):
        data = file.read_bytes()
    return unpack(data, FORM, Entry, name="file", error=StoreError).content


def frozen_name(entry: Entry) -> str:
    """Name of the file of what versions have in common."""
    return f"{entry.table_id.hex()}.frozen"


def version_name(table_id: bytes, version: int) -> str:
    """Name of the folder of a version."""
    return f"{table_id.hex()}-{version}"


def table_name(entry: Entry, table: StoredTable) -> str:
    """Name of the folder of a table."""
    return version_name(entry.table_id, table.version)


def waiting_table(entry: Entry) -> StoredTable | None:
    """Return the table that waits for its receipt."""
    return None if entry.waiting is None else entry.waiting.table


def names_of(entry: Entry) -> set[str]:
    """Names of tables and files that a disease has."""
    tables = [each for each in (entry.asked, waiting_table(entry)) if each is not None]
    names = {table_name(entry, each) for each in tables}
    if entry.waiting is not None:
        names.add(f"{table_name(entry, entry.waiting.table)}.spool")
    return names | ({frozen_name(entry)} if entry.frozen else set())


def put_back(folder: Path) -> None:
    """Make a state folder that was put back from a backup fit to be opened.

    Nobody knows which versions were given since. The next ones come behind all of them, what waited
    for a receipt is made anew, and of a blinded table too nobody asks an old version, which a cloud
    has for as long as the newest was not asked. Of a sealed one clouds have the newest alone.

    Parameters
    ----------
    folder : Path
        Not open. Damaged files stay as they are.

    Raises
    ------
    OSError, OmpdError
        If it cannot be read or written.
    """
    for path in sorted(folder.iterdir()):
        if DISEASE.fullmatch(path.name):
            with contextlib.suppress(OmpdError):
                entry = read_entry(path)
                asked = entry.asked
                if asked is not None and asked.profile != "sealed":
                    asked = None
                entry = msgspec.structs.replace(
                    entry, last=entry.last + _SINCE, asked=asked, waiting=None
                )
                write_private(path, pack(FORM, entry).parts)
