"""Uploads: what brings a table, or a change of one, to a cloud, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import msgspec

from ompd.arrays import I64, Array, Progress
from ompd.errors import ContextMismatchError
from ompd.roles.post import Post
from ompd.roles.spool import Place, Spool
from ompd.wire import Body, Receipt, SealedUpload


class Parts(Protocol):
    """The bodies of an upload, made one by one when they are sent."""

    @property
    def rows(self) -> int:
        """What `Receipt.have` is once all of it is at the cloud."""

    @property
    def have(self) -> int:
        """What a receipt said last: where sending begins."""

    def __len__(self) -> int:
        """Return how many bodies there are."""

    def body(self, place: int) -> Body:
        """Return one of the bodies.

        Raises
        ------
        StoreError
            If it cannot be read.
        """

    def after(self, have: int) -> int:
        """Return the place of the body with the first row that a cloud with `have` rows lacks."""

    def close(self) -> None:
        """Give up what the bodies are made of."""


@dataclass(frozen=True, slots=True, repr=False)
class Pieces:
    """The pieces of a table.

    Parameters
    ----------
    head : PaperUpload, HardenedUpload or SealedUpload
        What all bodies say; without rows.
    spool : Spool
    """

    head: Body
    spool: Spool

    @classmethod
    def make(
        cls,
        place: Place,
        head: Body,
        rows: int,
        width: int,
        labels: I64 | None,
        fill: Callable[[int, int], Array],
        progress: Progress | None = None,
    ) -> Pieces:
        """Spool the rows of a table; as `Spool.make`."""
        return cls(head, Spool.make(place, rows, width, labels, fill, progress))

    @property
    def rows(self) -> int:
        """Instances or buckets of the table."""
        return self.spool.shape.rows

    @property
    def have(self) -> int:
        """Rows that the cloud had when it was last heard of."""
        return self.spool.have

    def __len__(self) -> int:
        """Return how many pieces there are."""
        return self.spool.shape.pieces

    def body(self, place: int) -> Body:
        """Return one piece."""
        first, labels, values = self.spool.read(place)
        if isinstance(self.head, SealedUpload):
            return msgspec.structs.replace(self.head, first=first, buckets=values)
        return msgspec.structs.replace(self.head, first=first, labels=labels, values=values)

    def after(self, have: int) -> int:
        """Return the place of the piece with row number `have`."""
        return have // self.spool.shape.step

    def close(self) -> None:
        """Give up the spool."""
        self.spool.close()


class Upload(Sequence[bytes]):
    """Frames for `Cloud.store`, in order; each is made when it is asked for, with the present time.

    A small table is one frame, a large one many of some 2 MiB. `Hospital.deliver` sends them.

    Attributes
    ----------
    rows : int
        What a receipt says once the cloud has all of it.
    """

    def __init__(self, post: Post, cloud: str, nonce: bytes, parts: Parts) -> None:
        self._post = post
        self._cloud = cloud
        self._nonce = nonce
        self._parts = parts

    @property
    def rows(self) -> int:
        """Instances or buckets in all."""
        return self._parts.rows

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._parts)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...

    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        """Make one frame.

        Raises
        ------
        IndexError
        StoreError
            If what waits was damaged, or does not wait any more.
        UnknownKeyError
            If the cloud is not known any more.
        """
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self.frame(range(len(self))[place])

    def frame(self, number: int) -> bytes:
        """Make the frame of this number, from 0; raises as indexing does."""
        return self._post.send(
            self._cloud, self._parts.body(number), nonce=self._nonce, sequence=number
        )

    def send(self, send: Callable[[bytes], bytes], confirm: Callable[[bytes], Receipt]) -> Receipt:
        """Take all frames to the cloud, from where it is.

        Parameters
        ----------
        send : callable
            Takes a frame to the cloud and returns its answer.
        confirm : callable
            Takes the answer and returns what it says.

        Returns
        -------
        Receipt
            The last one.

        Raises
        ------
        ContextMismatchError
            If the cloud keeps losing what it had.
        OmpdError
            Whatever the two raise.
        """
        # If the cloud has more or less by now, the first receipt says so.
        have, lost = self._parts.have, 0
        while True:
            place = min(self._parts.after(have), len(self) - 1)
            receipt = confirm(send(self[place]))
            if receipt.have >= self.rows:
                return receipt
            if receipt.have <= have:
                # One that was started anew may have nothing; one that lies could go on for ever.
                lost += 1
                if lost > _MOST_LOSSES:
                    raise ContextMismatchError("receipt: the cloud keeps losing what it has")
            have = receipt.have

    def __repr__(self) -> str:
        return f"<Upload of {len(self)} frames>"


class Settled(Upload):
    """No frames: what was published needs no cloud, and is asked already.

    Parameters
    ----------
    name : bytes
        16 bytes that name it.
    rows : int
        Records that it was made of.
    """

    def __init__(self, name: bytes, rows: int) -> None:
        self._receipt = Receipt(name, 1, k=0, have=rows)

    @property
    def rows(self) -> int:
        """Records that it was made of."""
        return self._receipt.have

    def __len__(self) -> int:
        """Return 0."""
        return 0

    def send(self, send: Callable[[bytes], bytes], confirm: Callable[[bytes], Receipt]) -> Receipt:
        """Return what a receipt would say; nothing is sent."""
        return self._receipt


#: How often a cloud may have less of an upload than before.
_MOST_LOSSES = 8
