"""The hospital's end: query frames in, report frames out, with the cloud's answers in between."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ompd.errors import (
    OmpdError,
    ParameterError,
    ReplayError,
)
from ompd.roles import Hospital
from ompd.roles.batches import JobFrame
from ompd.roles.reports import Reports
from ompd.wire import Frame, Kind

Send = Callable[[bytes], bytes]
#: What names a query and its report: user, nonce and sequence.
Key = tuple[str, bytes, int]

#: Seconds between looks at what was given up meanwhile.
_LOOK = 0.5


class Desk:
    """Answers queries of a hospital's users, for any number of threads.

    A hospital has one desk: it hands out the reports of jobs that other threads forwarded here, and
    would not know what to do with those of others.

    Parameters
    ----------
    hospital : Hospital
    send : callable, or mapping of cloud id to callable
        Takes a frame to the cloud and returns its answer, as `Cloud.answer` does. What it raises
        of `OSError` or `OmpdError` counts as an answer that was lost.
    wait : float, default 30
        Seconds that a call waits for its reports while other threads hold them up.

    Raises
    ------
    ParameterError
        If there is nothing to call.
    """

    def __init__(
        self, hospital: Hospital, send: Send | Mapping[str, Send], *, wait: float = 30.0
    ) -> None:
        if not callable(send) and not isinstance(send, Mapping):
            raise ParameterError("send: expected a callable, or a mapping of cloud id to callable")
        self._hospital = hospital
        self._send = send
        self._wait = wait
        self._changed = threading.Condition()
        self._open: set[Key] = set()
        self._ready: dict[Key, bytes] = {}

    def answer(self, query: bytes) -> bytes | None:
        """Answer one query; see `serve`."""
        return self.serve([query])[0]

    def serve(self, queries: Sequence[bytes]) -> list[bytes | None]:
        """Answer query frames, of one or many users.

        A frame that was answered before is answered alike, and nothing is asked again.

        Parameters
        ----------
        queries : sequence of bytes
            Frames of `User.ask`.

        Returns
        -------
        list of (bytes or None)
            To each query its report, or a refusal that tells no reason. None where nobody gets an
            answer: strangers, who was revoked, or a query that is still under way.
        """
        keys = [_key_of(query) for query in queries]
        own = {key for key in keys if key is not None}
        with self._changed:
            self._open |= own
        try:
            found = self._forward(queries)
            awaited = {
                key for place, key in enumerate(keys) if key is not None and place not in found
            }
            self._await(awaited)
            with self._changed:
                return [
                    found[place] if place in found else self._ready.get(key) if key else None
                    for place, key in enumerate(keys)
                ]
        finally:
            with self._changed:
                self._open -= own
                for key in own:
                    self._ready.pop(key, None)

    def _forward(self, queries: Sequence[bytes]) -> dict[int, bytes | None]:
        """Forward queries and ask the clouds; returns what became of those that were not."""
        batch = self._hospital.forward_batch(queries)
        for job in batch.jobs:
            self._ask(job)
        return {
            place: self._refused(queries[place], error) for place, error in batch.refused.items()
        }

    def _ask(self, job: JobFrame) -> None:
        """Hand a job to its cloud, twice if it must be, and post the reports."""
        send = self._send if callable(self._send) else self._send.get(job.cloud)
        for _ in range(2 if send is not None else 0):
            # The same frame again gets the same answer again.
            with contextlib.suppress(OSError, OmpdError):
                assert send is not None  # noqa: S101  (there would be no round)
                self._post(self._hospital.report_batch(send(job.frame)))
                return
        with contextlib.suppress(OmpdError):
            self._post(self._hospital.fail(job.frame))

    def _post(self, reports: Reports) -> None:
        """Put reports where the threads that wait for them look."""
        with self._changed:
            for report in reports:
                header = Frame.decode(report, Kind.REPORT).header
                key = header.recipient, header.nonce, header.sequence
                if key in self._open:
                    self._ready[key] = report
            # Who is not known any more waits in vain.
            self._open -= {key for key in self._open if key[0] in reports.refused}
            self._changed.notify_all()

    def _await(self, keys: set[Key]) -> None:
        """Wait until there is a report on each of these, or none to wait for."""
        end = time.monotonic() + self._wait
        while True:
            with self._changed:
                left = {key for key in keys if key in self._open and key not in self._ready}
                if not left or time.monotonic() >= end:
                    return
                self._changed.wait(_LOOK)
            self._post(self._hospital.collect())

    def _refused(self, query: bytes, error: OmpdError) -> bytes | None:
        """Return what a query gets that was not forwarded."""
        try:
            if isinstance(error, ReplayError):
                return self._hospital.answered(query)
            return self._hospital.refuse(query)
        except OmpdError:
            return None


def _key_of(query: bytes) -> Key | None:
    try:
        header = Frame.decode(query, Kind.QUERY).header
    except OmpdError:
        return None
    return header.sender, header.nonce, header.sequence
