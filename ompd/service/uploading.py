"""Tables on their way to a cloud, and how they get there from a hospital's own file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from ompd.datasets import load, read_schema
from ompd.roles import Hospital
from ompd.roles.uploads import Upload
from ompd.service.crew import Crew
from ompd.service.journal import Journal
from ompd.service.link import Link
from ompd.wire import CAPS, HEAD_BYTES, Kind, Receipt, disease_name, peek

#: Told what is done now, and the share of it that is finished.
Progress = Callable[[str, float], None]

_FRAMES = (
    Kind.PAPER_UPLOAD, Kind.HARDENED_UPLOAD, Kind.SEALED_UPLOAD, Kind.PAPER_CHANGE,
    Kind.HARDENED_CHANGE, Kind.WITHDRAWAL,
)  # fmt: skip


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table that is to be published.

    Attributes
    ----------
    table : str
        Path of a file, or the name of a built-in data set.
    schema : str or None
        Path of the schema of a file.
    disease, cloud, k, method, priors, advice, answers, retrain
        As for `Hospital.publish`.
    blind : bool
        Whether it is a blind model, which needs no cloud.
    """

    table: str
    schema: str | None
    disease: str
    cloud: str | None
    k: int | None = None
    method: str | None = None
    priors: str = "equal"
    advice: dict[str, str] = {}
    answers: int | None = None
    retrain: bool = False
    blind: bool = False


class Outsourced(msgspec.Struct, frozen=True):
    """What became of an order.

    Attributes
    ----------
    rows : int
        Records of the table.
    k : int
        Neighbours that vote.
    pieces : int
        Frames that it took.
    """

    rows: int
    k: int
    pieces: int


class Uploading:
    """Takes uploads to their clouds, for one event loop.

    Parameters
    ----------
    hospital : Hospital
    link : Link
    crew : Crew
        Where tables are trained and frames made.
    journal : Journal
    """

    def __init__(self, hospital: Hospital, link: Link, crew: Crew, journal: Journal) -> None:
        self._hospital = hospital
        self._link = link
        self._crew = crew
        self._journal = journal
        # Training takes all cores; two at a time would both be late.
        self._training = asyncio.Lock()
        self._delivering: set[str] = set()

    @property
    def delivering(self) -> frozenset[str]:
        """Diseases with an upload on its way."""
        return frozenset(self._delivering)

    async def outsource(self, order: Order, progress: Progress) -> Outsourced:
        """Read a file, make a table of it and take that to its cloud.

        Raises
        ------
        ConfigError
            If the hospital was not told where the cloud is.
        OmpdError
            As `load`, `Hospital.publish` and `deliver`.
        """
        disease = disease_name(order.disease)
        outcome = "failed"
        try:
            async with self._training:
                if order.cloud is not None:
                    self._link.check(order.cloud)
                upload = await self._crew.do(self._published, order, progress)
                await self.deliver(disease, upload, progress)
            outcome = "done"
        finally:
            self._journal.event("outsource", disease, outcome)
        if (model := self._hospital.blind.get(disease)) is not None:
            return Outsourced(model.rows, 0, len(upload))
        table = self._hospital.tables[disease]
        return Outsourced(table.rows, table.k, len(upload))

    async def deliver(
        self, disease: str, upload: Upload, progress: Progress | None = None
    ) -> Receipt:
        """Take an upload to its cloud, from where that is.

        Raises
        ------
        OmpdError
            As `Hospital.deliver`; `UnreachableError` if the cloud is away for long.
        """
        loop = asyncio.get_running_loop()
        sent = 0

        def send(frame: bytes) -> bytes:
            nonlocal sent
            cloud = peek(frame[:HEAD_BYTES], len(frame), *_FRAMES).recipient
            asked = self._link.ask(cloud, frame, CAPS[Kind.RECEIPT])
            answer = asyncio.run_coroutine_threadsafe(asked, loop).result()
            sent += 1
            self._journal.metrics.uploaded("done")
            if progress is not None:
                progress("uploading", min(sent / len(upload), 1.0))
            return answer

        self._delivering.add(disease)
        try:
            return await self._crew.do(self._hospital.deliver, upload, send)
        finally:
            self._delivering.discard(disease)

    def _published(self, order: Order, progress: Progress) -> Upload:
        progress("reading", 0.0)
        schema = None if order.schema is None else read_schema(order.schema)
        # A name of a built-in data set is a text, a path is a path.
        records = load(order.table if schema is None else Path(order.table), schema)
        progress("reading", 1.0)
        return self._hospital.publish(
            order.disease,
            records,
            cloud=order.cloud,
            profile="blind" if order.blind else None,
            k=order.k,
            advice=order.advice,
            method=order.method,
            priors=order.priors,
            answers=order.answers,
            retrain=order.retrain,
            progress=lambda share: progress("training", share),
        )
