"""What the cloud and the place where its tables live agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from ompd.search.verdicts import Ballots
from ompd.wire import (
    Body,
    HardenedJob,
    HardenedUpload,
    Header,
    PaperJob,
    PaperUpload,
    SealedJob,
    SealedUpload,
)

Upload = PaperUpload | HardenedUpload | SealedUpload
Job = PaperJob | HardenedJob | SealedJob


class Stored(Protocol):
    """A table that the cloud can answer jobs on; a class of them stands for a profile.

    Attributes
    ----------
    upload, job : type
        Of the bodies that bring such a table, and that it answers.
    """

    upload: ClassVar[type[Upload]]
    job: ClassVar[type[Job]]

    @classmethod
    def of(cls, body: Any, ballots: Ballots) -> Self:
        """Check an upload and index it, in memory.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, TableError, FramingError
        TooLargeError
        """

    @property
    def k(self) -> int:
        """Neighbours that vote; 0 where the hospital counts votes itself."""

    def prepare(self, body: Any) -> Callable[[], Body]:
        """Check a job, and return what answers it.

        Raises
        ------
        FramingError, RangeError, TooLargeError
        """

    def save(self, folder: Path) -> Self:
        """Write the table to a new folder; returns the one that is mapped from there.

        Raises
        ------
        TableError
            If the file system refuses.
        """

    @classmethod
    def open(cls, folder: Path, ballots: Ballots, *, verify: bool) -> Self:
        """Map what `save` wrote.

        Raises
        ------
        TableError
            If a file is missing, cut or damaged. Of mapped values only the length is looked at,
            unless told to verify them.
        VersionError
            If a file is of another version.
        """


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Version:
    """One version of a table.

    Parameters
    ----------
    owner : str
        The hospital.
    version : int
    upload : Header
        Of the frame it came in.
    stored : Stored, optional
        None where its files are damaged.
    receipt : bytes
        The frame that acknowledged the upload.
    asked : bool
        Whether the hospital has asked it.
    expires : float, optional
        When it stops answering, by the cloud's clock.
    home : str
        Where the data lie, as the place calls it.
    """

    owner: str
    version: int
    upload: Header
    stored: Stored | None
    receipt: bytes = b""
    asked: bool = False
    expires: float | None = None
    home: str = ""


class Tables(Protocol):
    """Where the tables of one cloud live.

    The cloud calls `build` from any thread, and `keep` from one at a time.
    """

    def build(self, upload: Header, body: Upload) -> Version:
        """Check an upload, index it and bring it to where it will answer.

        `keep` or `discard` follows.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, TableError, FramingError
        TooLargeError
            If modulus, values, layout, K or labels are not possible.
        StoreError
            If the place cannot be used.
        """

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table, at once and durably.

        Raises
        ------
        StoreError
            If the place refuses; all is as before then.
        """

    def discard(self, version: Version) -> None:
        """Give up what was built and is not kept."""

    def versions(self, table_id: bytes) -> tuple[Version, ...]:
        """Return all versions of a table, newest first; none where there is no such table.

        Raises
        ------
        StoreError
            If the place was closed, or belongs to the process that this one was forked from.
        """

    def kept(self) -> Mapping[bytes, tuple[Version, ...]]:
        """Return all versions of all tables, by table id."""

    def close(self) -> None:
        """Let others have the place; may be repeated."""
