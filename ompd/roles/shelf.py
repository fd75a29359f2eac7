"""The tables of a hospital: what it publishes, and what it keeps of that."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from ompd.datasets import Dataset
from ompd.errors import (
    ContextMismatchError,
    OmpdError,
    ParameterError,
    StoreError,
    StoreWarning,
    UnknownDiseaseError,
)
from ompd.params import Profile, check_profile
from ompd.roles.archive import Archive
from ompd.roles.archive_entries import file_name
from ompd.roles.book_files import BookFiles
from ompd.roles.books import book_of
from ompd.roles.frozen import Frozen
from ompd.roles.library import Books
from ompd.roles.plans import plan_of
from ompd.roles.post import Post
from ompd.roles.publication import Published, Waiting, prepare
from ompd.roles.retrieval import PROFILES, TableRef
from ompd.roles.spool import Place, temporary
from ompd.roles.stages import Stages
from ompd.roles.training import Plan
from ompd.roles.uploads import Upload
from ompd.stores import BudgetLedger, DurableReplayGuard
from ompd.wire import disease_name


class Shelf:
    """All tables of a hospital: those that are asked, and those that wait for a receipt.

    For several threads.

    Parameters
    ----------
    profile, epsilon, ledger, state
        As for `Hospital`.
    window : float or None
        For a memory of accepted frames in the state folder; None if they are remembered elsewhere.

    Attributes
    ----------
    ledger : BudgetLedger or None
    epsilon : float or None
    books : Books
        Of the records of all tables.
    frames : DurableReplayGuard or None
        The memory of accepted frames in the state folder.

    Raises
    ------
    ParameterError, StoreError
        As `Hospital`.
    """

    def __init__(
        self,
        profile: str,
        epsilon: float | None,
        ledger: BudgetLedger | None,
        state: str | os.PathLike[str] | None,
        window: float | None,
    ) -> None:
        self._profile = PROFILES[check_profile(profile)]
        if (epsilon is None) != (ledger is None):
            raise ParameterError("epsilon, ledger: expected both or neither")
        if epsilon is not None and not self._profile.noisy:
            raise ParameterError("epsilon: only the profile 'hardened' adds noise")
        self.epsilon = epsilon
        self.ledger = ledger
        self._tables: dict[str, Published] = {}
        # Uploads that no receipt has come for, the newest of each disease.
        self._unconfirmed: dict[str, Waiting] = {}
        self._refs: dict[str, TableRef] = {}
        # What the last version of each hardened table had; such versions are made one at a time.
        self._frozen: dict[str, Frozen] = {}
        self._releasing = threading.Lock()
        self._lock = threading.Lock()
        self.frames: DurableReplayGuard | None = None
        self.books = Books(None)
        self._archive: Archive | None = None
        if state is not None:
            self._archive = Archive(state)
            try:
                self._open(self._archive, Path(state), window)
            except BaseException:
                # Puts back the hints that were taken.
                self.close()
                raise

    def _open(self, archive: Archive, folder: Path, window: float | None) -> None:
        """Take up what an earlier process left; first whatever can fail and leaves hints alone."""
        archive.check_profile(self.profile, noisy=self.ledger is not None)
        if window is not None:
            # Or else what was accepted before a restart would be accepted again. What a lost power
            # supply forgets is at most a window old and only costs hints or budget.
            self.frames = DurableReplayGuard(folder / "frames", window, power_safe=False)
        for disease, kept in archive.load().items():
            self._refs[disease] = kept.ref
            if kept.published is not None:
                self._tables[disease] = kept.published
            if kept.frozen is not None:
                self._frozen[disease] = kept.frozen
            if kept.waiting is not None:
                self._unconfirmed[disease] = kept.waiting
        self.books = Books(BookFiles(folder / "records"))
        self.books.take_up(
            {
                disease: (table.ref, table.retrieval.edition)
                for disease, table in self._tables.items()
            },
            # A damaged file may name others.
            None if archive.damaged else {ref.table_id for ref in self._refs.values()},
        )
        for disease, reason in archive.damaged.items():
            warnings.warn(
                f"state of {disease!r}: {reason}; publish it anew if another opening does not help",
                StoreWarning,
                stacklevel=4,
            )
        for disease, reason in archive.lost.items():
            warnings.warn(
                f"upload of {disease!r} that waits: {reason}; publish it anew",
                StoreWarning,
                stacklevel=4,
            )

    @property
    def profile(self) -> Profile:
        """What the tables tell the cloud."""
        return self._profile.profile

    @property
    def tables(self) -> dict[str, Published]:
        """Those that are asked, by disease."""
        return dict(self._tables)

    @property
    def waiting(self) -> dict[str, Waiting]:
        """What waits for its receipt, the newest version of each disease."""
        with self._lock:
            return dict(self._unconfirmed)

    @property
    def frozen(self) -> dict[str, Frozen]:
        """What the next versions will have in common with the last, by disease."""
        return dict(self._frozen)

    @property
    def damaged(self) -> dict[str, str]:
        """As `Hospital.damaged`."""
        return dict(self._archive.damaged) if self._archive else {}

    def check(self) -> None:
        """Refuse a process that must not use the state folder, if there is one.

        Raises
        ------
        StoreError
        """
        if self._archive is not None:
            self._archive.check()

    def find(self, disease: str) -> Published:
        """Return the table that is asked.

        Raises
        ------
        UnknownDiseaseError
        StoreError
            If the disease is damaged.
        """
        self.check()
        disease = disease_name(disease)
        table = self._tables.get(disease)
        if table is None and self._is_damaged(disease):
            raise StoreError("disease: its state on disk is damaged; publish it anew")
        if table is None:
            raise UnknownDiseaseError("disease: no table is published under this name")
        return table

    def plan(
        self,
        disease: str,
        records: Dataset,
        method: str,
        k: int | None,
        priors: str,
        decision: str | None,
    ) -> Plan:
        """Check what is decided about a table, and that it could be sent.

        Raises
        ------
        ParameterError, NeighborsError, TooLargeError, StoreError
            As `Hospital.publish`.
        """
        noise_key = self.ledger.key(b"noise " + disease.encode()) if self.ledger else b""
        return plan_of(records, self._profile, method, k, priors, decision, self.epsilon, noise_key)

    def publish(
        self,
        post: Post,
        disease: str,
        records: Dataset,
        plan: Plan,
        cloud: str,
        advice: Mapping[str, str],
        stages: Stages,
        retrain: bool,
    ) -> Upload:
        """Make the next version of a table, and its upload.

        Raises
        ------
        OmpdError
            As `Hospital.publish`; then nothing of the version is released.
        """
        freezes = self._profile.freezes
        with self._releasing if freezes else contextlib.nullcontext():
            if freezes and not retrain:
                if self._is_damaged(disease):
                    raise StoreError(
                        "disease: what its versions have in common is damaged; retrain=True makes "
                        "a version of its own, which is one more release of every record"
                    )
                if (frozen := self._frozen.get(disease)) is not None:
                    frozen.check(records.schema, plan.method, self.epsilon)
                    plan = replace(plan, frozen=frozen)
            ref = self.next(disease)
            with self.making(disease, ref) as place:
                table, pieces, release = prepare(
                    records, plan, ref, cloud, advice, stages=stages, place=place
                )
                if release is not None:
                    # Before a frame is anybody's: what fails here leaves nothing released.
                    if self.ledger is not None and plan.epsilon is not None:
                        self.ledger.spend_each(release.charges, plan.epsilon)
                    if self._archive is not None:
                        self._archive.freeze(disease, release.frozen)
                    self._frozen[disease] = release.frozen
                names = None if release is None else release.names
                waiting = Waiting(table, pieces, secrets.token_bytes(16))
                self.books.begin(ref, book_of(records, names))
                self.expect(disease, waiting)
            stages.tell(1.0)
            return waiting.upload(post)

    def making(self, disease: str, ref: TableRef) -> AbstractContextManager[Place]:
        """Give a place for the rows of a version; nothing is left of one that comes to nothing."""
        archive = self._archive
        return archive.making(disease, ref) if archive else contextlib.nullcontext(temporary)

    def next(self, disease: str) -> TableRef:
        """Return where the next version goes."""
        with self._lock:
            # Taken at once: a version that comes to nothing is never given twice.
            old = self._refs.get(disease)
            ref = TableRef(
                old.table_id if old else secrets.token_bytes(16), old.version + 1 if old else 1
            )
            self._refs[disease] = ref
            if self._archive is not None:
                self._archive.reserve(disease, ref)
        return ref

    def expect(self, disease: str, waiting: Waiting) -> None:
        """Wait for the receipt, unless a newer version waits for its own or has it."""
        with self._lock:
            other = self._unconfirmed.get(disease)
            asked = self._tables.get(disease)
            versions = (each.ref.version for each in (other and other.published, asked) if each)
            newest = max(versions, default=0)
            if waiting.published.ref.version > newest:
                if self._archive is not None:
                    self._archive.wait(disease, waiting)
                self._unconfirmed[disease] = waiting
                if other is not None:
                    other.discard()
            elif self._archive is not None:
                self._archive.drop(disease, waiting.published.ref)

    def awaited(self, disease: str) -> Waiting:
        """Return the table of a disease that waits for its receipt.

        Raises
        ------
        UnknownDiseaseError
            If none does.
        """
        self.check()
        waiting = self.waiting.get(disease_name(disease))
        if waiting is not None:
            return waiting
        raise UnknownDiseaseError("disease: no upload of it waits for a receipt")

    def changed(self, disease: str, table: Published, *, done: bool = False) -> None:
        """Ask a table as a change made it; a `StoreError` leaves all as before, but not if done."""
        with self._lock:
            # A disk that refuses cannot undo what is done, since the table's own folder has it.
            with contextlib.suppress(*([StoreError] if done else [])):
                if self._archive is not None:
                    self._archive.changed(disease, table)
            self._tables[disease] = table

    def withdrawn(self, disease: str) -> None:
        """Forget a table, and what waits for its receipt; not what its next version is to be like.

        Raises
        ------
        StoreError
        """
        with self._lock:
            if self._archive is not None:
                self._archive.withdrawn(disease)
            waiting = self._unconfirmed.pop(disease, None)
            table = self._tables.pop(disease)
        if waiting is not None:
            waiting.discard()
        table.retrieval.discard()

    def confirm(self, ref: TableRef, cloud: str, k: int, have: int) -> str | None:
        """Ask a table from now on, if this cloud has all of it and votes with this K.

        Returns the disease; None if not all is there.

        Raises
        ------
        ContextMismatchError, NeighborsError, StoreError, HintStateError
            As `Hospital.confirm`.
        """
        found = [each for each in self.waiting.items() if each[1].published.ref == ref]
        if not found:
            raise ContextMismatchError("receipt: no such upload waits for one")
        ((disease, waiting),) = found
        if waiting.published.cloud != cloud:
            raise ContextMismatchError("receipt: comes from another cloud")
        if have > waiting.pieces.rows:
            raise ContextMismatchError("receipt: names more rows than there are")
        if have < waiting.pieces.rows:
            waiting.pieces.spool.have = have
            if self._archive is not None:
                self._archive.note(disease, waiting)
            return None
        table = waiting.table.confirmed(k)
        with self._lock:
            if self._unconfirmed.get(disease) is not waiting:
                raise ContextMismatchError("receipt: no such upload waits for one")
            # First what can fail, so that the receipt is good for another try.
            if self._archive is not None:
                self._archive.keep(disease, table)
            del self._unconfirmed[disease]
            self._tables[disease] = table
        self.books.published(disease, ref)
        waiting.pieces.close()
        return disease

    def close(self) -> None:
        """Put everything back into the state folder, and let another process have it.

        Raises
        ------
        HintStateError
            As `Hospital.close`.
        """
        problem: OmpdError | None = None
        # Also those that were saved when their confirmation failed: the disk may name them already.
        waiting = list(self._unconfirmed.values())
        for table in (*self._tables.values(), *(each.published for each in waiting)):
            try:
                table.retrieval.close()
            except OmpdError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        for each in waiting:
            each.pieces.close()
        if self._archive is not None:
            if self.frames is not None and self._archive.held:
                self.frames.close()
            self._archive.close()

    def _is_damaged(self, disease: str) -> bool:
        return not self.damaged.keys().isdisjoint((disease, file_name(disease)))
