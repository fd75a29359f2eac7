"""Reading a backup, and putting it back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Self, cast

import msgspec

from ompd.crypto import PublicIdentity
from ompd.crypto import backend as choose_backend
from ompd.crypto.identity_files import IDENTITY_FILE
from ompd.crypto.key_json import MAX_FILE_BYTES
from ompd.crypto.keystore import card_of
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import OmpdError, SignatureError, StoreError
from ompd.files import refusing, sync_folder, write_all
from ompd.stores.audit_log import note_restored
from ompd.stores.backup.manifest import (
    CONFIG,
    IDENTITY,
    MANIFEST,
    MOST_MANIFEST,
    SIGNATURE,
    File,
    Manifest,
    signed,
)
from ompd.stores.database import application_of
from ompd.stores.replay.disk import APPLICATION, DurableReplayGuard

_COPIED = 1 << 20


class Backup:
    """A backup of which every byte was compared with what its party has signed.

    Parameters
    ----------
    file : path
    backend : str or SignatureBackend, optional
        What verifies; see `ompd.crypto.backend`.

    Attributes
    ----------
    manifest : Manifest
    public : PublicIdentity
        Who has signed it: the identity that is in it. Its files open with its password alone, so a
        backup that somebody else made can have another one only.

    Raises
    ------
    StoreError
        If the file cannot be read, was cut or changed, or is no backup.
    SignatureError
        If the identity in it has not signed it.
    """

    manifest: Manifest
    public: PublicIdentity

    def __init__(
        self, file: str | os.PathLike[str], backend: str | SignatureBackend | None = None
    ) -> None:
        with _refusing():
            self._file = Path(file).open("rb")  # noqa: SIM115  (held until `close`)
            try:
                self.manifest, self.public = self._checked(backend)
            except BaseException:
                self._file.close()
                raise

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def content(self, name: str) -> bytes:
        """Return a small file.

        Raises
        ------
        StoreError
            If there is none of this name, or it is above 1 MiB.
        """
        with _refusing():
            for member, data in self._members():
                if member.name == name and member.size <= _COPIED:
                    return data.read(_COPIED)
        raise StoreError(f"backup: has no {name}")

    def restore(
        self,
        places: Mapping[str, str | os.PathLike[str]],
        prepare: Callable[[Mapping[str, Path]], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Put all parts where they belong, with their modes, or none of them.

        Nothing is replaced. The memory of accepted frames refuses, from then on, all frames that
        were sent before: it cannot know which of them were accepted after the backup.

        Parameters
        ----------
        places : mapping of str to path
            Of each part but "config", which is optional. Missing, or empty folders, in folders that
            exist.
        prepare : callable
            Is given the parts, complete but not in their places yet, to change what has to be.
        clock : callable
            Seconds since the epoch.

        Raises
        ------
        StoreError
            If a part has no place or one that is not empty, or a file cannot be written.
        """
        targets = {name: Path(path).absolute() for name, path in places.items()}
        if missing := set(self.manifest.parts) - {CONFIG} - set(targets):
            raise StoreError(f"backup: has {min(missing)}, which has no place")
        if missing := set(targets) - set(self.manifest.parts):
            raise StoreError(f"backup: has no {min(missing)}")
        with _refusing():
            for name, target in targets.items():
                _check_free(name, target)
            # Beside their places, so that each appears there as a whole.
            spares = {
                name: target.with_name(f".{target.name}.{secrets.token_hex(8)}.new")
                for name, target in targets.items()
            }
            done: list[str] = []
            try:
                self._extract(spares)
                for name in targets:
                    _tell_of_time(spares[name], clock())
                prepare(spares)
                # The identity last: without it nobody starts with half of the rest.
                for name in sorted(targets, key=lambda name: name == IDENTITY):
                    _check_free(name, targets[name])
                    os.rename(spares[name], targets[name])
                    done.append(name)
                    sync_folder(targets[name].parent)
            except BaseException:
                for name in done:
                    with contextlib.suppress(OSError):
                        os.rename(targets[name], spares[name])
                for spare in spares.values():
                    _remove(spare)
                raise

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, BufferedReader]]:
        """Return the members, each with its content to be read before the next one."""
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:") as archive:
            for member in archive:
                data = archive.extractfile(member) if member.isreg() else None
                if data is None:
                    raise StoreError("backup: has something else than files")
                with data:
                    yield member, cast("BufferedReader", data)

    def _checked(self, backend: str | SignatureBackend | None) -> tuple[Manifest, PublicIdentity]:
        found: list[File] = []
        identity = manifest = signature = b""
        for member, data in self._members():
            if signature:
                raise StoreError("backup: goes on behind its end")
            if member.name == SIGNATURE and manifest:
                signature = data.read(MAX_FILE_BYTES)
            elif member.name == MANIFEST:
                manifest = data.read(MOST_MANIFEST)
            elif manifest:
                raise StoreError("backup: goes on behind its end")
            else:
                if member.name == f"{IDENTITY}/{IDENTITY_FILE}":
                    identity = data.read(MAX_FILE_BYTES)
                    data.seek(0)
                digest = hashlib.file_digest(data, "sha256").hexdigest()
                found.append(File(member.name, member.mode, member.size, digest))
        if not signature:
            raise StoreError("backup: is cut, or none")
        said = _decoded(manifest)
        if tuple(found) != said.files:
            raise StoreError("backup: a file is damaged")
        said.check()
        public = card_of(identity).public
        public.verify(backend)
        if public.id != said.party:
            raise SignatureError("backup: is of another party than its identity")
        choose_backend(backend).verify(public.signing_key, signed(manifest), signature)
        return said, public

    def _extract(self, spares: Mapping[str, Path]) -> None:
        def place(name: str) -> Path | None:
            part, _, rest = name.partition("/")
            return spares[part] / rest if part in spares else None

        for folder in self.manifest.folders:
            if (path := place(folder.name)) is not None:
                path.mkdir(mode=0o700)
        expected = {file.name: file for file in self.manifest.files}
        for member, data in self._members():
            path = place(member.name) if member.name in expected else None
            if path is not None:
                _write(path, data, expected[member.name])
        for folder in reversed(self.manifest.folders):
            if (path := place(folder.name)) is not None:
                sync_folder(path)
                path.chmod(folder.mode)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Raise what a damaged tar file or the system refuses as an error of this library."""
    problem = False
    with refusing(StoreError, "backup"):
        try:
            yield
        except OmpdError:
            raise
        except (tarfile.TarError, ValueError, EOFError, OverflowError):
            # Of headers of members, whose numbers and texts can be anything.
            problem = True
    if problem:
        raise StoreError("backup: is damaged")


def _decoded(manifest: bytes) -> Manifest:
    with contextlib.suppress(ValueError):
        # msgspec's errors are such, and quote what they read.
        return msgspec.json.decode(manifest, type=Manifest)
    raise StoreError("backup: its manifest is damaged, or of another version")


def _check_free(name: str, target: Path) -> None:
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise StoreError(f"{name}: its place is not empty; nothing is replaced")


def _write(path: Path, data: BufferedReader, file: File) -> None:
    """Write a file durably, and compare it once more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        digest = hashlib.sha256()
        while piece := data.read(_COPIED):
            digest.update(piece)
            write_all(descriptor, memoryview(piece))
        if digest.hexdigest() != file.sha256:
            raise StoreError("backup: was changed meanwhile")
        os.fchmod(descriptor, file.mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tell_of_time(spare: Path, now: float) -> None:
    """Tell stores that time has passed that they do not know of."""
    for path in (spare, *spare.rglob("*")):
        if path.is_dir():
            note_restored(path)
        elif application_of(path) == APPLICATION:
            DurableReplayGuard.let_go(path, now)


def _remove(spare: Path) -> None:
    if spare.is_dir():
        shutil.rmtree(spare, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            spare.unlink()
