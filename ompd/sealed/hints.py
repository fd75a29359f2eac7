"""Hints: how the hospital names buckets without telling the cloud which one it wants.

The scheme is Piano (Zhou, Park, Shi, Zheng, IACR ePrint 2023/452) for a client that owns the
table, so that hints are built locally. The stored table is R chunks of C buckets.

* A *primary hint* is one uniform offset for each chunk, with the XOR (parity) of those R buckets.
* A *slot* of chunk c is a backup hint (uniform offsets and the parity of all chunks but c) with a
  replacement entry (a uniform offset in chunk c and that bucket's bytes). Each is used once.

To fetch bucket x of chunk c: from a random start, take the first hint that contains x; send its
offsets with the one in chunk c replaced by the next slot's entry; answer, parity and entry give x.
In the hint's place comes the slot's backup hint with x in chunk c; its parity is complete when x
has come. A query always sends the same number of vectors; where it wants fewer buckets it sends
uniform ones instead.

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
3. If no hint contains x (probability below 2^-40), a uniform vector is sent and H stays as it is,
   so that 2 holds for this case too.

Hence by induction every vector sent is uniform and independent of the earlier ones and of the
sequence of buckets asked for: repeated and skewed queries look like any others.

The argument needs two things that the code takes care of. *A hint is searched for whatever became
of its parity*: one whose bucket has not yet come, or came damaged, is still chosen and sent, or
offsets near it would be rarer than others. Within one request this costs nothing, as the buckets
come in order; a fetch that hangs on another request's unread answer is completed when that is
read; one that hangs on a lost or wrong answer is lost. *Which buckets are asked for must not
depend on H*: a bucket is asked for once in a window, and a chunk without slots is skipped; both
follow from the queries alone. A bucket is asked for again only if its request was given up or was
answered wrongly, which the cloud knows; not if it was lost with a hint. What remains: a cloud that
lies and watches whether anyone reacts learns whether it lied about a fetch that mattered. So
nothing is sent after a wrong answer, and who is told that there is none should not hurry back.

Asking once per window also makes the load of the chunks that of random draws without replacement,
as places are shuffled; the bucket's bytes stay in its slot and serve later queries from there.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from ompd._kernels.retrieval import (
    ASKED,
    DEAD,
    READY,
    SETTLED,
    UNUSED,
    add_parities,
    complete,
    consume,
    settle,
)
from ompd.crypto.buckets import BucketCipher
from ompd.errors import BucketAuthError
from ompd.sealed.layout import COVER, Layout, backups_per_chunk
from ompd.threads import run_ranges

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

# Bytes of table that one pass over the hints reads: a common second-level cache.
_BLOCK_BYTES = 1 << 20

#: The arrays that make up the state of a window.
FIELDS = (
    "offsets",
    "parities",
    "waits",
    "backup_offsets",
    "backup_parities",
    "contents",
    "states",
    "used",
    "slot_of",
)


class Hints:
    """The hints of one window. Not for several threads at a time.

    Attributes
    ----------
    offsets : uint16 array of shape (chunks, primary hints)
    parities : uint64 array of shape (primary hints, words)
    waits : int64 array of shape (primary hints,)
        The slot whose bucket is missing from the parity, or -1.
    backup_offsets : uint16 array of shape (slots, chunks)
        With the replacement entry's offset in the slot's own chunk.
    backup_parities : uint64 array of shape (slots, words)
    contents : uint64 array of shape (slots, words)
        The replacement entry's bucket; once used, what is known of the bucket asked for.
    states : uint8 array of shape (slots,)
    used : int64 array of shape (chunks,)
        Slots used in every chunk.
    slot_of : int32 array of shape (buckets,)
        The slot with which a place was asked for in this window, or -1.
    """

    __slots__ = ("_waiting", "layout", *FIELDS)

    def __init__(self, layout: Layout, **arrays: NDArray[np.generic]) -> None:
        self.layout = layout
        for name in FIELDS:
            setattr(self, name, arrays[name])
        self._waiting: list[I64] = []

    offsets: U16
    parities: U64
    waits: I64
    backup_offsets: U16
    backup_parities: U64
    contents: U64
    states: U8
    used: I64
    slot_of: NDArray[np.int32]

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
        words = ciphertexts.view(np.uint64)
        primaries = COVER * layout.chunk
        slots = layout.chunks * backups_per_chunk(layout.chunk)
        own = np.repeat(np.arange(layout.chunks), slots // layout.chunks)
        offsets = random_offsets(primaries, layout)
        backup_offsets = random_offsets(slots, layout)
        parities = _parities(layout, words, offsets, np.full(primaries, -1), threads)
        backup_parities = _parities(layout, words, backup_offsets, own, threads)
        entries = own * layout.chunk + backup_offsets[np.arange(slots), own]
        return cls(
            layout,
            offsets=np.ascontiguousarray(offsets.T),
            parities=parities,
            waits=np.full(primaries, -1, dtype=np.int64),
            backup_offsets=backup_offsets,
            backup_parities=backup_parities,
            contents=words[entries],
            states=np.full(slots, UNUSED, dtype=np.uint8),
            used=np.zeros(layout.chunks, dtype=np.int64),
            slot_of=np.full(layout.buckets, -1, dtype=np.int32),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, name).nbytes for name in FIELDS)

    def ask(self, places: I64, messages: U16) -> I64:
        """Use up one slot for each place and overwrite as many messages.

        Parameters
        ----------
        places : int64 array
            Distinct, not asked for before in this window, and no more of a chunk than it has slots
            left.
        messages : uint16 array of shape (fetches, chunks)
            Uniform offsets at first; those behind the places stay as they are.

        Returns
        -------
        int64 array of shape (places, 4)
            Slot, place, hint and the slot that the hint was waiting for.
        """
        records = np.empty((len(places), 4), dtype=np.int64)
        starts = np.frombuffer(os.urandom(4 * len(places)), dtype=np.uint32).astype(np.int64)
        starts %= self.offsets.shape[1]
        consume(
            places, starts, self.layout.chunk, backups_per_chunk(self.layout.chunk),
            self.offsets, self.parities, self.waits, self.backup_offsets, self.backup_parities,
            self.contents, self.states, self.used, self.slot_of, messages, records,
        )  # fmt: skip
        return records

    def receive(self, records: I64, answers: U64, cipher: BucketCipher, plain: U64) -> int:
        """Take the answers to `records`, open the buckets and complete the hints.

        Parameters
        ----------
        records : int64 array of shape (fetches, 4)
            As `ask` returned; reordered in place.
        answers : uint64 array of shape (fetches, words)
        cipher : BucketCipher
        plain : uint64 array of shape (fetches, words - 2)
            Overwritten with the opened buckets, in the new order of `records`.

        Returns
        -------
        int
            How many buckets were not authentic.
        """
        bad = self._receive(records, answers, cipher, plain)
        # What hung on these answers may be complete now; nobody reads it at once.
        before = len(self._waiting) + 1
        while 0 < len(self._waiting) < before:
            before = len(self._waiting)
            pending, self._waiting = self._waiting, []
            for one in pending:
                self._receive(one, np.zeros_like(answers[:1]), cipher, np.empty_like(plain[:1]))
        return bad

    def _receive(self, records: I64, answers: U64, cipher: BucketCipher, plain: U64) -> int:
        waiting = settle(records, answers, self.contents, self.states)
        self._waiting += [records[index : index + 1].copy() for index in range(waiting)]
        bad = 0
        for index, (slot, place) in enumerate(records[:, :2].tolist()):
            if self.states[slot] != SETTLED:
                continue
            try:
                self.open(slot, place, cipher, plain[index])
            except BucketAuthError:
                self.states[slot] = DEAD
                bad += 1
            else:
                self.states[slot] = READY
        complete(records, self.parities, self.waits, self.contents, self.states)
        return bad

    def open(self, slot: int, place: int, cipher: BucketCipher, plain: U64) -> None:
        """Decrypt the bucket that a slot has brought, uint64 of shape (words - 2,).

        Raises
        ------
        BucketAuthError
            If it is not authentic.
        """
        cipher.open(place, self.contents[slot].view(np.uint8).data, plain.view(np.uint8).data)

    def ready(self, slot: int) -> bool:
        """Tell whether the bucket asked for with this slot is known and authentic."""
        return bool(self.states[slot] == READY)

    def release(self, records: I64) -> None:
        """Give up what did not come of `records`; its places may be asked for again."""
        for slot, place in records[:, :2].tolist():
            if self.states[slot] != READY:
                self.states[slot] = DEAD
                if self.slot_of[place] == slot:
                    self.slot_of[place] = -1

    def abandon(self) -> None:
        """Give up all answers that have not come."""
        self._waiting = []
        self.states[self.states == ASKED] = DEAD


def random_offsets(vectors: int, layout: Layout) -> U16:
    """Draw uniform offsets, uint16 of shape (vectors, chunks), from the operating system."""
    drawn = np.frombuffer(bytearray(os.urandom(2 * vectors * layout.chunks)), dtype=np.uint16)
    # Exactly uniform, as a chunk is a power of two.
    np.bitwise_and(drawn, np.uint16(layout.chunk - 1), out=drawn)
    return drawn.reshape(vectors, layout.chunks)


def _parities(layout: Layout, words: U64, offsets: U16, own: I64, threads: int) -> U64:
    parities = np.zeros((len(offsets), words.shape[1]), dtype=np.uint64)
    block = max(1, _BLOCK_BYTES // (layout.chunk * layout.bucket_bytes))

    def work(first: int, last: int) -> None:
        add_parities(words, layout.chunk, offsets, own, parities, block, first, last)

    run_ranges(work, len(offsets), threads, 256)
    return parities
