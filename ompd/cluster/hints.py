"""Hints of sealed tables, made by workers that are the hospital's own.

A hint is the XOR of one bucket of every chunk, or of every chunk but one: workers have the table
and XOR all, and the hospital takes the one out again. They get to know which buckets a hint is made
of, from which it shows what a query asks for: never do this on a cloud's cluster.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from ompd.arrays import I64, U64
from ompd.cluster.copies import ChunksCopy
from ompd.cluster.crew import Crew
from ompd.cluster.rounds import Hands
from ompd.cluster.worker import Ask
from ompd.errors import UnreachableError
from ompd.sealed.layout import Layout, Offsets
from ompd.sealed.offsets import combined_here, combining

_LOGGER = logging.getLogger("ompd.cluster")
#: Bytes of buckets that are worth a way to another process.
_FEW_BYTES = 64 << 20
#: Seconds until a table that does not get to the workers is not waited for.
_BRINGING = 600.0


@contextmanager
def hints_on(
    address: str | None = None, *, workers: int | None = None, hands: Hands | None = None
) -> Iterator[None]:
    """Let a hospital's own Ray cluster make the hints of all sealed tables that are made within.

    ::

        with ompd.cluster.hints_on("HEAD:6379"):
            upload = hospital.publish("flu", records, cloud="cloud")

    They are the same as without. If the cluster fails, this process makes them.

    Parameters
    ----------
    address, workers, hands
        As for `Tables`.

    Raises
    ------
    BackendUnavailableError, ClusterError
        As `Tables`.
    """
    if hands is None:
        from ompd.cluster.rays import RayHands

        hands = RayHands.connect(address, workers, None)
        workers = hands.workers
    combiner = _Combiner(hands, workers or 1)
    try:
        with combining(combiner):
            yield
    finally:
        combiner.close()


class _Combiner:
    """Does what `ompd.sealed.offsets.combined` does."""

    def __init__(self, hands: Hands, workers: int) -> None:
        self._workers = workers
        self._crew = Crew(hands, workers)
        # The table that workers have, and its key.
        self._table: U64 | None = None
        self._key = ""

    def __call__(self, layout: Layout, words: U64, offsets: Offsets, own: I64, threads: int) -> U64:
        size = len(offsets) * layout.chunks * layout.bucket_bytes
        if size >= _FEW_BYTES:
            try:
                return self._combined(layout, words, offsets, own)
            except UnreachableError:
                _LOGGER.warning("no worker has the table, its hints are made here")
        return combined_here(layout, words, offsets, own, threads)

    def _combined(self, layout: Layout, words: U64, offsets: Offsets, own: I64) -> U64:
        if self._table is not words:
            self._crew.forget([self._key])
            self._key = secrets.token_hex(8)
            copy = ChunksCopy(layout, words.view(np.uint8), 0, layout.chunks, self._workers)
            self._crew.place({self._key: copy})
            self._crew.settle(_BRINGING)
            self._table = words
        shares = max(1, self._crew.holders(self._key))
        edges = [len(offsets) * share // shares for share in range(shares + 1)]
        total = np.concatenate(
            self._crew.ask(
                [
                    Ask(self._key, "sums", (offsets[first:last],), last - first)
                    for first, last in pairwise(edges)
                ]
            )
        )
        without = np.flatnonzero(own >= 0)
        chunks = own[without]
        total[without] ^= words[chunks * layout.chunk + offsets[without, chunks]]
        return total

    def close(self) -> None:
        """End the workers."""
        self._table = None
        self._crew.close()
