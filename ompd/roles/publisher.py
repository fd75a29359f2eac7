"""The part of the hospital that publishes tables and keeps them able to answer."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ompd.crypto import Identity
from ompd.datasets import Dataset
from ompd.errors import (
    ContextMismatchError,
    OmpdError,
    ParameterError,
    RefusedError,
    StoreError,
    StoreWarning,
    UnknownDiseaseError,
    VersionError,
)
from ompd.params import METHODS, Profile, check_profile
from ompd.roles.archive import Archive, file_name
from ompd.roles.frozen import Frozen
from ompd.roles.intake import Instances, check_size, checked
from ompd.roles.party import Party, with_prekeys
from ompd.roles.publication import Published, Unconfirmed, prepare
from ompd.roles.retrieval import PROFILES, SealedRetrieval, TableRef
from ompd.roles.stages import Stages
from ompd.roles.training import Plan
from ompd.schema import Schema
from ompd.search import check_k
from ompd.search.calibration import check_priors
from ompd.search.decision import check_decision, default_decision
from ompd.stores import BudgetLedger, DurableReplayGuard, Pending
from ompd.wire import (
    MAX_K,
    Body,
    Header,
    Kind,
    Receipt,
    Refusal,
    SealedAnswer,
    SealedJob,
    check_answer_size,
    check_text,
)


@dataclass(frozen=True, slots=True, repr=False)
class _Waiting:
    """A table that waits for its receipt, and what its upload is made of."""

    table: Unconfirmed
    upload: Body
    nonce: bytes

    @property
    def published(self) -> Published:
        return self.table.published


class Publisher(Party):
    """Publishes tables.

    Parameters
    ----------
    identity : Identity
    profile : {"sealed", "hardened", "paper"}
        What its tables tell the cloud. `sealed`, the default: nothing but sizes and times.
        `hardened`: all distances, of coarse and, with `epsilon`, noisy vectors. `paper`:
        everything; it is for study of the published scheme.
    epsilon : float, optional
        Noise for the tables and queries of `hardened`: how well two patients at the median
        distance may be told apart by their vectors.
    ledger : BudgetLedger, optional
        What has been released of each record, and by the queries of each user; goes with `epsilon`.
    state : path, optional
        Folder for what outlives the process; made if it is missing. It holds keys in the clear. A
        hospital with sealed tables keeps them and their hints there. With `hardened` ones it keeps
        what versions have in common (see `publish`), and publishes tables anew after a restart,
        which then tells the cloud nothing new. Without a folder a restart trains anew. A disease
        whose files are damaged is named in `damaged`, with a `StoreWarning`; all others open. The
        frames accepted are remembered there too, unless `replays` says otherwise; if the file
        `frames` is damaged, it may be removed once a window has passed since it was used.
    **options
        Directory, replays, clock and window as for `Party`.

    Raises
    ------
    ParameterError
        If there is no such profile, or epsilon and ledger do not belong to it or together.
    StoreError
        If the state cannot be used. So does every method of a hospital with a state folder, but
        `close`, in a process that was forked from the one that opened it.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        profile: str = "sealed",
        epsilon: float | None = None,
        ledger: BudgetLedger | None = None,
        state: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(identity, **with_prekeys(identity, options))
        self._profile = check_profile(profile)
        if (epsilon is None) != (ledger is None):
            raise ParameterError("epsilon, ledger: expected both or neither")
        if epsilon is not None and profile != "hardened":
            raise ParameterError("epsilon: only the profile 'hardened' adds noise")
        self._epsilon = epsilon
        self._ledger = ledger
        self._tables: dict[str, Published] = {}
        # Uploads that no receipt has come for, the newest of each disease.
        self._unconfirmed: dict[str, _Waiting] = {}
        self._places: dict[str, TableRef] = {}
        # What the last version of each hardened table had; such versions are made one at a time.
        self._frozen: dict[str, Frozen] = {}
        self._releasing = threading.Lock()
        self._lock = threading.Lock()
        self._renewing: Pending[Published] = Pending(self._window)
        self._archive: Archive | None = None
        self._kept_frames: DurableReplayGuard | None = None
        if state is not None:
            if profile == "paper":
                raise ParameterError("state: the profile 'paper' keeps nothing")
            self._archive = Archive(state)
            try:
                self._open_state(self._archive, Path(state), options.get("replays") is None)
            except BaseException:
                # Puts back the hints that were taken.
                self.close()
                raise

    def _open_state(self, archive: Archive, folder: Path, with_frames: bool) -> None:
        """Take up what an earlier process left; first whatever can fail and leaves hints alone."""
        archive.check_profile(self._profile)
        if with_frames:
            # Or else what was accepted before a restart would be accepted again. What a lost power
            # supply forgets is at most a window old and only costs hints or budget.
            self._kept_frames = DurableReplayGuard(
                folder / "frames", self._window, power_safe=False
            )
            self._replays = self._kept_frames
        for disease, kept in archive.load().items():
            self._places[disease] = kept.place
            if kept.published is not None:
                self._tables[disease] = kept.published
            if kept.frozen is not None:
                self._frozen[disease] = kept.frozen
        for disease, reason in archive.damaged.items():
            warnings.warn(
                f"state of {disease!r}: {reason}; publish it anew if another opening does not help",
                StoreWarning,
                stacklevel=4,
            )

    @property
    def profile(self) -> Profile:
        """What its tables tell the cloud."""
        return self._profile

    @property
    def diseases(self) -> dict[str, Schema]:
        """Diseases that can be asked about, and what each expects of a feature vector."""
        tables = dict(self._tables)
        return {disease: table.encoder.schema for disease, table in tables.items()}

    @property
    def damaged(self) -> dict[str, str]:
        """Diseases whose state in the folder cannot be used, and why.

        They answer no queries. The way on is to publish them anew (with `retrain` in the profile
        `hardened`), which replaces what is damaged. A disease whose name was lost as well goes by
        the name of its file.
        """
        return dict(self._archive.damaged) if self._archive else {}

    def publish(
        self,
        disease: str,
        instances: Instances,
        *,
        cloud: str,
        k: int | None = None,
        advice: Mapping[str, str] | None = None,
        method: str = "relief-mw",
        priors: str = "equal",
        decision: str | None = None,
        retrain: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> bytes:
        """Train a table, hide it as the profile says, and make its upload.

        The table is asked from `confirm` on. Until then the version before goes on answering, so
        that neither a lost upload nor a slow cloud interrupts anything.

        In `sealed` and `paper` each version is trained anew, under a fresh key. In `hardened` it
        keeps the encoder, step, K, scale of the noise and keys of the version before: a record
        that was in that one comes out as the same bytes, which tells the cloud that it stayed and
        nothing more. What is new are records that came, went or changed. Each record's release
        with noise is charged to it in the ledger, once.

        Parameters
        ----------
        disease : str
        instances : Instances
            Records of this disease; none of the query's person should be among them.
        cloud : str
            Id of a cloud this hospital has met.
        k : int, optional
            Neighbours that vote. By default it is chosen by leave-one-out: by the cloud, on the
            blinded table, in the profile `paper`, else by the hospital.
        advice : mapping of class name to text, optional
            What a user gets besides the label.
        method : {"relief-mw", "evidence"}
            How features become vectors. `relief-mw`: as published. `evidence`: learned scores; it
            needs scikit-learn.
        priors : {"equal", "training"}
            Which shares the classes have among those who ask: all the same, or those of the
            instances. Probabilities are calibrated to these.
        decision : {"probability", "majority"}, optional
            Whether a label is the class of highest calibrated probability, or as published that
            of most votes, whose shares are then the probabilities. By default the latter only for
            `relief-mw` in the profile `paper`.
        retrain : bool
            Whether a `hardened` table is trained anew, under fresh keys, as after many changes it
            should be. It is one more release of every record: some of them together give nearly
            all cells without noise, and with noise each costs every record another epsilon.
        progress : callable, optional
            Called with the finished share from 0 to 1, which only grows: training, choice of K,
            hiding (with the hints of a sealed table), and sealing of the frame.

        Returns
        -------
        bytes
            A frame for `Cloud.store`.

        Raises
        ------
        FeatureError, DomainError, LabelError, TrainingError
            If the instances cannot train a table.
        NeighborsError
            If k is even or out of range.
        ParameterError
            If the disease is no text of 1 to 255 characters, an advice is too long, there is no
            such method, priors or decision, or schema, method or epsilon are not those of the
            `hardened` version before, and `retrain` is not asked for.
        PrivacyParameterError
            If epsilon means nothing for these instances.
        BudgetExceededError
            If a record's budget does not allow its release.
        StoreError
            If the ledger or the state folder cannot be used.
        OverflowParameterError
            If the blinded values would not fit the profile.
        BackendUnavailableError
            If the method needs a package that is not installed.
        UnknownKeyError
            If the cloud is unknown.
        TooLargeError
            If the table would be above the cap of one frame, or there are more than 4096 features
            (4094 in `paper`). Nothing is trained then.
        """
        self._check_state()
        check_text("disease", disease)
        if method not in METHODS:
            raise ParameterError(f"method: expected one of {', '.join(METHODS)}")
        records = checked(instances)
        if k is not None:
            k = check_k(k, min(len(records), MAX_K))
        check_size(records, PROFILES[self._profile], method, k)
        self.directory.get(cloud)
        noise_key = self._ledger.key(b"noise " + disease.encode()) if self._ledger else b""
        if decision is None:
            decision = default_decision(self._profile, method)
        plan = Plan(
            self._profile, method, k, check_priors(priors), check_decision(decision),
            self._epsilon, noise_key,
        )  # fmt: skip
        hardened = self._profile == "hardened"
        with self._releasing if hardened else contextlib.nullcontext():
            if hardened and not retrain and self._is_damaged(disease):
                raise StoreError(
                    "disease: what its versions have in common is damaged; retrain=True makes a "
                    "version of its own, which is one more release of every record"
                )
            if not retrain and (frozen := self._frozen.get(disease)) is not None:
                frozen.check(records.schema, method, self._epsilon)
                plan = replace(plan, frozen=frozen)
            return self._publish(disease, records, plan, cloud, advice or {}, Stages(progress))

    def _publish(
        self,
        disease: str,
        records: Dataset,
        plan: Plan,
        cloud: str,
        advice: Mapping[str, str],
        stages: Stages,
    ) -> bytes:
        with self._lock:
            # Taken at once: a version that comes to nothing is never given twice.
            old = self._places.get(disease)
            place = TableRef(
                old.table_id if old else secrets.token_bytes(16), old.version + 1 if old else 1
            )
            self._places[disease] = place
            if self._archive is not None:
                self._archive.reserve(disease, place)
        unconfirmed, upload, release = prepare(records, plan, place, cloud, advice, stages=stages)
        waiting = _Waiting(unconfirmed, upload, secrets.token_bytes(16))
        frame = self._upload(waiting)
        if release is not None:
            # Before the frame is anybody's: what fails here leaves nothing released.
            if self._ledger is not None and plan.epsilon is not None:
                self._ledger.spend_each(release.charges, plan.epsilon)
            if self._archive is not None:
                self._archive.freeze(disease, release.frozen)
            self._frozen[disease] = release.frozen
        with self._lock:
            other = self._unconfirmed.get(disease)
            asked = self._tables.get(disease)
            newest = max(
                other.published.place.version if other else 0,
                asked.place.version if asked else 0,
            )
            if place.version > newest:
                self._unconfirmed[disease] = waiting
        stages.tell(1.0)
        return frame

    def resend(self, disease: str) -> bytes:
        """Make the upload that waits for its receipt once more, with the present time.

        For an upload that was lost or took longer than a day. Nothing is trained. The cloud
        acknowledges it also if it has it already. Until `confirm` the hospital keeps the table to
        be uploaded in memory, and not beyond its process.

        Returns
        -------
        bytes
            A frame for `Cloud.store`.

        Raises
        ------
        UnknownDiseaseError
            If no upload of this disease waits for a receipt.
        UnknownKeyError
            If the cloud is not known any more.
        """
        self._check_state()
        with self._lock:
            waiting = self._unconfirmed.get(disease)
        if waiting is None:
            raise UnknownDiseaseError("disease: no upload of it waits for a receipt")
        return self._upload(waiting)

    def _upload(self, waiting: _Waiting) -> bytes:
        published = waiting.published
        return self._send(
            published.cloud,
            waiting.upload,
            nonce=waiting.nonce,
            sequence=published.place.version,
        )

    def confirm(self, receipt: bytes) -> None:
        """Ask a published table from now on, since the cloud has it.

        Raises
        ------
        ContextMismatchError
            If the receipt is for no upload that waits for one.
        NeighborsError
            If the cloud chose a K that is not possible.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._authenticate(receipt, Kind.RECEIPT)
        body = self._open(frame, Receipt)
        place = TableRef(body.table_id, body.version)
        with self._lock:
            found = [
                (disease, each)
                for disease, each in self._unconfirmed.items()
                if each.published.place == place
            ]
        if not found:
            raise ContextMismatchError("receipt: no such upload waits for one")
        ((disease, waiting),) = found
        if waiting.published.cloud != frame.header.sender:
            raise ContextMismatchError("receipt: comes from another cloud")
        table = waiting.table.confirmed(body.k)
        with self._lock:
            if self._unconfirmed.get(disease) is not waiting:
                raise ContextMismatchError("receipt: no such upload waits for one")
            # First what can fail, so that the receipt is good for another try.
            if self._archive is not None and isinstance(table.retrieval, SealedRetrieval):
                self._archive.keep(disease, table)
            del self._unconfirmed[disease]
            self._tables[disease] = table

    def close(self) -> None:
        """Put the hints of sealed tables back into the state folder; the hospital ends here.

        After a crash instead, tables open without hints, and `renew` makes new ones. In a process
        that was forked from the hospital's own, nothing happens.

        Raises
        ------
        HintStateError
            If the folder cannot be written. It stays locked, and closing may be tried again.
        """
        problem: OmpdError | None = None
        # Also those that were saved when their confirmation failed: the disk may name them already.
        waiting = [each.published for each in self._unconfirmed.values()]
        for table in (*self._tables.values(), *waiting):
            if isinstance(table.retrieval, SealedRetrieval):
                try:
                    table.retrieval.table.close()
                except OmpdError as error:
                    problem = problem or error
        if problem is not None:
            raise problem
        if self._archive is not None:
            if self._kept_frames is not None and self._archive.held:
                self._kept_frames.close()
            self._archive.close()

    def remaining(self, disease: str) -> int | None:
        """Return how many queries the disease's table can answer before `renew`.

        None where there is no such limit.

        Raises
        ------
        UnknownDiseaseError
        StoreError
            If the disease is `damaged`.
        """
        room = self._table(disease).retrieval.room
        return None if room == sys.maxsize else room

    def renew(self, disease: str) -> bytes:
        """Ask the cloud for the whole sealed table, to make the hints of a new window from it.

        Publishing the disease anew does as well, and needs no download.

        Returns
        -------
        bytes
            A frame for `Cloud.answer`, whose answer is for `renewed`.

        Raises
        ------
        UnknownDiseaseError
        StoreError
            If the disease is `damaged`.
        ParameterError
            If the disease's table is of another profile.
        """
        table = self._table(disease)
        if not isinstance(table.retrieval, SealedRetrieval):
            raise ParameterError("disease: only sealed tables have windows")
        nonce = secrets.token_bytes(16)
        self._renewing.add(table.cloud, nonce, 0, table, self._clock())
        place = table.place
        return self._send(
            table.cloud,
            SealedJob(place.table_id, place.version, True, b""),
            nonce=nonce,
            sequence=0,
        )

    def renewed(self, answer: bytes) -> None:
        """Make the hints of a new window; what is on its way in the old one still counts.

        Raises
        ------
        BucketAuthError
            If a bucket is not the one that was stored; nothing changes then.
        RefusedError
            If the cloud did not accept the request; that request is over.
        OmpdError
            If the frame is not an authentic, fresh answer to `renew`.
        """
        frame = self._authenticate(
            answer, Kind.SEALED_ANSWER, Kind.REFUSAL, admit=self._expected_table
        )
        header = frame.header
        table = self._renewing.find(header, self._clock())
        if header.kind == Kind.REFUSAL:
            self._open(frame, Refusal)
            self._claim(frame)
            self._renewing.close(header.sender, header.nonce, header.sequence)
            raise RefusedError("answer: the cloud did not accept the request")
        body = self._open(frame, SealedAnswer)
        check_ref(TableRef(body.table_id, body.version), table.place)
        retrieval = table.retrieval
        assert isinstance(retrieval, SealedRetrieval)  # noqa: S101  (`renew` saw to it)
        self._claim(frame)
        self._renewing.close(header.sender, header.nonce, header.sequence)
        retrieval.renew(body)

    def _is_damaged(self, disease: str) -> bool:
        return not self.damaged.keys().isdisjoint((disease, file_name(disease)))

    def _expected_table(self, header: Header, size: int) -> None:
        """Refuse what answers no `renew`, or is longer than the table, before it is read."""
        retrieval = self._renewing.find(header, self._clock()).retrieval
        assert isinstance(retrieval, SealedRetrieval)  # noqa: S101  (`renew` saw to it)
        check_answer_size(size, retrieval.table.layout.table_bytes)

    def _check_state(self) -> None:
        if self._archive is not None:
            self._archive.check()

    def _check_header(self, header: Header) -> None:
        self._check_state()
        super()._check_header(header)

    def _table(self, disease: str) -> Published:
        self._check_state()
        table = self._tables.get(disease)
        if table is None and self._is_damaged(disease):
            raise StoreError("disease: its state on disk is damaged; publish it anew")
        if table is None:
            raise UnknownDiseaseError("disease: no table is published under this name")
        return table


def check_ref(place: TableRef, expected: TableRef) -> None:
    """Refuse an answer about another table or version.

    Raises
    ------
    ContextMismatchError, VersionError
    """
    if place.table_id != expected.table_id:
        raise ContextMismatchError("answer: is about another table")
    if place.version != expected.version:
        raise VersionError("answer: is about another version of the table")
