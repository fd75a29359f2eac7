"""Hints: how the hospital names buckets without telling the cloud which one it wants.

The scheme is Piano (Zhou, Park, Shi, Zheng, IACR ePrint 2023/452) for a client that owns the
table, so that hints are built locally. The stored table is R chunks of C buckets.

* A *primary hint* is one uniform offset for each chunk, with the XOR (parity) of those R buckets.
* A *slot* of chunk c is a backup hint (uniform offsets and the parity of all chunks but c) with a
  replacement entry (a uniform offset in chunk c and that bucket's bytes). Each is used once.

Offsets of both are not kept but drawn again whenever they are looked at, from AES under a key of
the window. Of a primary hint that came from a slot, one chunk's offset is another: it is *patched*.

To fetch bucket x of chunk c: from a random start, take the first hint that contains x; send its
offsets with the one in chunk c replaced by the next slot's entry; answer, parity and entry give x.
In the hint's place comes the slot's backup hint with x in chunk c; its parity is complete when x
has come, or at once if x is the entry of a slot that is still unused. A query always sends the same
number of vectors; where it wants fewer buckets it sends uniform ones instead.

**What the cloud sees is uniform.** Let H be the list of primary hints, and suppose that it is a
list of independent uniform vectors and independent of all vectors sent so far (as after building).
Let x be asked for, chosen without looking at H.

1. If hint i is the first in the search order to contain x, then, given this, all its other offsets
   are uniform and independent of the rest of H, since the choice looked at chunk c alone. The entry
   in chunk c is fresh. So the vector sent is uniform whatever i, x and the other hints are.
2. Given i, hints before i are uniform among those without x, hints after i are uniform, and the
   one put in place i is a fresh uniform vector among those that contain x. That is the
   distribution of H given that the first hint with x is the i-th. Averaged over i it is that of H,
   and nothing of it depends on the vector sent.
3. If no hint contains x (probability below 2^-28), a uniform vector is sent and H stays as it is,
   so that 2 holds for this case too.

Hence by induction every vector sent is uniform and independent of the earlier ones and of the
sequence of buckets asked for: repeated and skewed queries look like any others. Uniform here means:
to whoever cannot tell AES-256 from a random permutation, nor its blocks, all of them different,
from independent ones, which takes some 2^64 blocks where a window has some 2^20.

The argument needs two things that the code takes care of.

*A hint is searched for whatever became of its parity.* One whose bucket x has not come is still
chosen and sent, or offsets near it would be rarer than others. The answer then gives the bucket
asked for XOR x, and is kept: as soon as x comes, by whichever fetch, both are known, and so are all
hints that wait for either. A fetch that hangs on another request's unread answer is completed when
that is read, which is why answers are read in the order of asking.

*When which place is asked for must not depend on H*, but only on the queries and on what the cloud
did itself, which by induction is independent of H. So:

* A query asks for those of its places, the first `fetches` of its ranking, that were not *heard
  of*: whose last answer that was read is missing or wrong. Whether the bucket is known by then, or
  is in a hint at all, makes no difference. Nor does it count that another user's query has asked
  for the same place and was not read: who withholds that answer would otherwise see from this one,
  or learn from its user, that both want the same.
* While other requests are unread, the vectors that are left ask for the same places once more, as
  far as the slots of a window are not needed for that: always, whatever the first fetch met.
* If an answer is lost (its request was given up, or the answer had another length) or is itself
  wrong, which the cloud knows, the place is owed two more fetches: by queries that want it, and
  else in place of a uniform vector that a query has to spare. Two always, whether the first brings
  it or not: who stopped or went on for that reason would let the requests depend on H. That wrong
  answers are told one by one needs the checksums of `checks`: a right checksum is a right answer.
* A chunk without slots is skipped.

**What still joins two queries** is seen by their users alone. If x is asked for while another fetch
of x is unread, the hint that waits for x is the one chosen with probability one in 21, the hints
with x; then the fetch brings nothing unless the other answer comes. A second fetch makes that one
in 400, an entry that is x makes it nothing; but a query may have no vectors to spare.

A wrong answer is noticed whether anyone needed it or not, so that a cloud that lies and watches for
a reaction learns only that it was caught.

**Lost answers end a window before they spoil it.** Each leaves a hint that lacks a bucket until
that bucket is asked for again, and in the meantime others hang on it. So queries without an answer
are counted, and answered ones are counted against them; beyond `tolerance` the window ends. The
count is of queries, not of what they wanted, so that its end says nothing of these.

What was read stays in its slot and serves later queries from there, so that the load of the chunks
is about that of random draws without replacement, as places are shuffled. For what is served so,
and for uniform vectors, the work of a fetch is done in vain: a repeat takes as long as a new query.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from ompd._kernels.retrieval import (
    AGAIN,
    ASKED,
    DEAD,
    READY,
    SETTLED,
    UNUSED,
    WAITING,
    complete,
    consume,
    resolve,
    select,
    settle,
    slots_for,
)
from ompd.arrays import I32, I64, U8, U64, Bools, frozen
from ompd.confidential import Confidential
from ompd.crypto.buckets import TAG_BYTES, BucketCipher
from ompd.crypto.streams import KEY_BYTES, BlockStream
from ompd.errors import BucketAuthError
from ompd.sealed.finding import find
from ompd.sealed.layout import COVER, Layout, Offsets, backups_per_chunk, slots_ahead
from ompd.sealed.offsets import combined, drawn_offsets

# Vectors of offsets that are in memory at a time.
_VECTORS = 2048
# So many answered queries make up for a lost one.
_REPAY = 4
# One query in so many may be lost.
_TOLERATED = 64
# In `heard`: a right answer was read; the member that is asking has asked for it.
_HEARD = 1
_OWN = 2

#: The arrays that make up the state of a window.
FIELDS = (
    "key",
    "numbers",
    "patched",
    "parities",
    "waits",
    "entries",
    "backup_parities",
    "contents",
    "states",
    "places",
    "sources",
    "used",
    "slot_of",
    "heard",
    "owed",
    "debt",
)


class Hints(Confidential):
    """The hints of one window. Not for several threads at a time.

    Attributes
    ----------
    key : uint8 array of shape (32,)
        From which all offsets are drawn again.
    numbers : int32 array of shape (primary hints,)
        Which vector of them a hint has: that of the slot of this number, or one behind those.
    patched : int32 array of shape (primary hints,)
        The place that it has instead in that place's chunk, or -1.
    parities : uint64 array of shape (primary hints, words)
    waits : int32 array of shape (primary hints,)
        The place whose bucket is missing from the parity, or -1.
    entries : offsets of shape (slots,)
        Where in its chunk a slot's replacement entry is.
    backup_parities : uint64 array of shape (slots, words)
    contents : uint64 array of shape (slots, words)
        The replacement entry's bucket; once used, what is known of the bucket asked for.
    states : uint8 array of shape (slots,)
    places, sources : int32 arrays of shape (slots,)
        What a slot's bucket is, and the place whose bucket is missing from it; or -1.
    used : int64 array of shape (chunks,)
        Slots used in every chunk.
    slot_of : int32 array of shape (buckets,)
        The slot that has the bucket of a place, or -1 where it is not known.
    heard : uint8 array of shape (buckets,)
        1 for a place whose last answer was right, 2 more for one that the present member asked for.
    owed : uint8 array of shape (buckets,)
        How often a place is to be asked for again.
    debt : int64 array of shape (1,)
        Queries that were not answered, less those answered since, in units of 1 / `_REPAY`.
    """

    __slots__ = ("_spare", "_stream", "_unread", "layout", *FIELDS)

    def __init__(self, layout: Layout, **arrays: NDArray[np.generic]) -> None:
        self.layout = layout
        for name in FIELDS:
            setattr(self, name, arrays[name])
        self._unread = 0
        self._stream = BlockStream(self.key.tobytes())
        words = self.parities.shape[1]
        self._spare = (
            np.empty(layout.chunks, dtype=layout.offset_type),
            np.zeros((2, words), dtype=np.uint64),
        )

    key: U8
    numbers: I32
    patched: I32
    parities: U64
    waits: I32
    entries: Offsets
    backup_parities: U64
    contents: U64
    states: U8
    places: I32
    sources: I32
    used: I64
    slot_of: I32
    heard: U8
    owed: U8
    debt: I64

    @classmethod
    def build(cls, layout: Layout, ciphertexts: U8, threads: int) -> Hints:
        """Draw fresh hints from the operating system and combine their buckets.

        Parameters
        ----------
        layout : Layout
        ciphertexts : uint8 array of shape (buckets, bucket_bytes)
            The table as the cloud has it; the caller has authenticated every bucket.
        threads : int
        """
        words = frozen(ciphertexts.view(np.uint64))
        primaries = COVER * layout.chunk
        own = np.repeat(np.arange(layout.chunks), backups_per_chunk(layout.chunk))
        slots = len(own)
        key = np.frombuffer(bytearray(os.urandom(KEY_BYTES)), dtype=np.uint8)
        stream = BlockStream(key.tobytes())
        entries = np.empty(slots, dtype=layout.offset_type)
        parities = np.empty((slots + primaries, words.shape[1]), dtype=np.uint64)
        left_out = np.append(own, np.full(primaries, -1))
        for first in range(0, len(parities), _VECTORS):
            some = np.arange(first, min(len(parities), first + _VECTORS))
            drawn = drawn_offsets(stream, some, layout)
            parities[some] = combined(layout, words, drawn, left_out[some], threads)
            of_slots = some[some < slots]
            entries[of_slots] = drawn[np.arange(len(of_slots)), own[of_slots]]
        return cls(
            layout,
            key=key,
            numbers=np.arange(slots, slots + primaries, dtype=np.int32),
            patched=np.full(primaries, -1, dtype=np.int32),
            parities=parities[slots:].copy(),
            entries=entries,
            backup_parities=parities[:slots].copy(),
            contents=words[own * layout.chunk + entries],
            waits=np.full(primaries, -1, dtype=np.int32),
            states=np.full(slots, UNUSED, dtype=np.uint8),
            places=np.full(slots, -1, dtype=np.int32),
            sources=np.full(slots, -1, dtype=np.int32),
            used=np.zeros(layout.chunks, dtype=np.int64),
            slot_of=np.full(layout.buckets, -1, dtype=np.int32),
            heard=np.zeros(layout.buckets, dtype=np.uint8),
            owed=np.zeros(layout.buckets, dtype=np.uint8),
            debt=np.zeros(1, dtype=np.int64),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, name).nbytes for name in FIELDS)

    @property
    def unread(self) -> int:
        """Queries that were asked and neither read nor given up."""
        return self._unread

    @property
    def spent(self) -> bool:
        """Whether too many answers were lost for this window to go on."""
        return int(self.debt[0]) > _REPAY * tolerance(self.layout)

    def ask(self, wanted: I64, messages: Offsets, left: int) -> I64:
        """Choose what to fetch for one query, use up a slot for each and overwrite messages.

        Parameters
        ----------
        wanted : int64 array of shape (w,)
            Places of the query's buckets, the most promising first; w <= fetches.
        messages : offsets of shape (fetches, chunks)
            Uniform offsets at first; those that are not needed stay as they are.
        left : int
            Queries that may still come in this window.

        Returns
        -------
        int64 array of shape (f, 2)
            Slot and place of what is fetched, f <= fetches.
        """
        layout = self.layout
        backups = backups_per_chunk(layout.chunk)
        drawn = np.frombuffer(os.urandom(16 * layout.fetches), dtype=np.uint64)
        starts = (drawn[: layout.fetches] % np.uint64(len(self.waits))).astype(np.int64)
        # Behind what is fetched, places that are looked for in vain, to take as long.
        places = (drawn[layout.fetches :] % np.uint64(layout.buckets)).astype(np.int64)
        count = select(
            frozen(wanted), self.heard, self.owed, self._unread > 0, self.used, backups,
            slots_ahead(layout, left), layout.chunk, places,
        )  # fmt: skip
        records = np.empty((count, 2), dtype=np.int64)
        slots = np.empty(layout.fetches, dtype=np.int64)
        slots_for(places, count, self.used, backups, layout.chunk, slots)
        fresh = drawn_offsets(self._stream, slots, layout)
        hints, vectors = find(
            self._stream, layout, self.numbers, self.patched, places, count, starts, fresh
        )
        consume(
            places, count, layout.chunk, backups, slots, fresh, hints, vectors,
            self.numbers, self.patched, self.parities, self.waits, self.entries,
            self.backup_parities, self.contents, self.states, self.places, self.sources, self.used,
            self.owed, messages, records, *self._spare,
        )  # fmt: skip
        self.heard[places[:count]] |= _OWN
        self._unread += 1
        return records

    def next_member(self) -> None:
        """Note that the next queries are another user's."""
        self.heard &= _HEARD

    def receive(
        self, records: I64, answers: U64, right: Bools, cipher: BucketCipher, plain: U64
    ) -> int:
        """Take the answers to `records`, open the buckets and complete the hints.

        Parameters
        ----------
        records : int64 array of shape (fetches, 2)
            As `ask` returned.
        answers : uint64 array of shape (fetches, words)
        right : bool array of shape (fetches,)
            Answers that have the right checksum. The others count as lost.
        cipher : BucketCipher
        plain : uint64 array of shape (fetches, words - 2)
            Overwritten with the opened buckets, where they are there.

        Returns
        -------
        int
            How many buckets were not authentic.
        """
        settle(records, answers, right, self.contents, self.states)
        self.heard[records[right, 1]] = _HEARD
        self._release(records[~right])
        # What hung on these answers may be known now too; nobody reads it at once.
        waiting = np.flatnonzero(self.states == WAITING)
        resolve(waiting, self.contents, self.states, self.places, self.sources, self.slot_of)
        row_of = {slot: row for row, slot in enumerate(records[:, 0].tolist())}
        spare = np.empty(self.contents.shape[1] - TAG_BYTES // 8, dtype=np.uint64)
        bad = 0
        for slot in waiting[self.states[waiting] == SETTLED].tolist():
            row = row_of.get(slot)
            try:
                self.open(slot, cipher, spare if row is None else plain[row])
            except BucketAuthError:
                self.states[slot] = DEAD
                bad += 1
            else:
                self.states[slot] = READY
        complete(self.parities, self.waits, self.contents, self.states, self.slot_of)
        return bad

    def open(self, slot: int, cipher: BucketCipher, plain: U64) -> None:
        """Decrypt the bucket that a slot has brought, uint64 of shape (words - 2,).

        Raises
        ------
        BucketAuthError
            If it is not authentic.
        """
        bucket = self.contents[slot].view(np.uint8).data
        cipher.open(int(self.places[slot]), bucket, plain.view(np.uint8).data)

    def ready(self, slot: int) -> bool:
        """Tell whether the bucket that this slot was used for is known and authentic."""
        return bool(self.states[slot] == READY)

    def count(self, queries: int, lost: int) -> None:
        """Note that of so many queries whose answers were due some were lost, or wrong."""
        self._unread -= queries
        self.debt[0] = max(0, int(self.debt[0]) - (queries - lost)) + _REPAY * lost

    def lose(self, records: I64, queries: int) -> None:
        """Give up a request of so many queries; its places are owed another try."""
        self._release(records)
        self.count(queries, queries)

    def abandon(self) -> None:
        """Give up all answers that have not come."""
        asked = np.flatnonzero(self.states == ASKED)
        self.lose(np.stack([asked, self.places[asked]], axis=1), self._unread)

    def _release(self, records: I64) -> None:
        for slot, place in records.tolist():
            # A slot that no hint was found for has no answer that could be lost; but whether there
            # was one must not decide what is asked for next.
            self.owed[place] = AGAIN
            self.heard[place] = 0
            self.states[slot] = DEAD


def tolerance(layout: Layout) -> int:
    """Queries without an answer, more than those answered since, that a window outlives."""
    return max(1, layout.window // _TOLERATED)
