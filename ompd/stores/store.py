"""What all stores on one SQLite file are."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

from ompd.stores.database import Database, MemoryDatabase

D = TypeVar("D", bound=Database | MemoryDatabase)


class Store(Generic[D]):
    """Something that is kept in one database, and closed at the end of a block.

    Parameters
    ----------
    database : Database or MemoryDatabase
    """

    def __init__(self, database: D) -> None:
        self._database = database

    def close(self) -> None:
        """Close the file; the store cannot be used any more. May be repeated."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
