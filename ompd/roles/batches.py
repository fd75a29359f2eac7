"""What many queries become: read ones, and jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ompd.arrays import F64
from ompd.errors import OmpdError
from ompd.roles.publication import Published
from ompd.roles.turns import Request
from ompd.wire import Frame


class OpenedQuery(NamedTuple):
    """A query that was read and can be forwarded; nothing is claimed or counted for it yet.

    Attributes
    ----------
    disease : str
        As its user wrote it.
    user : str
    rows : int
    """

    disease: str
    table: Published
    frame: Frame
    request: Request
    features: F64

    @property
    def user(self) -> str:
        """Who asks."""
        return self.request.user

    @property
    def rows(self) -> int:
        """How many people it is about."""
        return self.request.rows

    def __repr__(self) -> str:
        return f"<OpenedQuery of {self.rows} rows>"


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What many query frames say.

    Attributes
    ----------
    queries : dict of int to OpenedQuery
        By their place in the input.
    refused : dict of int to OmpdError
        Why a query cannot be forwarded, by its place in the input.
    """

    queries: dict[int, OpenedQuery]
    refused: dict[int, OmpdError]


class JobFrame(NamedTuple):
    """A job of a batch.

    Attributes
    ----------
    frame : bytes
    cloud : str
        Id of the cloud that it is for.
    places : tuple of int
        Which queries of the input are in it, in order.
    longest : int
        Bytes that no answer to it is above.
    """

    frame: bytes
    cloud: str
    places: tuple[int, ...]
    longest: int

    def __repr__(self) -> str:
        return f"<JobFrame of {len(self.places)} queries>"


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """What became of many queries.

    Attributes
    ----------
    jobs : list of JobFrame
        One per disease asked for; several where one would be above its cap, or where some queries
        of a sealed table cannot use hints.
    refused : dict of int to OmpdError
        Why a query was refused, by its place in the input. The others are in the jobs.
    """

    jobs: list[JobFrame]
    refused: dict[int, OmpdError]
