"""Changes that a hospital kept to itself become part of the table that the cloud has."""

from __future__ import annotations

import secrets
from dataclasses import replace

from ompd.errors import ContextMismatchError
from ompd.roles.changes import Changes
from ompd.roles.post import Post
from ompd.roles.publication import Unconfirmed, Waiting
from ompd.roles.retrieval import SealedRetrieval
from ompd.roles.shelf import Shelf
from ompd.roles.uploads import Upload
from ompd.roles.windows import Due, Windows


class Merges:
    """Makes new versions of sealed tables of what the cloud has and what changed since.

    Parameters
    ----------
    post : Post
    shelf : Shelf
    changes : Changes
    windows : Windows
        Where whole tables are asked for.
    """

    def __init__(self, post: Post, shelf: Shelf, changes: Changes, windows: Windows) -> None:
        self._post = post
        self._shelf = shelf
        self._changes = changes
        self._windows = windows

    def request(self, disease: str) -> bytes:
        """As `Hospital.merge`."""
        return self._windows.request(disease, self._shelf.find(disease), "merge")

    def upload(self, answer: bytes) -> Upload:
        """As `Hospital.merged`."""
        disease, asked, body = self._windows.take(answer, "merge")
        # No change may come between what is merged and its waiting for the receipt.
        with self._changes.settled(disease) as (table, book):
            if table.retrieval is not asked.retrieval:
                raise ContextMismatchError("answer: the table was published anew meanwhile")
            vectors, labels = asked.retrieval.merged(body)
            del body
            ref = self._shelf.next(disease)
            with self._shelf.making(disease, ref) as place:
                retrieval, pieces = SealedRetrieval.build(
                    ref, vectors, labels, classes=len(table.classes), k=table.k, place=place
                )
                merged = replace(table, retrieval=retrieval, ref=ref, rows=len(vectors))
                # What was learned from the records stays as it was.
                waiting = Waiting(Unconfirmed(merged, None), pieces, secrets.token_bytes(16))
                self._shelf.books.begin(ref, book.renumbered())
                self._shelf.expect(disease, waiting)
        return waiting.upload(self._post)

    def due(self) -> list[Due]:
        """As `Hospital.due`."""
        # First: without their receipts the table may get no answers soon.
        found = [Due(disease, "resend") for disease in self._changes.late()]
        waiting = self._shelf.waiting
        for disease, table in self._shelf.tables.items():
            if (
                table.retrieval.crowded
                and disease not in waiting
                and not self._windows.awaits(disease, "merge")
            ):
                found.append(Due(disease, "merge"))
            if table.retrieval.due:
                found.append(Due(disease, "renew"))
        return found
