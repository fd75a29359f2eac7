"""Changes that wait for their receipt, and the frames that tell a cloud of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ompd.roles.books import Step
from ompd.roles.post import Post
from ompd.roles.publication import Published
from ompd.roles.retrieval import TableRef
from ompd.roles.uploads import Upload
from ompd.wire import Kind, Receipt, decode_body

#: What can tell a cloud.
_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Pending:
    """A change that the cloud has yet to acknowledge.

    Attributes
    ----------
    step : Step
    table : Published
        As it is asked once the cloud has the change; as it is now, if it is withdrawn.
    rows : int
        Of the table then, removed ones included.
    """

    step: Step
    table: Published
    rows: int

    @property
    def ref(self) -> TableRef:
        """Of the version that the change makes."""
        return TableRef(self.table.ref.table_id, self.step.version)

    @property
    def withdraws(self) -> bool:
        """Whether the table ends."""
        return self.step.kind == Kind.WITHDRAWAL


class ChangeUpload(Upload):
    """The frames of changes that wait, in order; see `Upload`.

    Parameters
    ----------
    post : Post
    changes : list of Pending
    sent : dict of bytes to float
        When a frame for a table was last made, by its id.
    done : Receipt, optional
        If nothing waits.
    """

    def __init__(
        self,
        post: Post,
        changes: list[Pending],
        sent: dict[bytes, float],
        done: Receipt | None = None,
    ) -> None:
        self._post = post
        self._changes = changes
        self._sent = sent
        self._done = done

    @property
    def rows(self) -> int:
        """Rows of the table after the last change, removed ones included."""
        return self._changes[-1].rows if self._changes else 0

    def __len__(self) -> int:
        """Return the number of frames; 0 where no cloud is told."""
        return len(self._changes)

    def frame(self, number: int) -> bytes:
        """Make one frame."""
        change = self._changes[number]
        kind = _KINDS[change.step.kind]
        self._sent[change.ref.table_id] = self._post.now()
        return self._post.send(
            change.table.cloud,
            decode_body(kind.body, change.step.body),
            nonce=change.step.nonce,
            sequence=change.step.version,
        )

    def send(self, send: Callable[[bytes], bytes], confirm: Callable[[bytes], Receipt]) -> Receipt:
        """Take all frames to the cloud; returns the last receipt."""
        receipt = self._done
        for number in range(len(self)):
            receipt = confirm(send(self.frame(number)))
        assert receipt is not None  # noqa: S101  (there are frames, or it is done)
        return receipt
