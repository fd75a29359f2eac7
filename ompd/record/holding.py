"""A record that is open: its file, its lock, and who else may open it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from ompd.confidential import Confidential
from ompd.crypto import POST_QUANTUM
from ompd.crypto.symmetric import derive
from ompd.errors import RecordError, StoreError
from ompd.files import FolderLock
from ompd.record import slots
from ompd.record.contents import Contents
from ompd.record.entries import Head
from ompd.record.reading import Reader
from ompd.record.shelf import Row, Shelf
from ompd.record.slots import Opener

# Kind of rows that are no resources.
_OWN = "ompd"


class Holder(Reader, Confidential):
    """What a record is besides its resources."""

    def __init__(self, shelf: Shelf, lock: FolderLock) -> None:
        self._shelf = shelf
        self._folder = lock
        self._lock = threading.RLock()
        self._stale = False
        super().__init__(Contents())
        self._kept: dict[str, int] = {}

    @property
    def id(self) -> bytes:
        """16 random bytes."""
        return self._shelf.id

    @property
    def changes(self) -> int:
        """Number of the last change; an older copy of the file has a smaller one."""
        with self._ready():
            return self._shelf.changes

    # --- what else is kept --------------------------------------------------------------------

    def keep(self, name: str, content: bytes) -> None:
        """Keep bytes under a name beside the resources, sealed like them; empty ones remove it."""
        with self._ready():
            place = self._kept.get(name)
            if content:
                head = Head(_OWN, name, 1, None, (), 0, b"", b"", ())
                self._change([(place, Row(head, content))])
            elif place is not None:
                self._change([], [place])

    def kept(self, name: str) -> bytes:
        """Return what is kept under a name; empty if nothing is."""
        with self._ready():
            place = self._kept.get(name)
            return b"" if place is None else self._shelf.body(place)[1]

    # --- who may open it ----------------------------------------------------------------------

    def protect(self, key: Opener, *, least: str = POST_QUANTUM) -> None:
        """Let a password open the record, in place of the old one, or one more identity.

        Raises
        ------
        PasswordError, DowngradeError, RecordError
            As `create`.
        """
        with self._ready():
            slot = slots.wrap(key, self._shelf.key, self.id, least)
            self._shelf.put_slots({slots.name_of(key): slot})

    def exclude(self, key: Opener) -> None:
        """Let an identity, or any password, open the record no more.

        Whoever opened it before may have kept its key.

        Raises
        ------
        RecordError
            If nothing else would open it.
        """
        with self._ready():
            name = slots.name_of(key)
            if not set(self._shelf.slots()) - {name}:
                raise RecordError("key: nothing else opens the record")
            self._shelf.drop_slot(name)

    # --- for backups and sharing ------------------------------------------------------------------

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keep all other threads from the record within the block."""
        return self._ready()

    def slots(self) -> dict[str, bytes]:
        """Return the record's key, wrapped for each who may open it, by names of theirs."""
        with self._ready():
            return self._shelf.slots()

    def rows(self, leaving_out: str) -> dict[int, int]:
        """Return places of all rows and the change that each is from.

        Parameters
        ----------
        leaving_out : str
            Beginning of names of what is kept beside the resources and stays out.
        """
        with self._ready():
            found = {place: entry.changed for place, entry in self._contents.items()}
            for name, place in self._kept.items():
                if not name.startswith(leaving_out):
                    found[place] = self._shelf.head(place).changed
            return found

    def place(self, reference: str) -> int:
        """Return the place of a resource's row.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        with self._ready():
            return self._contents.place(reference)

    def alias(self, label: bytes, name: str) -> str:
        """Return 16 hexadecimal digits that stand for a name, for who does not have the key."""
        with self._ready():
            return derive(label, self.id, self._shelf.key, name.encode(), length=8).hex()

    def row(self, place: int) -> tuple[bytes, bytes]:
        """Return head and body of a row, sealed."""
        with self._ready():
            return self._shelf.sealed(place)

    # --- end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the record and let others have it; may be repeated."""
        with self._lock:
            self._shelf.close()
            self._folder.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _ready(self) -> Iterator[None]:
        with self._lock:
            self._folder.check(StoreError, "record")
            if self._stale:
                self._contents, self._kept = Contents(), {}
                self._load(self._shelf.heads())
            yield

    def _load(self, heads: Iterable[tuple[int, Head]]) -> None:
        self._stale = True
        self._take(heads)
        self._stale = False

    def _take(self, heads: Iterable[tuple[int, Head]]) -> None:
        for place, head in heads:
            if head.kind == _OWN:
                self._kept[head.id] = place
            else:
                self._contents.put(place, head)

    def _change(self, puts: Sequence[tuple[int | None, Row]], drops: Sequence[int] = ()) -> None:
        if not puts and not drops:
            return
        # Whatever goes wrong from here on, the file decides what was done.
        self._stale = True
        new, old = self._shelf.change(puts, drops)
        for place, head in old:
            if head.kind == _OWN:
                del self._kept[head.id]
            else:
                self._contents.drop(place, head)
        self._take(new)
        self._stale = False
