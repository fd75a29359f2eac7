"""Structured logs: one JSON object per line, which never has a value of a patient or a secret.

What may stand in a log is listed here, and everything else is left out: a field of another name or
type is dropped, and told by its name alone. Of an error there are its type, the places it passed
and, for this library's own, its text, which `ompd.errors` keeps free of values. Of what other
libraries log there are only the logger, the level and the place: their texts quote what they read.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from ompd.errors import OmpdError

#: Fields that may be logged, and their types. Texts are names: of a party, a disease, a kind of
#: frame, a stage, a state.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "answered": int,
    "batch": int,
    "bytes": int,
    "chain": str,
    "cloud": str,
    "count": int,
    "disease": str,
    "error": BaseException,
    "host": str,
    "kind": str,
    "metrics_port": int,
    "n": int,
    "outcome": str,
    "party": str,
    "port": int,
    "profile": str,
    "refused": int,
    "seconds": (int, float),
    "signers": int,
    "stage": str,
    "state": str,
    "table": str,
    "version": int,
}
#: Longest text of a field, in characters.
MOST_TEXT = 255
#: Places of an error that are told, the last ones.
_PLACES = 8

_Fields = MutableMapping[str, Any]


def configure(stream: TextIO | None = None, level: str = "info") -> None:
    """Write the logs of this process to a stream, those of other libraries included.

    Parameters
    ----------
    stream : text stream, optional
        Standard error by default, where systemd and containers look for it.
    level : {"debug", "info", "warning", "error"}
        Of this library; of others there are warnings and errors.
    """
    sink = _Sink(sys.stderr if stream is None else stream)
    structlog.configure(
        processors=[
            _allowed,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Others()]
    root.setLevel(logging.WARNING)


def logger(party: str = "") -> FilteringBoundLogger:
    """Return a logger whose lines name a party.

    The event is a fixed text of few words; what differs goes into fields of `FIELDS`::

        log = logger("st-mary")
        log.info("batch answered", batch=64, seconds=0.08)
        log.error("renewal failed", disease="wbc", error=error)
    """
    found: FilteringBoundLogger = structlog.get_logger()
    return found.bind(party=party) if party else found


class _Sink:
    """A stream whose reader may end or whose disk may be full, which is no reason to stop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def debug(self, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(line)
            self._stream.flush()

    info = warning = error = critical = debug


class _Others(logging.Handler):
    """Takes what other libraries log, and this one where it knows of no server."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        place = f"{record.name} {Path(record.pathname).name}:{record.lineno}"
        fields = {"library": place} | ({} if error is None else {"error": error})
        text = _short(record.getMessage()) if _is_own(record) else "message of another library"
        structlog.get_logger().log(record.levelno, text, **fields)


def _is_own(record: logging.LogRecord) -> bool:
    """Whether a message is of this library, whose errors and fixed texts tell no values."""
    arguments = record.args if isinstance(record.args, tuple) else (record.args,)
    return record.name.startswith("ompd.") and all(
        isinstance(each, int | str | OmpdError) for each in arguments
    )


def _allowed(_: Any, __: str, fields: _Fields) -> _Fields:
    """Leave out what must not be in a log."""
    kept: dict[str, Any] = {"event": fields.pop("event")}
    dropped = []
    for name, value in fields.items():
        kind = str if name == "library" else FIELDS.get(name)
        if kind is None or not isinstance(value, kind):
            dropped.append(name)
        elif isinstance(value, BaseException):
            kept |= _problem(value)
        else:
            kept[name] = _short(value) if isinstance(value, str) else value
    return kept | ({"dropped": sorted(dropped)} if dropped else {})


def _short(text: str) -> str:
    # What UTF-8 has no bytes for would be an error in the middle of somebody's work.
    return text[:MOST_TEXT].encode(errors="replace").decode()


def _problem(error: BaseException) -> dict[str, Any]:
    """Return what may be told of an error."""
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-_PLACES:]
    ]
    told: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, OmpdError):
        told["reason"] = _short(str(error))
    return told | ({"places": places} if places else {})


def _line(_: Any, __: str, fields: _Fields) -> str:
    return msgspec.json.encode(fields).decode() + "\n"
