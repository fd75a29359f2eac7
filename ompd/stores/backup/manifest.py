"""What a backup says of itself.

A backup is a tar file. Its members are the files of the parts of a party's state, named
``part`` or ``part/…``, then ``manifest.json`` with the size, mode and SHA-256 of each and the mode
of each folder, then ``signature``, by the party over the manifest. Other programs can list and read
it. What is left out is told by `is_left_out`.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec

from ompd.crypto.prekey_files import PREKEY_FILE
from ompd.errors import StoreError
from ompd.files import is_spare

#: The last two members.
MANIFEST, SIGNATURE = "manifest.json", "signature"
#: Longest manifest, in bytes; some 100 000 files.
MOST_MANIFEST = 64 << 20
#: Part whose keys have signed the manifest.
IDENTITY = "identity"
#: Part that restoring may leave out.
CONFIG = "config"

_LABEL = b"ompd/backup/1\x00"
#: Hints of a sealed table: a copy would let them be used twice. The others are of a process that
#: ran, or of minutes: locks, a server's address with its token, long answers of a cloud.
_LEFT_OUT = {"hints", "closed", "lock", "running.json", "answers", PREKEY_FILE}
#: What SQLite keeps beside its files; a copy of the file itself has what is in them.
_BESIDE = ("-wal", "-shm", "-journal")

_Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Digest = Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


class Folder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of a backup."""

    name: str
    mode: _Mode


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a backup."""

    name: str
    mode: _Mode
    size: _Size
    sha256: _Digest


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a backup.

    Attributes
    ----------
    format, version
        Of the backup.
    party, role : str
        Whose it is.
    time : int
        When it was begun, in milliseconds since the epoch.
    parts : tuple of str
        Such as "identity", "registry", "state".
    folders : tuple of Folder
        Each behind the one that it is in.
    files : tuple of File
        In the order of the tar file.
    """

    format: Literal["ompd-backup"]
    version: Literal[1]
    party: str
    role: str
    time: int
    parts: tuple[str, ...]
    folders: tuple[Folder, ...]
    files: tuple[File, ...]

    def check(self) -> None:
        """Refuse names that would lead elsewhere, or that occur twice.

        Raises
        ------
        StoreError
        """
        folders = {each.name for each in self.folders}
        names = [folder.name for folder in self.folders] + [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise StoreError("backup: a name occurs twice")
        for name in names:
            part, *rest = name.split("/")
            if part not in self.parts or any(not is_plain(each) for each in (part, *rest)):
                raise StoreError("backup: a name is of no part of it")
            if rest and name.rpartition("/")[0] not in folders:
                raise StoreError("backup: a folder is missing")


def signed(manifest: bytes) -> bytes:
    """Return what the signature of a manifest signs."""
    return _LABEL + hashlib.sha256(manifest).digest()


def is_plain(name: str) -> bool:
    """Whether a name is that of something in a folder."""
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def is_left_out(name: str) -> bool:
    """Whether a file of this name does not belong in a backup."""
    return name in _LEFT_OUT or is_spare(name) or name.endswith(_BESIDE)
