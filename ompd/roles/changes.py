"""Changes of tables that are asked, without training them anew."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ompd.arrays import U16, U64
from ompd.datasets import Dataset
from ompd.errors import (
    ContextMismatchError,
    NeighborsError,
    ParameterError,
    StoreError,
    TooLargeError,
    UnknownDiseaseError,
)
from ompd.roles.books import Book, Delta, Step
from ompd.roles.drift import Drift
from ompd.roles.frozen import record_names
from ompd.roles.pending_changes import ChangeUpload, Pending
from ompd.roles.post import Post
from ompd.roles.publication import Published
from ompd.roles.retrieval import Edit, Retrieval, TableRef
from ompd.roles.rows import Taken, codes_of
from ompd.roles.shelf import Shelf
from ompd.roles.uploads import Upload
from ompd.wire import (
    KIND_OF,
    Body,
    Kind,
    Receipt,
    Withdrawal,
    content_cap,
    encode_body,
)

#: Of a step that no cloud is told of.
_NO_KIND = -1
_NO_ROWS = np.empty(0, np.int64)
_NO_LABELS: U16 = np.empty(0, np.uint16)
_NO_NAMES: U64 = np.empty(0, np.uint64)
#: Changes of one table that may wait for their receipts.
_MOST_WAITING = 1024
#: A receipt is waited for as long as this part of a window. Half a window after a removal the cloud
#: ends the versions before, and would leave a hospital without an answer that does not know.
_PATIENCE = 1 / 8


class Changes:
    """The changes of a hospital's tables; for several threads.

    Parameters
    ----------
    shelf : Shelf
    post : Post
    """

    def __init__(self, shelf: Shelf, post: Post) -> None:
        self._shelf = shelf
        self._post = post
        self._books = shelf.books
        self._waiting: dict[str, list[Pending]] = {}
        # What the last of them makes. Those between are made anew where they are needed: each is as
        # large as all ids.
        self._ahead: dict[str, Book] = {}
        self._sent: dict[bytes, float] = {}
        # One change at a time: each is made of the one before.
        self._lock = threading.RLock()
        for disease, table in shelf.tables.items():
            self._take_up(disease, table)

    def _take_up(self, disease: str, table: Published) -> None:
        """Wait again for the receipts that did not come before the process ended."""
        if table.retrieval.edits_at_once:
            # The number may not have come as far as the change.
            with contextlib.suppress(StoreError):
                live = self._books.of(disease).rows.live
                if table.rows != live:
                    self._shelf.changed(disease, replace(table, rows=live), done=True)
        waiting: list[Pending] = []
        for step in self._books.left(disease):
            if step.kind == _NO_KIND:
                # The process ended before it was in effect, or anybody was told that it is.
                self._books.give_up(table.ref.table_id, step)
                continue
            book = self._ahead.get(disease) or self._books.of(disease)
            if step.kind == Kind.WITHDRAWAL:
                waiting.append(Pending(step, table, len(book.rows)))
                continue
            after = book.after(step.delta)
            ref = TableRef(table.ref.table_id, step.version)
            table = _changed(table, ref, table.retrieval.at(ref), after)
            waiting.append(Pending(step, table, len(after.rows)))
            self._ahead[disease] = after
        if waiting:
            self._waiting[disease] = waiting

    def add(self, disease: str, records: Dataset) -> Upload:
        """As `Hospital.add`."""
        with self._lock:
            base, book = self._newest(disease)
            if records.schema.plain != base.filling.schema:
                raise ParameterError("records: expected the schema of the table")
            if not len(records):
                raise ParameterError("records: expected at least one")
            book.rows.check_new(records.ids, len(records))
            labels = np.array(records.labels, np.int64)
            names = None
            if len(book.rows.names):
                taken = Taken(book.rows.names)
                names = record_names(base.filling.schema, records.features, labels, taken)
            frozen = self._shelf.frozen.get(disease) if base.retrieval.freezes else None
            charges: list[tuple[str, bytes]] = []
            if frozen is None:
                filled, _ = base.filling.fill(records.features)
                vectors = np.array(base.encoder.encode(filled), np.int64)
            else:
                vectors = frozen.vectors(names or [], records.features)
            if base.noise is not None and names is not None:
                digests = base.noise.instance_digests(vectors, names)
                charges = list(zip(names, digests, strict=True))
                vectors = base.noise.instances(vectors, names)
            after = book.rows.added(records.ids, labels, names)
            first = len(book.rows)
            counts, outside = book.summary.counted(base.filling.schema, records.features)
            delta = replace(
                _nothing(book),
                digests=after.digests[first:],
                labels=after.labels[first:],
                names=after.names[first:],
                counts=counts,
                outside=outside,
            )
            edit = replace(_no_edit(first, vectors.shape[1]), vectors=vectors, labels=labels)
            return self._made(disease, base, book, delta, edit, charges)

    def remove(self, disease: str, ids: object) -> Upload:
        """As `Hospital.remove`."""
        with self._lock:
            base, book = self._newest(disease)
            rows = np.sort(book.rows.find(ids))
            book.rows.check_left(rows, base.k)
            edit = replace(_no_edit(len(book.rows), base.encoder.coordinates), removed=rows)
            delta = replace(_nothing(book), removed=rows)
            return self._made(disease, base, book, delta, edit, [])

    def relabel(self, disease: str, ids: object, labels: object) -> Upload:
        """As `Hospital.relabel`."""
        with self._lock:
            base, book = self._newest(disease)
            rows = book.rows.find(ids)
            codes = codes_of(labels, base.classes, len(rows))
            order = np.argsort(rows)
            rows, codes = rows[order], codes[order]
            edit = _no_edit(len(book.rows), base.encoder.coordinates)
            edit = replace(edit, relabelled=rows, codes=codes)
            delta = replace(_nothing(book), relabelled=rows, codes=codes)
            return self._made(disease, base, book, delta, edit, [])

    def withdraw(self, disease: str) -> Upload:
        """As `Hospital.withdraw`."""
        with self._lock:
            table = self._shelf.find(disease)
            waiting = self._waiting.get(disease, [])
            if not (waiting and waiting[-1].withdraws):
                book = self._books.of(disease)
                ref = self._shelf.next(disease)
                step = self._step(table, book, ref, _nothing(book), Withdrawal(*_named(ref)))
                self._books.add(ref.table_id, step)
                # Whatever else waited has no part in what is left.
                waiting = [Pending(step, table, len(book.rows))]
                self._waiting[disease] = waiting
                self._ahead.pop(disease, None)
            return self._upload(waiting)

    def drift(self, disease: str) -> Drift:
        """As `Hospital.drift`."""
        table = self._shelf.find(disease)
        book = self._books.of(disease)
        schema = table.filling.schema
        return book.summary.drift(schema, book.rows.counts(len(schema.classes)))

    def resend(self, disease: str) -> Upload | None:
        """Return the frames of all changes that wait; None if there are none."""
        with self._lock:
            waiting = self._waiting.get(disease)
            return self._upload(waiting) if waiting else None

    def late(self) -> list[str]:
        """Return the diseases with changes whose receipts should have come; after a restart, all.

        What a frame was made of just now is not late for a while.
        """
        with self._lock:
            before = self._post.now() - self._post.window * _PATIENCE
            return [
                disease
                for disease, waiting in self._waiting.items()
                if not before < self._sent.get(waiting[0].ref.table_id, before) <= self._post.now()
            ]

    def superseded(self, disease: str, version: int) -> None:
        """Forget the changes of versions before one that was published anew and is asked now."""
        with self._lock:
            waiting = [
                each for each in self._waiting.pop(disease, []) if each.step.version > version
            ]
            if waiting:
                self._waiting[disease] = waiting
            else:
                self._ahead.pop(disease, None)

    def confirm(self, ref: TableRef, cloud: str, receipt: Receipt) -> bool:
        """Ask a changed table from now on; False if the receipt is for no change that waits.

        A receipt for a change stands for all before it, which it is made of.

        Raises
        ------
        ContextMismatchError, NeighborsError, StoreError
            As `Hospital.confirm`.
        """
        with self._lock:
            for disease, waiting in self._waiting.items():
                for place, change in enumerate(waiting):
                    if change.ref == ref:
                        self._confirm(disease, place, cloud, receipt)
                        return True
        return False

    def _confirm(self, disease: str, place: int, cloud: str, receipt: Receipt) -> None:
        waiting = self._waiting[disease]
        change = waiting[place]
        table, ref = change.table, change.ref
        if table.cloud != cloud:
            raise ContextMismatchError("receipt: comes from another cloud")
        if change.withdraws:
            self._shelf.withdrawn(disease)
            self._books.drop(disease, ref.table_id)
            del self._waiting[disease]
            self._ahead.pop(disease, None)
            return
        if receipt.k not in (0, table.k):
            raise NeighborsError(f"k: expected {table.k} as before, got {receipt.k}")
        if receipt.have != change.rows:
            raise ContextMismatchError("receipt: names another number of rows than there are")
        if change is waiting[-1]:
            book = self._ahead[disease]
        else:
            book = self._books.of(disease)
            for each in waiting[: place + 1]:
                book = book.after(each.step.delta)
        self._shelf.changed(disease, table)
        self._books.changed(disease, ref.table_id, ref.version, book)
        self._waiting[disease] = waiting[place + 1 :]
        if not self._waiting[disease]:
            del self._waiting[disease], self._ahead[disease]

    @contextlib.contextmanager
    def settled(self, disease: str) -> Iterator[tuple[Published, Book]]:
        """Return a table that no other change is made of meanwhile, and its book.

        Raises
        ------
        UnknownDiseaseError, ParameterError, StoreError
            As `Hospital.add`.
        """
        with self._lock:
            yield self._newest(disease)

    def _newest(self, disease: str) -> tuple[Published, Book]:
        """Return the table that the next change is made of, as it will be asked."""
        table = self._shelf.find(disease)
        if disease in self._shelf.waiting:
            raise ParameterError(
                "disease: an upload of it waits for its receipt; deliver it before a change"
            )
        waiting = self._waiting.get(disease)
        if not waiting:
            return table, self._books.of(disease)
        if waiting[-1].withdraws:
            raise UnknownDiseaseError("disease: it is being withdrawn")
        if len(waiting) >= _MOST_WAITING:
            raise ParameterError(
                f"disease: expected at most {_MOST_WAITING} changes that wait for their receipts; "
                "deliver them before another"
            )
        return waiting[-1].table, self._ahead[disease]

    def _made(
        self,
        disease: str,
        base: Published,
        book: Book,
        delta: Delta,
        edit: Edit,
        charges: list[tuple[str, bytes]],
    ) -> Upload:
        """Make a change that nothing is wrong with."""
        ref = self._shelf.next(disease)
        if base.retrieval.edits_at_once:
            return self._at_once(disease, base, book, delta, edit, ref)
        retrieval, body = base.retrieval.edited(edit, ref)
        assert body is not None  # noqa: S101  (it was just asked)
        step = self._step(base, book, ref, delta, body)
        cap = content_cap(KIND_OF[type(body)])
        if len(step.body) > cap:
            raise TooLargeError(
                f"records: expected a change of at most {cap >> 20} MiB, "
                f"got {len(step.body) >> 20}; make several"
            )
        if charges and self._shelf.ledger is not None and self._shelf.epsilon is not None:
            # Before the frame is anybody's: what fails here leaves nothing released.
            self._shelf.ledger.spend_each(charges, self._shelf.epsilon)
        self._books.add(ref.table_id, step)
        after = book.after(delta)
        table = _changed(base, ref, retrieval, after)
        waiting = [*self._waiting.get(disease, []), Pending(step, table, len(after.rows))]
        self._waiting[disease], self._ahead[disease] = waiting, after
        return self._upload(waiting)

    def _upload(self, waiting: list[Pending]) -> Upload:
        """Return the frames of changes that wait; whoever asked for them is about to send them."""
        self._sent[waiting[0].ref.table_id] = self._post.now()
        return ChangeUpload(self._post, list(waiting), self._sent)

    def _at_once(
        self,
        disease: str,
        base: Published,
        book: Book,
        delta: Delta,
        edit: Edit,
        ref: TableRef,
    ) -> Upload:
        """Change a table that no cloud is told of."""
        step = Step(base.retrieval.edition, ref.version, delta, _NO_KIND, b"", b"")
        self._books.add(ref.table_id, step)
        try:
            retrieval, _ = base.retrieval.edited(edit, ref)
        except BaseException:
            self._books.give_up(ref.table_id, step)
            raise
        after = book.after(delta)
        table = replace(base, retrieval=retrieval, rows=after.rows.live)
        self._shelf.changed(disease, table, done=True)
        self._books.changed(disease, ref.table_id, ref.version, after)
        done = Receipt(*_named(ref), k=base.k, have=len(after.rows))
        return ChangeUpload(self._post, [], self._sent, done)

    def _step(self, base: Published, book: Book, ref: TableRef, delta: Delta, body: Body) -> Step:
        return Step(
            base.ref.version,
            ref.version,
            delta,
            KIND_OF[type(body)],
            encode_body(body),
            secrets.token_bytes(16),
        )


def _changed(base: Published, ref: TableRef, retrieval: Retrieval, book: Book) -> Published:
    """Return a table as it is asked once the cloud has a change."""
    return replace(base, ref=ref, retrieval=retrieval, rows=book.rows.live)


def _named(ref: TableRef) -> tuple[bytes, int]:
    return ref.table_id, ref.version


def _nothing(book: Book) -> Delta:
    """The change of a book that changes nothing."""
    return Delta(
        removed=_NO_ROWS,
        relabelled=_NO_ROWS,
        codes=_NO_ROWS,
        digests=book.rows.digests[:0],
        labels=_NO_LABELS,
        names=_NO_NAMES,
        counts=np.zeros_like(book.summary.added),
        outside=np.zeros_like(book.summary.outside),
    )


def _no_edit(rows: int, coordinates: int) -> Edit:
    """The edit that changes nothing."""
    return Edit(
        removed=_NO_ROWS,
        relabelled=_NO_ROWS,
        codes=_NO_ROWS,
        first=rows,
        vectors=np.empty((0, coordinates), np.int64),
        labels=_NO_ROWS,
    )
