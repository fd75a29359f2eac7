"""Answers to users' frames that no cloud has a part in."""

from __future__ import annotations

import asyncio

from ompd.errors import (
    BusyError,
    OmpdError,
    ReplayError,
    SignatureError,
    StoreError,
)
from ompd.roles import Hospital
from ompd.service.crew import Crew
from ompd.service.journal import Journal, Settled
from ompd.service.metrics import Outcome
from ompd.wire import Frame, Kind

#: What is answered here.
KINDS = (Kind.BLIND_QUERY, Kind.BLIND_KEY)
#: Frames that may be open at a time; each takes a thread for some milliseconds.
_ROOM = 256
_LATER = 2


class BlindAnswers:
    """Answers blind queries of a hospital's users, for one event loop.

    Parameters
    ----------
    hospital : Hospital
    crew : Crew
        Where the hospital works.
    journal : Journal
    """

    def __init__(self, hospital: Hospital, crew: Crew, journal: Journal) -> None:
        self._hospital = hospital
        self._crew = crew
        self._journal = journal
        self._open: dict[bytes, asyncio.Future[bytes | None]] = {}

    def __len__(self) -> int:
        """Count the frames that are open."""
        return len(self._open)

    async def answer(self, data: bytes) -> bytes | None:
        """Answer one frame; the same frame again, also meanwhile, gets the same answer.

        Returns
        -------
        bytes or None
            A report, receipt or refusal; None where nobody gets an answer.

        Raises
        ------
        BusyError
            If the frame was not accepted and may be later.
        """
        waiting = self._open.get(data)
        if waiting is None:
            if len(self._open) >= _ROOM:
                self._journal.metrics.asked("busy")
                raise BusyError("hospital: too many blind queries are open", _LATER)
            waiting = asyncio.ensure_future(self._crew.do(self._answered, data))
            self._open[data] = waiting
            waiting.add_done_callback(lambda _: self._open.pop(data, None))
        # Others may wait for the same one.
        return await asyncio.shield(waiting)

    def _answered(self, data: bytes) -> bytes | None:
        try:
            header = Frame.decode(data, *KINDS).header
        except OmpdError:
            return None
        answer: bytes | None = None
        outcome: Outcome = "answered"
        try:
            with self._journal.metrics.timed("blind"):
                answer = self._hospital.answer(data)
        except OmpdError as error:
            outcome, answer = self._refusal(data, error)
        if answer is not None and header.kind == Kind.BLIND_QUERY:
            # The disease is inside the envelope, where a refused query's stays.
            settled = [Settled(header.sender, "", outcome)]
            self._journal.write(self._journal.counted(settled))
        return answer

    def _refusal(self, data: bytes, error: OmpdError) -> tuple[Outcome, bytes | None]:
        try:
            if isinstance(error, StoreError):
                raise error
            if isinstance(error, ReplayError):
                # Nobody else works on it: the same frame waits for the same answer.
                return "repeated", self._hospital.settle(data)
            if not isinstance(error, SignatureError):
                return "refused", self._hospital.refuse(data)
        except StoreError as trouble:
            raise BusyError(str(trouble), _LATER) from None
        except OmpdError:
            # Not from its sender, or known before.
            pass
        return "refused", None
