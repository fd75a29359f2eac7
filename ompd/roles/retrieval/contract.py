"""What all profiles have in common."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, ClassVar, Self

from ompd.arrays import I64, Bools
from ompd.blind import LaplaceNoise
from ompd.datasets import Dataset
from ompd.encode import Encoder, EvidenceEncoder, Filling
from ompd.errors import ParameterError
from ompd.params import Profile
from ompd.roles.frozen import Release
from ompd.roles.spool import Place
from ompd.roles.stages import Stages
from ompd.roles.training import Plan
from ompd.roles.uploads import Pieces
from ompd.search.decision import OpenRule, Rule
from ompd.wire import Body


@dataclass(frozen=True, slots=True)
class TableRef:
    """Where a table is found at the cloud.

    Parameters
    ----------
    table_id : bytes
        16 random bytes.
    version : int
    """

    table_id: bytes
    version: int


class Way(Enum):
    """How a job is asked, and what of.

    Attributes
    ----------
    FREE
        Of what nobody has less of by it; a whole table that is the cheapest way is that too.
    SHARED
        Of the hints of a window, which all users share.
    WHOLE
        Of the whole table in place of hints: the window has too few left, for all or for one user.
        The next window begins with the table that comes.
    """

    FREE = auto()
    SHARED = auto()
    WHOLE = auto()


@dataclass(frozen=True, slots=True, repr=False)
class Neighbours:
    """What the nearest instances of some queries say.

    Parameters
    ----------
    codes : int64 array of shape (q,)
        Most frequent class; ties go to the smaller summed distance, then the smaller code.
    votes : int64 array of shape (q, classes)
    certified : bool array of shape (q,)
        Whether the hospital itself knows that these were the nearest, without trusting the cloud.
    answered : bool array of shape (q,)
        False where what came is no answer to that query; its other values mean nothing.
    """

    codes: I64
    votes: I64
    certified: Bools
    answered: Bools


@dataclass(frozen=True, slots=True, repr=False)
class Made:
    """A table that was made of records, and what uploads it.

    Attributes
    ----------
    filling : Filling
    encoder : Encoder
    k : int
        0 leaves the choice to the cloud.
    retrieval : Retrieval
    upload : Pieces
    rule : Rule, optional
    open_rule : OpenRule, optional
        In its place where the cloud chooses K.
    noise : LaplaceNoise, optional
        For the queries; the instances have theirs.
    release : Release, optional
        To be charged and kept before the upload leaves.
    """

    filling: Filling
    encoder: Encoder
    k: int
    retrieval: Retrieval
    upload: Pieces
    rule: Rule | None
    open_rule: OpenRule | None
    noise: LaplaceNoise | None = None
    release: Release | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Edit:
    """A change of a table: rows removed, relabelled and added, in this order.

    Rows are numbered from 0 as they were published, added ones follow, and no number is used again.

    Attributes
    ----------
    removed : int64 array of shape (r,)
        Distinct numbers of rows that were there, rising.
    relabelled : int64 array of shape (c,)
        Distinct numbers of rows that stay, rising.
    codes : int64 array of shape (c,)
        Their new classes.
    first : int
        Number of the first added row: of all rows before the change, removed ones included.
    vectors : int64 array of shape (a, coordinates)
        Of the added rows, as they go into the table: with noise, if there is any.
    labels : int64 array of shape (a,)
        Their classes.
    """

    removed: I64
    relabelled: I64
    codes: I64
    first: int
    vectors: I64
    labels: I64


class Retrieval(ABC):
    """The hospital's secret side of one published table.

    Attributes
    ----------
    profile : {"sealed", "hardened", "paper"}
    upload, job_type, answer : type of Body
        What carries the table, a job on it, and the answer to one.
    padding : int
        Coordinates of a row besides those of its vector.
    noisy : bool
        Whether instances and queries can have noise.
    freezes : bool
        Whether a version shares choices with the one before, which a state folder keeps.
    edits_at_once : bool
        Whether changes are in effect without a cloud.
    ref : TableRef
    """

    profile: ClassVar[Profile]
    upload: ClassVar[type[Body]]
    job_type: ClassVar[type[Body]]
    answer: ClassVar[type[Body]]
    padding: ClassVar[int] = 0
    noisy: ClassVar[bool] = False
    freezes: ClassVar[bool] = False
    edits_at_once: ClassVar[bool] = False
    ref: TableRef

    @classmethod
    @abstractmethod
    def make(
        cls, records: Dataset, plan: Plan, ref: TableRef, stages: Stages, place: Place
    ) -> Made:
        """Train, encode and hide a table, whose upload goes to `place`.

        Raises
        ------
        OmpdError
            As `Hospital.publish`.
        """

    @classmethod  # noqa: B027  (nothing by default)
    def check_size(cls, records: Dataset, method: str, k: int | None) -> None:
        """Refuse records whose table could not be sent, before they are trained with.

        Raises
        ------
        TooLargeError
        """

    @property
    @abstractmethod
    def most(self) -> int:
        """Most queries in one job."""

    @abstractmethod
    def answer_bytes(self, rows: int, context: Any) -> int:
        """Bytes of numbers in the answer to a job of so many queries."""

    @property
    def edition(self) -> int:
        """Version that the last change made; above that of `ref` where no cloud was told."""
        return self.ref.version

    @property
    def room(self) -> int:
        """Queries that can be answered before the table needs a new window."""
        return sys.maxsize

    @property
    def due(self) -> bool:
        """Whether a new window should be made now, to be there before this one ends."""
        return False

    def way(self, rows: int) -> Way:
        """Tell how a job of so many queries should be asked."""
        return Way.FREE

    @abstractmethod
    def job(self, vectors: I64, members: Sequence[int], way: Way) -> tuple[Body, Any]:
        """Return a job for the cloud, and what `read` needs with its answer.

        Parameters
        ----------
        vectors : int64 array of shape (q, coordinates)
        members : sequence of int
            How many of them, in order, each user asks.
        way : Way
        """

    def window(self, context: Any) -> object | None:
        """Return an object that is the same for jobs to be read in order; None if it is alone."""
        return None

    def abandon(self, context: Any) -> None:  # noqa: B027  (nothing by default)
        """Give up a job whose answer will not come."""

    @abstractmethod
    def read(self, body: Any, context: Any, rows: int, k: int) -> Neighbours:
        """Read the answer to a job of `rows` queries.

        Raises
        ------
        NeighborsError, FramingError, LabelError, BucketAuthError
            If it is not possible.
        """

    def whole(self) -> tuple[Body, int]:
        """Return a job that asks for the whole table, and the bytes of numbers in its answer.

        Raises
        ------
        ParameterError
            If the profile has no windows.
        """
        raise ParameterError("disease: only sealed tables have windows")

    def await_window(self) -> None:  # noqa: B027  (nothing by default)
        """Note that the answer to `whole` is to begin a window, which is not due meanwhile."""

    def renew(self, body: Any) -> None:  # noqa: B027  (unreachable where `whole` raises)
        """Start a new window from the answer to `whole`.

        Raises
        ------
        FramingError, BucketAuthError
            If a bucket is missing or not the one that was stored.
        """

    def edited(self, edit: Edit, ref: TableRef) -> tuple[Retrieval, Body | None]:
        """Return the table after a change, and the body that tells the cloud.

        Parameters
        ----------
        edit : Edit
        ref : TableRef
            Of the version that the change makes.

        Returns
        -------
        Retrieval
            With this `edition`; with this `ref` if the cloud is told.
        Body or None
            None where the cloud has no part in it: the change is in effect then, also after a
            crash, and the table before must not be asked any more.

        Raises
        ------
        ParameterError
            If tables of the profile cannot be changed.
        OverflowParameterError
            If added vectors do not fit what the table was made for.
        """
        raise ParameterError(f"disease: tables of the profile '{self.profile}' do not change")

    @property
    def crowded(self) -> bool:
        """Whether changes that the cloud was not told of should be merged into a new version."""
        return False

    def merged(self, body: Any) -> tuple[I64, I64]:
        """Return what all changes make of the table, from the answer to `whole`.

        Returns
        -------
        vectors, labels : int64 arrays of shape (n, coordinates) and (n,)
            In the order of the rows' numbers.

        Raises
        ------
        ParameterError
            If the cloud is told of all changes.
        FramingError, BucketAuthError
            If a bucket is missing or not the one that was stored.
        """
        raise ParameterError("disease: only sealed tables are merged")

    def at(self, ref: TableRef) -> Retrieval:
        """Return the same table as another version, which a change made that is known already.

        Raises
        ------
        ParameterError
            If tables of the profile cannot be changed, or are at once.
        """
        raise ParameterError(f"disease: tables of the profile '{self.profile}' do not change")

    @abstractmethod
    def save(self, folder: Path) -> bytes:
        """Make the table durable, and go on.

        Parameters
        ----------
        folder : Path
            Where a profile may put what is large, in a new folder. It may have done so before.

        Returns
        -------
        bytes
            What else `restored` needs; secret.

        Raises
        ------
        HintStateError
            If the file system refuses. Another try may follow.
        """

    @classmethod
    @abstractmethod
    def restored(cls, ref: TableRef, classes: int, folder: Path, kept: bytes) -> Self:
        """Return the table that `save` made durable.

        Raises
        ------
        HintStateError, ParameterError
            If what was kept is missing or damaged.
        """

    def discard(self) -> None:  # noqa: B027  (nothing by default)
        """End a table whose folder was removed; nothing of it goes onto the disk."""

    def close(self) -> None:  # noqa: B027  (nothing by default)
        """Put what outlives the process onto the disk.

        Raises
        ------
        HintStateError
            If that fails; it may be tried again.
        """


def coordinates_of(records: Dataset, method: str) -> int:
    """Coordinates of vectors at most, before anything is learned from their records."""
    if method == "evidence":
        coordinates, _ = EvidenceEncoder.shape(len(records.schema.classes))
        return coordinates
    return len(records.schema.features)
