"""What is done of a file that is not done: parts in a folder beside it, each whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ompd.errors import StoreError
from ompd.files import own_folder, refusing, sweep, sync_folder, write_private

_PART = re.compile(r"(?:part|note)-[0-9]{8}")
#: Names in the folder.
_JOB, _WHOLE, _DONE = "job", "whole", "done"


class Partial:
    """Parts of one output, of which any may be there, from this run or an earlier one.

    Parameters
    ----------
    out : Path
        What is to be made. The folder is beside it, with ``.partial`` behind its name.
    job : str
        Digest of all that the parts depend on.

    Raises
    ------
    StoreError
        If the output is there already, another process is at it, the parts that are there are of
        another job, or the folder cannot be used.
    """

    def __init__(self, out: Path, job: str) -> None:
        self.out = out
        self.folder = out.with_name(f"{out.name}.partial")
        if not out.parent.is_dir():
            raise StoreError(f"{out.name}: expected a folder to put it into")
        if out.exists() and not self.folder.is_dir():
            raise StoreError(f"{out.name}: is there already")
        self._job = job
        self._finished: bytes | None = None
        self._lock = own_folder(self.folder, StoreError, self.folder.name)
        try:
            with refusing(StoreError, self.folder.name):
                sweep(self.folder)
                self._begin(job)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, job: str) -> None:
        note = self.folder / _JOB
        if self.out.exists():
            self._finished = self._of_finished(job)
            if self._finished is None:
                raise StoreError(f"{self.out.name}: is there already")
        elif not note.exists():
            write_private(note, [job.encode()])
        elif note.read_bytes() != job.encode():
            raise StoreError(
                f"{self.folder.name}: has parts of another input, schema, records or option; "
                "remove it to begin anew"
            )

    def _of_finished(self, job: str) -> bytes | None:
        """Return the note on an output of this job that was finished, but not cleared up."""
        with contextlib.suppress(FileNotFoundError):
            known, digest, note = (self.folder / _DONE).read_bytes().split(b"\n", 2)
            if (known.decode(), digest.decode()) == (job, _digest(self.out)):
                return note
        return None

    @property
    def finished(self) -> bytes | None:
        """The note on the output, if it was finished before; it has only to be cleared up."""
        return self._finished

    def __contains__(self, number: int) -> bool:
        return self.path(number).exists()

    def path(self, number: int) -> Path:
        """Where a part is, or would be."""
        return self.folder / f"part-{number:08d}"

    def note(self, number: int) -> bytes:
        """Return what was noted of a part that is there.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        with refusing(StoreError, self.folder.name):
            return self._note(number).read_bytes()
        raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)

    def put(self, number: int, content: bytes, note: bytes) -> None:
        """Keep a part for good, with a note on it.

        Raises
        ------
        StoreError
            If that fails; the parts before are as they were.
        """
        with refusing(StoreError, self.folder.name):
            write_private(self._note(number), [note])
            write_private(self.path(number), [content])

    def _note(self, number: int) -> Path:
        return self.folder / f"note-{number:08d}"

    @contextlib.contextmanager
    def whole(self, note: bytes) -> Iterator[Path]:
        """Hand out the path that the output is put together at; it is in its place afterwards.

        Parameters
        ----------
        note : bytes
            Kept until all is cleared up.

        Raises
        ------
        StoreError
            If the file system refuses; another try may follow.
        """
        whole = self.folder / _WHOLE
        with refusing(StoreError, self.out.name):
            yield whole
            descriptor = os.open(whole, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            head = f"{self._job}\n{_digest(whole)}\n".encode()
            write_private(self.folder / _DONE, [head, note])
            # Unlike a rename, this fails if somebody has put something there meanwhile.
            os.link(whole, self.out)
            sync_folder(self.out.parent)

    def clear(self) -> None:
        """Remove the folder, once the output is in its place."""
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name in {_JOB, _WHOLE} or _PART.fullmatch(path.name):
                    path.unlink()
            # Last, since it says that nothing of the rest is needed.
            for name in (_DONE, "lock"):
                (self.folder / name).unlink()
            self.folder.rmdir()

    def close(self) -> None:
        """Let other processes go on."""
        self._lock.release()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
