"""What a node of a cluster does: it has copies or parts of tables, and searches them.

It has nothing that the cloud has not, needs no secret, and knows nothing of what carries its calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ompd.arrays import I64, U8, U64
from ompd.errors import OmpdError, UnreachableError
from ompd.sealed.layout import Layout, Offsets
from ompd.sealed.server import sums
from ompd.search import LimbTable, ballots, compute
from ompd.search.conversion import Modulus
from ompd.stores.tables import Stored
from ompd.stores.tables.profiles import MADE_BY
from ompd.stores.tables.sealed import SealedStored
from ompd.threads import at_most
from ompd.wire import Kind

#: Versions of a part that are kept ready to be searched.
_MOST_VIEWS = 16


class Ask(NamedTuple):
    """One question to whoever holds something.

    Attributes
    ----------
    key : str
        What is to be asked.
    method : str
        Of `Worker`.
    arguments : tuple
        Behind the key.
    size : int
        How many queries it is about.
    """

    key: str
    method: str
    arguments: tuple[Any, ...]
    size: int

    def __repr__(self) -> str:
        return f"<Ask {self.method}>"


class _Part:
    """Some rows of a table, which come piece by piece, and their search."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.limbs: U64 | None = np.empty(shape, np.uint64)
        self.table: LimbTable | None = None
        self.views: dict[str, LimbTable] = {}

    @property
    def nbytes(self) -> int:
        if self.table is None:
            return 0 if self.limbs is None else self.limbs.nbytes
        return self.table.limbs.nbytes + self.table.labels.nbytes + self.table.index.nbytes


class _Chunks(NamedTuple):
    """Some chunks of a sealed table."""

    layout: Layout
    first: int
    buckets: U8


def _compile() -> None:
    """Compile the kernels that answers need, or load them: on a new machine that takes a minute.

    Whoever waits for an answer would take it for lost.
    """
    limbs = np.arange(16, dtype=np.uint64).reshape(8, 2, 1)
    table = LimbTable(limbs, np.zeros(8, np.int64), 1)
    distances, _ = compute(table, limbs, 3)
    compute(table, limbs, 3, within=np.ascontiguousarray(distances[:, -1]))
    ballots(table, limbs, np.ones((8, 1), np.uint64), Modulus.of(97, 1), 3)
    ballots(table, limbs, None, None, 3)
    layout = Layout(8, 64, 4, 2, 1, 1)
    sums(np.zeros(512, np.uint8), layout, np.zeros((1, 4), layout.offset_type))


class Worker:
    """Copies and parts of tables by their keys; for several threads.

    Parameters
    ----------
    threads : int
        That one call may use.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._copies: dict[str, Stored] = {}
        self._parts: dict[str, _Part] = {}
        self._chunks: dict[str, _Chunks] = {}
        # Files that came for a copy that is not open yet.
        self._incoming: dict[str, Path] = {}
        self._sizes: dict[str, int] = {}
        self._asked = 0
        _compile()

    # --- what it holds

    def open(self, key: str, kind: Kind, folder: str, index: str, digest: bytes) -> bool:
        """Map a copy of a table, if its folder is to be seen from here.

        Parameters
        ----------
        key : str
        kind : Kind
            Of the frame that brought it.
        folder, index : str
            Where it is; with an empty folder, what came by `receive`.
        digest : bytes
            SHA-256 of the index file, which names all else.

        Returns
        -------
        bool
            Whether it is here now.
        """
        own = self._incoming.pop(key, None) if not folder else None
        place = Path(folder) if own is None else own
        try:
            if hashlib.sha256((place / index).read_bytes()).digest() != digest:
                return False
            stored = MADE_BY[kind].open(
                place, ballots, index=index, verify=own is not None, mend=False
            )
            size = sum(file.stat().st_size for file in place.iterdir())
        except (OSError, OmpdError):
            return False
        finally:
            if own is not None:
                # What is mapped stays until it is let go, and no file is left behind.
                shutil.rmtree(own, ignore_errors=True)
        with self._lock:
            self._copies[key], self._sizes[key] = stored, size
        return True

    def receive(self, key: str, name: str, offset: int, content: U8) -> None:
        """Take a piece of a file of a copy whose folder is not to be seen from here."""
        with self._lock:
            if key not in self._incoming:
                self._incoming[key] = Path(tempfile.mkdtemp(prefix="ompd-"))
            path = self._incoming[key] / Path(name).name
        with path.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(np.ascontiguousarray(content).data)

    def hold(self, key: str, shape: tuple[int, int, int], first: int, limbs: U64) -> None:
        """Take some rows of a part.

        Parameters
        ----------
        key : str
        shape : tuple of int
            Of the part: rows, coordinates, limbs.
        first : int
            Where these rows are in it; with 0, the part is begun anew.
        limbs : uint64 array of shape (count, coordinates, limbs)
        """
        with self._lock:
            if not first:
                self._parts[key] = _Part(shape)
            values = self._parts[key].limbs
        assert values is not None  # noqa: S101  (it is filled before it is finished)
        values[first : first + len(limbs)] = limbs

    def finish(self, key: str) -> None:
        """Index a part whose rows are all here."""
        part = self._parts[key]
        assert part.limbs is not None  # noqa: S101  (it is finished once)
        nobody = np.zeros(len(part.limbs), np.int64)
        with at_most(self._threads):
            part.table = LimbTable(part.limbs, nobody, 1)
        part.limbs = None
        with self._lock:
            self._sizes[key] = part.nbytes

    def keep_chunks(
        self, key: str, layout: Layout, first: int, size: int, offset: int, buckets: U8
    ) -> None:
        """Take some bytes of the buckets of some chunks of a sealed table.

        Parameters
        ----------
        key : str
        layout : Layout
        first : int
            The first chunk.
        size, offset : int
            Bytes of all these chunks, and where these ones begin.
        buckets : uint8 array
        """
        with self._lock:
            if not offset:
                # From the start of a word on.
                values = np.empty(size // 8, np.uint64).view(np.uint8)
                self._chunks[key] = _Chunks(layout, first, values)
            chunks = self._chunks[key]
            self._sizes[key] = size
        chunks.buckets[offset : offset + buckets.size] = buckets

    def drop(self, keys: Sequence[str]) -> None:
        """Let go of what nobody asks for any more."""
        with self._lock:
            for key in keys:
                self._copies.pop(key, None)
                self._parts.pop(key, None)
                self._chunks.pop(key, None)
                self._sizes.pop(key, None)
                left = self._incoming.pop(key, None)
                if left is not None:
                    shutil.rmtree(left, ignore_errors=True)

    def status(self) -> dict[str, Any]:
        """Return where this is, what it holds, and how many questions it has answered."""
        with self._lock:
            return {
                "node": platform.node(),
                "pid": os.getpid(),
                "threads": self._threads,
                "bytes": sum(self._sizes.values()),
                "held": sorted(self._sizes),
                "asked": self._asked,
            }

    # --- what it answers

    def do(self, asks: Sequence[Ask]) -> list[Any]:
        """Answer some questions; an error in the place of each answer that cannot be given."""
        answers: list[Any] = []
        with at_most(self._threads):
            for ask in asks:
                try:
                    answers.append(getattr(self, ask.method)(ask.key, *ask.arguments))
                except KeyError:
                    answers.append(UnreachableError("key: is not held here"))
                except OmpdError as error:
                    answers.append(error)
        with self._lock:
            self._asked += len(asks)
        return answers

    def answer(self, key: str, body: Any) -> Any:
        """Answer a job on a copy."""
        return self._copies[key].prepare(body)()

    def nearest(
        self, key: str, gone: str, hidden: I64, queries: U64, k: int, within: U64 | None
    ) -> tuple[U64, I64]:
        """Find the nearest rows of a part.

        Parameters
        ----------
        key : str
        gone : str
            Names which rows are hidden.
        hidden : int64 array
            Rows of the part that are removed.
        queries : uint64 array of shape (n, m, L)
        k : int
        within : uint64 array of shape (n, L + 1), optional

        Returns
        -------
        distances : uint64 array of shape (n, c, L + 1)
        rows : int64 array of shape (n, c)
            c is k, or less where the part has no more rows; -1 for none.
        """
        table = self._view(key, gone, hidden)
        if table is None:
            return (
                np.empty((len(queries), 0, queries.shape[2] + 1), np.uint64),
                np.empty((len(queries), 0), np.int64),
            )
        return compute(table, queries, min(k, table.live), within=within)

    def sums(self, key: str, offsets: Offsets) -> U64:
        """XOR buckets of the chunks that are here, for every vector of offsets."""
        copy = self._copies.get(key)
        if isinstance(copy, SealedStored):
            return sums(copy.buckets.reshape(-1), copy.layout, offsets, threads=self._threads)
        chunks = self._chunks[key]
        return sums(
            chunks.buckets, chunks.layout, offsets, first=chunks.first, threads=self._threads
        )

    def _view(self, key: str, gone: str, hidden: I64) -> LimbTable | None:
        """Return a part without the hidden rows; None if nothing is left."""
        part = self._parts[key]
        table = part.table
        if table is None:
            raise KeyError(key)
        if not len(hidden):
            return table
        if len(hidden) == len(table):
            return None
        with self._lock:
            view = part.views.get(gone)
        if view is None:
            view = table.without(np.asarray(hidden))
            with self._lock:
                while len(part.views) >= _MOST_VIEWS:
                    with contextlib.suppress(KeyError):
                        del part.views[next(iter(part.views))]
                part.views[gone] = view
        return view

    def __repr__(self) -> str:
        return f"<Worker with {len(self._sizes)} tables or parts>"
