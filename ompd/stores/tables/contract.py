"""What the cloud and the place where its tables live agree on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import msgspec

from ompd.arrays import U8, U16
from ompd.search.verdicts import Ballots
from ompd.stores.tables.limb_index import INDEX
from ompd.wire import (
    Body,
    HardenedChange,
    HardenedJob,
    HardenedUpload,
    Header,
    PaperChange,
    PaperJob,
    PaperUpload,
    SealedJob,
    SealedUpload,
)

Change = PaperChange | HardenedChange
Upload = PaperUpload | HardenedUpload | SealedUpload
Job = PaperJob | HardenedJob | SealedJob


@dataclass(frozen=True, slots=True, repr=False)
class Piece:
    """Some rows of an upload, as one frame brings them.

    Attributes
    ----------
    rows : int
        Of all pieces together; buckets of a ``sealed`` table.
    first : int
        Number of the first one here.
    width : int
        Bytes of values per row.
    values : bytes
    labels : bytes
        One little-endian uint16 code per row; empty in ``sealed``.
    """

    rows: int
    first: int
    width: int
    values: bytes
    labels: bytes

    @property
    def count(self) -> int:
        """Rows that are here."""
        return len(self.values) // self.width


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
    def piece(cls, body: Any) -> Piece:
        """Check a body as far as that can be done without the others of its upload.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, FramingError, TooLargeError
            If what it says of the table, or its part of it, is not possible.
        """

    @classmethod
    def of(cls, body: Any, values: U8, labels: U16, ballots: Ballots) -> Self:
        """Index all rows of an upload.

        Parameters
        ----------
        body : Upload
            One of its bodies; its own rows are not looked at.
        values : uint8 array of shape (rows * width,)
            Those of all pieces, checked by `piece`. They are kept and not copied, as far as the
            profile searches them as they are.
        labels : uint16 array of shape (rows,)
            Empty in ``sealed``.
        ballots : callable

        Raises
        ------
        TableError
            If together they are no table.
        """

    @property
    def rows(self) -> int:
        """Instances or buckets."""

    @property
    def k(self) -> int:
        """Neighbours that vote; 0 where the hospital counts votes itself."""

    def prepare(self, body: Any) -> Callable[[], Body]:
        """Check a job, and return what answers it.

        Raises
        ------
        FramingError, RangeError, TooLargeError
        """

    def save(self, folder: Path, values: Path) -> Self:
        """Write the table to a new folder; returns the one that is mapped from there.

        Parameters
        ----------
        folder : Path
        values : Path
            File with just the values that `of` got, on the same file system. It may become a part
            of the table, and then is not written again, nor by anybody else.

        Raises
        ------
        TableError
            If the file system refuses.
        """

    @classmethod
    def open(
        cls, folder: Path, ballots: Ballots, *, index: str, verify: bool, mend: bool = True
    ) -> Self:
        """Map what `save` wrote, or `Blinded.note` under the name of that index.

        With `mend`, what a writer left half done is cleared up, and rows are erased that were to
        be; without, nothing is written to the folder, which may be another process's.

        Raises
        ------
        TableError
            If a file is missing, cut or damaged. Of mapped values only the length is looked at,
            unless told to verify them.
        VersionError
            If a file is of another version.
        """


class Past(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A change that led to a version, to be acknowledged again.

    Attributes
    ----------
    digest : bytes
        Of its header.
    version, have, erased : int
        As its receipt says.
    """

    digest: bytes
    version: int
    have: int
    erased: int


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
        None where its files are damaged, or the table was withdrawn.
    receipt : bytes
        The frame that acknowledged the upload.
    asked : bool
        Whether the hospital has asked it.
    expires : float, optional
        When it stops answering, by the cloud's clock.
    home, index : str
        Where the data lie, as the place calls it, and what tells this version's part of them.
    past : tuple of Past
        Changes since a version that was asked, the one that made this version last.
    withdrawn : bool
        Whether it only keeps older versions from coming back.
    """

    owner: str
    version: int
    upload: Header
    stored: Stored | None
    receipt: bytes = b""
    asked: bool = False
    expires: float | None = None
    home: str = ""
    index: str = INDEX
    past: tuple[Past, ...] = ()
    withdrawn: bool = False


class Tables(Protocol):
    """Where the tables of one cloud live.

    The cloud calls `stage` and `build` from any thread, and `keep` from one at a time.
    """

    def stage(self, upload: Header, body: Upload) -> int:
        """Put a piece of an upload behind those that are here.

        A piece that is here already, or leaves a gap, changes nothing. The first piece of another
        upload of the same table ends the one before. Where the place lasts, so does what this
        acknowledges.

        Returns
        -------
        int
            Rows of this upload that are here.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, FramingError
            If modulus, values, layout, K or labels are not possible.
        ContextMismatchError
            If the piece says something else of the table than those before it.
        TooLargeError
            If the hospital's unfinished uploads would be above what it may have here.
        StoreError
            If the place cannot be used.
        """

    def build(self, upload: Header, body: Upload) -> Version:
        """Index an upload whose pieces are all here, and bring it to where it will answer.

        `keep` or `discard` follows. What was staged stays until `keep`, or an error of its own.

        Raises
        ------
        TableError
            If the pieces together are no table.
        ContextMismatchError
            If another upload of the table began meanwhile.
        StoreError
            If the place cannot be used.
        """

    def change(self, header: Header, body: Change, base: Version) -> Version:
        """Make the version that a change makes of the newest one, without copying that.

        `keep` or `discard` follows, before another change of the table.

        Raises
        ------
        ContextMismatchError, FramingError, NonCanonicalError, RangeError, LabelError, TableError
        NeighborsError
            If the change does not fit its base.
        StoreError
            If the place cannot be used.
        """

    def tended(self, table_id: bytes) -> tuple[Version, ...]:
        """Return versions as they shall be kept, since versions before them ended, or none.

        They have nothing left of the rows that no version has, and are fast to search. The caller
        lets nobody change the table until it has called `keep` and `erase`.

        Raises
        ------
        StoreError
            If the place refuses.
        """

    def erase(self, table_id: bytes) -> None:
        """Overwrite the rows that no version has any more.

        Raises
        ------
        StoreError
            If the place refuses; another try may follow.
        """

    @property
    def littered(self) -> bool:
        """Whether something is still there that was to be removed and could not be."""

    def sweep(self) -> None:
        """Remove what could not be removed when it was to be.

        Raises
        ------
        StoreError
            If the place still refuses; another try may follow.
        """

    def keep(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Let these be all versions of a table, at once and durably; without any, it is forgotten.

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
