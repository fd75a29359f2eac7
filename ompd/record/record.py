"""A person's health record: resources in a sealed file on the person's own device."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from ompd.crypto import POST_QUANTUM
from ompd.crypto.symmetric import KEY_BYTES
from ompd.errors import RecordError, StoreError
from ompd.files import FolderLock
from ompd.record import slots
from ompd.record.entries import Storable, check_storable, digest_of, head_of
from ompd.record.fhir.resource import Resource
from ompd.record.holding import Holder
from ompd.record.shelf import Row, Shelf, locked
from ompd.record.slots import Opener

#: Name of the file in a record's folder.
FILE = "record.sqlite"
ID_BYTES = 16


class Added(NamedTuple):
    """What `Record.put_all` did.

    Attributes
    ----------
    new, replaced, same : int
        How many resources were added, took the place of another version, and were there already.
    """

    new: int
    replaced: int
    same: int


class Record(Holder):
    """A health record. Safe for several threads; one process has it at a time.

    Made by `create` and `open`. Nothing is kept of what was replaced or removed, but how often.

    Attributes
    ----------
    id : bytes
        16 random bytes.
    changes : int
        Number of the last change.

    Raises
    ------
    StoreError
        From every method, if the file is damaged or was changed without the key, if the disk
        refuses (`StoreFullError` if it is full), or if the record was closed. Nothing was changed
        then.
    """

    @classmethod
    def create(
        cls, folder: str | os.PathLike[str], key: Opener, *, least: str = POST_QUANTUM
    ) -> Self:
        """Make an empty record, and open it.

        Parameters
        ----------
        folder : path
            Created with mode 0700 if missing; its parent exists. For the record alone.
        key : str or Identity
            A password, or who may open it.
        least : {"mlkem768x25519", "x25519"}
            Weakest suite that an identity's envelope key may have.

        Raises
        ------
        StoreError
            If there is a record, or the folder cannot be used.
        PasswordError
            If the password cannot be used.
        DowngradeError
            If the identity's suite is weaker than `least`.
        """
        identifier, secret = secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES)
        slot = slots.wrap(key, secret, identifier, least)
        return cls.write(folder, identifier, secret, {slots.name_of(key): slot})

    @classmethod
    def write(
        cls,
        folder: str | os.PathLike[str],
        identifier: bytes,
        secret: bytes,
        kept: Mapping[str, bytes],
        rows: Sequence[tuple[int, bytes, bytes]] = (),
        changes: int = 0,
    ) -> Self:
        """Make a record of what `Shelf.create` takes, and open it."""
        path = Path(folder).absolute()
        with locked(path) as lock:
            Shelf.create(path / FILE, identifier, secret, kept, rows, changes)
            return cls._opened(path, lock, secret)
        raise AssertionError  # pragma: no cover  (`locked` swallows nothing)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], key: Opener) -> Self:
        """Open a record.

        Parameters
        ----------
        folder : path
        key : str or Identity

        Raises
        ------
        StoreError
            If there is none, another process has it, it is damaged, or was changed without its key.
        PasswordError
            If the password is wrong, or the record is opened by none.
        DecryptionError, SignatureError
            If it is not opened by this identity.
        """
        path = Path(folder).absolute()
        if not (path / FILE).is_file():
            raise StoreError("folder: holds no record")
        with locked(path) as lock:
            return cls._opened(path, lock, key)
        raise AssertionError  # pragma: no cover  (`locked` swallows nothing)

    @classmethod
    def _opened(cls, path: Path, lock: FolderLock, key: Opener | bytes) -> Self:
        shelf = Shelf(path / FILE)
        try:
            if isinstance(key, bytes):
                secret = key
            else:
                secret = slots.unwrap(key, shelf.slot(slots.name_of(key)), shelf.id)
            record = cls(shelf, lock)
            record._load(shelf.unlock(secret))
        except BaseException:
            shelf.close()
            raise
        return record

    def get(self, reference: str) -> Resource:
        """Return a resource, opened.

        Parameters
        ----------
        reference : str
            As ``"Observation/abc"``.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        with self._ready():
            head, content = self._shelf.body(self._contents.place(reference))
        return Resource(head.kind, head.id, head.when, head.codes, head.words, content)

    # --- writing ------------------------------------------------------------------------------

    def add(self, resource: Storable) -> str:
        """Add a resource, and return its reference.

        Raises
        ------
        RecordError
            If there is one of this reference, or it is not of its form.
        """
        if not self.add_all([resource]).new:
            raise RecordError("resource: the record has it already")
        return f"{resource.kind}/{resource.id}"

    def add_all(self, resources: Iterable[Storable]) -> Added:
        """Add resources, all or none. What is there already, byte for byte, is passed over.

        Raises
        ------
        RecordError
            If there is another one of the same reference, or one is not of its form.
        """
        return self._put(resources, replacing=False)

    def put_all(self, resources: Iterable[Storable], *, remove: Iterable[str] = ()) -> Added:
        """Add resources or replace those of the same reference, and remove others: all or nothing.

        Parameters
        ----------
        resources : iterable of Resource
            Of several with the same reference, the last one counts.
        remove : iterable of str
            References.

        Raises
        ------
        UnknownResourceError
            If there is none of those to remove.
        RecordError
            If a resource is not of its form, or also to be removed.
        """
        return self._put(resources, replacing=True, remove=remove)

    def replace(self, resource: Storable) -> int:
        """Replace the resource of the same reference, and return its new version.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        check_storable(resource)
        reference = f"{resource.kind}/{resource.id}"
        with self._ready():
            self._contents.place(reference)
            self._put([resource], replacing=True)
            return self.entry(reference).version

    def remove(self, reference: str) -> None:
        """Remove a resource; nothing is kept of it.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        self._put([], replacing=True, remove=[reference])

    def _put(
        self, resources: Iterable[Storable], *, replacing: bool, remove: Iterable[str] = ()
    ) -> Added:
        last: dict[str, Storable] = {}
        for resource in resources:
            check_storable(resource)
            reference = f"{resource.kind}/{resource.id}"
            if not replacing and reference in last and last[reference].json != resource.json:
                raise RecordError("resources: two of one reference")
            last[reference] = resource
        new = replaced = 0
        puts: list[tuple[int | None, Row]] = []
        with self._ready():
            drops = [self._contents.place(reference) for reference in dict.fromkeys(remove)]
            dropped = set(drops)
            for reference, resource in last.items():
                place = self._contents.at(reference)
                version = 1
                if place is None:
                    new += 1
                elif place in dropped:
                    raise RecordError("resources: one is also to be removed")
                elif self._shelf.head(place).digest == digest_of(resource.json):
                    continue
                elif not replacing:
                    raise RecordError("resource: the record has another one of this reference")
                else:
                    replaced += 1
                    version = self._contents.entry(place).version + 1
                puts.append((place, Row(head_of(resource, version), resource.json)))
            self._change(puts, drops)
        return Added(new, replaced, len(last) - new - replaced)
