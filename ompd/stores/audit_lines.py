"""Lines of an audit log: what they say, and how each one vouches for all before it.

A line is a JSON object in ASCII that ends with its *chain*, the SHA-256 of the chain of the line
before and of the object without it. There are three kinds:

``{"line":"log","version":1,"party":…,"n":…,"before":…}``
    The first of each file: whose log it is, the number of the next entry, the chain so far.
``{"line":"event","n":…,"time":…,"who":…,"what":…,"about":…,"outcome":…}``
    An entry.
``{"line":"head","n":…,"time":…,"key":…,"signature":…}``
    An entry too: the party's signature over its own number and time and the chain before it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ompd.crypto import check_id
from ompd.errors import ParameterError, StoreError
from ompd.wire.fields import check_text

#: Of the form of the lines.
VERSION = 1
#: Chain before the first line.
START = bytes(32)
#: What the log says of itself, and with which outcomes.
OWN = "log"
BEGUN, OPENED, CLOSED = "begun", "opened", "closed"
CRASHED, TORN = "opened after a crash", "opened with a torn end"
RESTORED = "restored from a backup"
#: Most bytes of a line.
MAX_LINE = 4096
#: Longest name of a disease or table, in characters.
_MOST_ABOUT = 255
_WORDS = re.compile(r"[a-z][a-z0-9 -]{0,39}")
# Keeps the signature of a head from being anything else that the same key signs.
_HEAD_LABEL = b"ompd/audit-log-head/1\x00"
_CHAIN = b',"chain":"'
_END = b'"}\n'
#: Bytes of a line behind its object: the brace goes, the chain comes.
_TAIL = len(_CHAIN) + 64 + len(_END)


class Event(NamedTuple):
    """Something that happened, without any value of a patient.

    Attributes
    ----------
    time : float
        Seconds since the epoch.
    who : str
        Id of the party that asked for it; empty for the owner of the log.
    what : str
        Kind of thing, such as "query": up to 40 of a-z, 0-9, space and hyphen. Not "log", which
        is for what the log says of itself.
    about : str
        Disease or table, or nothing; up to 255 characters.
    outcome : str
        As `what`.
    """

    time: float
    who: str
    what: str
    about: str
    outcome: str

    def check(self) -> None:
        """Refuse what does not belong in a log.

        Raises
        ------
        ParameterError, KeyMaterialError
        """
        if type(self.time) not in (int, float) or not 0 <= self.time < 1 << 36:
            raise ParameterError("time: expected seconds since the epoch")
        if self.who != "":
            check_id(self.who)
        for name, text in (("what", self.what), ("outcome", self.outcome)):
            if type(text) is not str or not _WORDS.fullmatch(text):
                raise ParameterError(f"{name}: expected up to 40 characters a-z, 0-9, space and -")
        if self.what == OWN:
            raise ParameterError("what: expected another word, since the log says this of itself")
        # Whatever does not print is escaped in a line, as names of diseases may have it.
        check_text("about", self.about, least=0, most=_MOST_ABOUT)


class LogLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="log"):
    """The first line of a file."""

    version: int
    party: str
    n: int
    before: str


class EventLine(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="event"
):
    """An entry."""

    n: int
    time: str
    who: str
    what: str
    about: str
    outcome: str


class HeadLine(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="line", tag="head"
):
    """A signed entry."""

    n: int
    time: str
    key: str
    signature: str


Line = LogLine | EventLine | HeadLine

_decoder = msgspec.json.Decoder(Line)


def moment(time: float) -> str:
    """Return a time as it stands in a line."""
    text = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def head_message(party: str, n: int, time: str, chain: bytes) -> bytes:
    """Return what a head signs."""
    return _HEAD_LABEL + msgspec.msgpack.encode((party, n, time, chain))


def written(line: Line, chain: bytes) -> tuple[bytes, bytes]:
    """Return the bytes of a line behind a chain, and the chain after it."""
    # Of what is not ASCII no two programs make the same of a cursor or of a case.
    body = _ascii(msgspec.json.encode(line))
    after = hashlib.sha256(chain + body).digest()
    return body[:-1] + _CHAIN + after.hex().encode() + _END, after


def read(raw: bytes, chain: bytes | None) -> tuple[Line, bytes]:
    """Return a line and the chain after it.

    Parameters
    ----------
    raw : bytes
    chain : bytes or None
        Before it; None if the line itself says so, as the first one does.

    Raises
    ------
    StoreError
        If the line is not as it was written, or does not follow.
    """
    line = None
    body = raw[:-_TAIL] + b"}"
    try:
        line = _decoder.decode(body)
        if chain is None and isinstance(line, LogLine):
            chain = bytes.fromhex(line.before)
    except ValueError:
        # msgspec's errors are such too, and quote what they read.
        line = None
    if line is None or chain is None:
        raise StoreError("audit log: a line is damaged")
    again, after = written(line, chain)
    if again != raw:
        raise StoreError("audit log: a line was changed")
    return line, after


def is_head(raw: bytes) -> bool:
    """Whether bytes are a head of some log, at some place."""
    with contextlib.suppress(ValueError):
        return isinstance(_decoder.decode(raw[:-_TAIL] + b"}"), HeadLine)
    return False


def _ascii(encoded: bytes) -> bytes:
    if encoded.isascii():
        return encoded
    units = encoded.decode().encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return b"".join(bytes([code]) if code < 128 else b"\\u%04x" % code for code in codes)
