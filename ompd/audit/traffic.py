"""The hospital's side of the experiments on what leaves it while a cloud of `sealed` misbehaves.

One user asks, then another asks the same, a neighbour of it or something else, and the cloud does
to the answers what it likes. Hospital, cloud and users are the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd.arrays import F64
from ompd.audit.scenes import Records
from ompd.audit.views import TrafficView
from ompd.datasets import Dataset
from ompd.errors import OmpdError
from ompd.roles.answers import Answers
from ompd.roles.cloud import Cloud
from ompd.roles.hospital import Hospital
from ompd.roles.party import introduce
from ompd.roles.reports import Reports
from ompd.roles.retrieval import SealedRetrieval
from ompd.roles.turns import Done
from ompd.roles.user import User
from ompd.sealed.hints import Hints
from ompd.wire import Frame, Kind, SealedAnswer, SealedJob

#: Tables of up to a thousand rows are sent whole, so records repeat up to this many.
_ROWS = 1500
_K = 5
_DISEASE = "disease"
_HOSPITAL = "hospital"

#: What the cloud does to the two answers.
MISDEEDS = ("withhold", "delay", "refuse", "swap", "cut", "corrupt", "corrupt_second")
#: What the second user asks.
SECONDS = ("other", "neighbour", "same")


class _Forgetful(Answers):
    """Sends nothing where there is no answer: one half of the control that must be caught."""

    def _reports(self, done: Done) -> Reports:
        reports = super()._reports(done)
        told = done.found is not None and done.found.answered.all()
        return reports if told else Reports()


class _Sharing(Hints):
    """Counts buckets of unread requests as there: the other half."""

    __slots__ = ()

    def next_member(self) -> None:
        """Take what the member asked for as heard of."""
        np.minimum(self.heard, 1, out=self.heard)


class _LyingCloud(Cloud):
    def lie(self, jobs: list[bytes], misdeed: str) -> list[bytes]:
        """Answer two jobs, the second first, in a way of its own."""
        frames = [Frame.decode(job, Kind.SEALED_JOB) for job in jobs]
        sums = []
        for frame in frames:
            body = self._post.open(frame, SealedJob)
            stored = self.tables.versions(body.table_id)[0].stored
            assert stored is not None  # noqa: S101  (it was just stored)
            made = stored.prepare(body)()
            assert isinstance(made, SealedAnswer)  # noqa: S101  (the table is sealed)
            sums.append(made)
        first, second = (bytearray(each.buckets) for each in sums)
        if misdeed == "swap":
            first, second = second, first
        elif misdeed == "cut":
            del first[-1:]
        elif misdeed == "corrupt":
            first[0] ^= 1
        elif misdeed == "corrupt_second":
            second[-1] ^= 1
        answers = [
            self._post.send(
                frame.header.sender,
                SealedAnswer(each.table_id, each.version, bytes(buckets)),
                nonce=frame.header.nonce,
                sequence=frame.header.sequence,
            )
            for frame, each, buckets in zip(frames, sums, (first, second), strict=True)
        ]
        if misdeed == "withhold":
            return answers[1:]
        if misdeed == "refuse":
            return [answers[1], self.refuse(jobs[0])]
        return answers[::-1] if misdeed == "delay" else answers


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TrafficScene:
    """Two users, a hospital with a sealed table, and a cloud that lies.

    Attributes
    ----------
    hospital : Hospital
    queries : float64 array of shape (q, n)
    leaking : bool
    spent : bool
        Whether the window is at its end, so that both jobs ask for the whole table.
    """

    hospital: Hospital
    cloud: _LyingCloud
    users: tuple[User, User]
    queries: F64
    leaking: bool
    spent: bool = False

    @classmethod
    def of(
        cls,
        records: Records,
        *,
        patience: float = 0.0,
        leaking: bool = False,
        spent: bool = False,
    ) -> Self:
        """Publish the records; `leaking` makes the broken variant."""
        table = records.table
        rows = np.arange(max(_ROWS, len(table))) % len(table)
        names = [table.schema.classes[code] for code in table.labels[rows]]
        data = Dataset.from_arrays(table.schema, table.features[rows].tolist(), names)
        hospital = Hospital.create(_HOSPITAL, profile="sealed", patience=patience)
        if leaking:
            hospital._answers.__class__ = _Forgetful
        cloud = _LyingCloud.create("cloud")
        users = User.create("first"), User.create("second")
        introduce(hospital, cloud, *users)
        hospital.deliver(hospital.publish(_DISEASE, data, cloud="cloud", k=_K), cloud.store)
        return cls(hospital, cloud, users, records.queries.features, leaking, spent)

    def trial(self, misdeed: str, second: str, rng: np.random.Generator) -> TrafficView:
        """Let both users ask and the cloud misbehave, and return what left the hospital."""
        self._renew()
        schema = self.hospital.diseases[_DISEASE]
        asked = self.queries[rng.choice(len(self.queries), 2, replace=False)].copy()
        if second != "other":
            asked[1] = asked[0]
        if second == "neighbour":
            feature = rng.integers(len(schema.low))
            middle = (schema.low[feature] + schema.high[feature]) / 2
            asked[1, feature] += 1.0 if asked[1, feature] < middle else -1.0
            asked[1] = np.clip(asked[1], schema.low, schema.high)
        sent: list[bytes] = []
        jobs = []
        for user, features in zip(self.users, asked, strict=True):
            jobs.append(self.hospital.forward(user.ask(_HOSPITAL, _DISEASE, features)))
        for answer in self.cloud.lie(jobs, misdeed):
            try:
                sent += self.hospital.report_batch(answer)
            except OmpdError:
                # Its job was given up before it came.
                sent.append(b"")
        if self.spent and misdeed == "withhold":
            # Nobody's answer waits for this one, so that it would be given up much later.
            sent += self.hospital.fail(jobs[0])
        sent += self.hospital.collect()
        events = [("job", "cloud", len(job)) for job in jobs]
        certified: bool | None = None
        for frame in sent:
            if not frame:
                events.append(("nothing", "", 0))
                continue
            header = Frame.decode(frame, Kind.REPORT).header
            events.append(("report", header.recipient, len(frame)))
            if header.recipient == self.users[1].id:
                try:
                    certified = self.users[1].read(frame)[0].certified
                except OmpdError:
                    certified = None
        return TrafficView(tuple(events), certified)

    def _renew(self) -> None:
        left = self.hospital.remaining(_DISEASE)
        if left is None:
            return
        # A fresh window for each trial, so that only the two queries meet.
        self.hospital.renewed(self.cloud.answer(self.hospital.renew(_DISEASE)))
        retrieval = self.hospital.tables[_DISEASE].retrieval
        assert isinstance(retrieval, SealedRetrieval)  # noqa: S101  (the table is sealed)
        window = retrieval.table._window
        if self.spent:
            window.left = 0
        if self.leaking:
            hints = window.hints
            assert hints is not None  # noqa: S101  (there is a window)
            hints.__class__ = _Sharing
