"""Reading an audit log: whether each line follows from all before, and who has signed that."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from ompd.crypto import SignatureBackend
from ompd.crypto import backend as choose_backend
from ompd.errors import SignatureError, StoreError
from ompd.files import refusing
from ompd.stores.audit_lines import (
    CLOSED,
    CRASHED,
    MAX_LINE,
    OWN,
    RESTORED,
    START,
    TORN,
    VERSION,
    HeadLine,
    LogLine,
    head_message,
    is_head,
    read,
)

_FILE = re.compile(r"log-[0-9]{16}")
_CUT = re.compile(r"cut-[0-9]{16}")


class Head(NamedTuple):
    """A place in a log.

    Attributes
    ----------
    n : int
        Number of an entry.
    chain : str
        Its chain, 64 hex digits. It stands for all entries up to it.
    """

    n: int
    chain: str


class Signed(NamedTuple):
    """The last of the heads that one key has signed in a row, and the chain before it."""

    line: HeadLine
    chain: bytes

    def check(self, party: str, keys: Collection[bytes], backend: SignatureBackend) -> None:
        """Return if a party with these keys has signed it; raise otherwise.

        Raises
        ------
        SignatureError
        """
        key = signature = b""
        with contextlib.suppress(ValueError):
            key, signature = bytes.fromhex(self.line.key), bytes.fromhex(self.line.signature)
        if key not in keys:
            raise SignatureError("audit log: is signed by a key that is not its owner's")
        backend.verify(key, head_message(party, self.line.n, self.line.time, self.chain), signature)


class Walked:
    """What a file of a log says, as far as its lines follow from one another.

    Parameters
    ----------
    file : Path
    sought : int, default 0
        Number of an entry whose chain is of interest.

    Attributes
    ----------
    party : str
    first, next : int
        Numbers of the first entry, and of the one that would come behind the last.
    before, chain : bytes
        What the first line follows, and what the next line would follow.
    good, torn : int
        Bytes of whole lines, and behind them of what is none, as a crash leaves.
    heads : list of Signed
    signed : int
        Number of the last signed entry; 0 if there is none.
    closed : bool
        Whether the log was closed at the end.
    crashes, restores : int
        How often the log was opened without having been closed, and after it was put back.
    found : bytes
        The chain that was sought; empty if the entry is not in this file.

    Raises
    ------
    StoreError
        If a line is damaged, changed or missing; one that a crash could have torn is not told.
    OSError
    """

    def __init__(self, file: Path, sought: int = 0) -> None:
        self.heads: list[Signed] = []
        self.signed = self.torn = self.crashes = self.restores = 0
        self.closed = False
        self.found = b""
        with file.open("rb") as data:
            self._begin(file.name, data.readline(MAX_LINE))
            for raw in iter(lambda: data.readline(MAX_LINE), b""):
                try:
                    self._take(raw, sought)
                except StoreError:
                    # A head signs what was on disk before it was written itself. One behind a bad
                    # line therefore tells that this line was good once.
                    if any(is_head(each) for each in iter(lambda: data.readline(MAX_LINE), b"")):
                        raise
                    self.torn = data.seek(0, os.SEEK_END) - self.good
                    self.closed = False
                    break
                if not self.heads:
                    # The first write to a file begins with a head.
                    raise StoreError("audit log: a file is not signed")

    def _begin(self, name: str, raw: bytes) -> None:
        line, self.chain = read(raw, None)
        if not isinstance(line, LogLine) or line.version != VERSION:
            raise StoreError("audit log: a file does not begin as one")
        if name != file_name(line.n):
            raise StoreError("audit log: a file has the name of another")
        self.party, self.before = line.party, bytes.fromhex(line.before)
        self.first = self.next = line.n
        self.good = len(raw)
        self._closing = False

    def _take(self, raw: bytes, sought: int) -> None:
        line, chain = read(raw, self.chain)
        if isinstance(line, LogLine) or line.n != self.next:
            raise StoreError("audit log: a line was moved")
        if isinstance(line, HeadLine):
            if self.heads and self.heads[-1].line.key == line.key:
                self.heads.pop()
            self.heads.append(Signed(line, self.chain))
            self.signed = line.n
            self.closed, self._closing = self._closing, False
        else:
            own = (line.who, line.what) == ("", OWN)
            self.crashes += own and line.outcome in (CRASHED, TORN)
            self.restores += own and line.outcome == RESTORED
            self.closed, self._closing = False, own and line.outcome == CLOSED
        if line.n == sought:
            self.found = chain
        self.chain = chain
        self.next += 1
        self.good += len(raw)


class Verdict(NamedTuple):
    """What a log that is in order says of itself.

    Attributes
    ----------
    party : str
    first : int
        Number of the first entry that is here; above 1 if older files were put elsewhere.
    head : Head
        The last entry.
    signed : int
        Number of the last signed entry. What comes after it is chained and not signed.
    closed : bool
        Whether the log was closed at the end. Otherwise it is in use, or its process was killed.
    torn : int
        Bytes at the end that are no entry.
    cut : int
        Torn ends of earlier crashes, which lie in files of their own.
    crashes : int
        How often the log was opened without having been closed.
    restores : int
        How often it was put back from a backup.
    """

    party: str
    first: int
    head: Head
    signed: int
    closed: bool
    torn: int
    cut: int
    crashes: int
    restores: int


def verify(
    folder: str | os.PathLike[str],
    keys: Callable[[str], Collection[bytes]],
    *,
    known: Head | None = None,
    backend: str | SignatureBackend | None = None,
) -> Verdict:
    """Return what a log says of itself if nothing in it was changed; raise otherwise.

    It may be in use.

    Parameters
    ----------
    folder : path
    keys : callable
        Returns the signing keys that a party has and had.
    known : Head, optional
        An entry that was kept elsewhere. Only with one can it be seen that an older state of the
        whole folder was put back.
    backend : str or SignatureBackend, optional
        What verifies; see `ompd.crypto.backend`.

    Raises
    ------
    StoreError
        If the log cannot be read, a line was changed, moved or is missing, or the known entry is
        another one or not there.
    SignatureError
        If a head is not signed by the party.
    """
    verifier = choose_backend(backend)
    sought = 0 if known is None else known.n
    found = b""
    first = signed = crashes = restores = 0
    last: Walked | None = None
    with refusing(StoreError, "audit log"):
        for file in log_files(Path(folder)):
            walked = Walked(file, sought)
            if last is None:
                first = walked.first
                if (first == 1) != (walked.before == START):
                    raise StoreError("audit log: does not begin at its beginning")
            elif last.torn or (walked.first, walked.before) != (last.next, last.chain):
                raise StoreError("audit log: an entry was changed or is missing")
            elif walked.party != last.party:
                raise StoreError("audit log: is of two parties")
            for each in walked.heads:
                each.check(walked.party, keys(walked.party), verifier)
            signed = max(signed, walked.signed)
            crashes += walked.crashes
            restores += walked.restores
            found = found or walked.found
            last = walked
        cut = sum(_CUT.fullmatch(path.name) is not None for path in Path(folder).iterdir())
    if last is None:
        raise StoreError("audit log: there is none")
    if known is not None:
        if known.n >= last.next:
            raise StoreError("audit log: is shorter than it was; an older state was put back")
        if known.n < first:
            raise StoreError("audit log: the known entry is in a file that is not here")
        if found.hex() != known.chain:
            raise StoreError("audit log: the known entry is another one")
    head = Head(last.next - 1, last.chain.hex())
    return Verdict(last.party, first, head, signed, last.closed, last.torn, cut, crashes, restores)


def file_name(n: int) -> str:
    """Name of the file whose first entry has this number."""
    return f"log-{n:016d}"


def cut_name(n: int) -> str:
    """Name of the file for a torn end, where the entry of this number should be."""
    return f"cut-{n:016d}"


def log_files(folder: Path) -> list[Path]:
    """Return the files of a log in their order.

    Raises
    ------
    OSError
    """
    return sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))
