"""What a key is good for: records of one owner, one type and one epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ompd.crypto import check_id
from ompd.errors import EpochError, ParameterError

#: Seconds of an epoch: four weeks. Epoch 0 began with the Unix epoch.
EPOCH_SECONDS = 28 * 86_400
#: Bytes that name a record.
RECORD_BYTES = 16
_MOST_EPOCH = 1 << 31
_KIND = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """What one key opens.

    Parameters
    ----------
    owner : str
        Id of whose records they are.
    kind : str
        Type of record: 1 to 63 characters a-z, 0-9, dot, underscore and hyphen.
    epoch : int
        From 0; see `epoch_at`.

    Raises
    ------
    KeyMaterialError, ParameterError
        If owner, kind or epoch are of another type or form.
    """

    owner: str
    kind: str
    epoch: int

    def __post_init__(self) -> None:
        check_id(self.owner)
        if not isinstance(self.kind, str) or not _KIND.fullmatch(self.kind):
            raise ParameterError("kind: expected 1 to 63 characters [a-z0-9._-]")
        if type(self.epoch) is not int or not 0 <= self.epoch < _MOST_EPOCH:
            raise ParameterError("epoch: expected an integer from 0")

    def to_bytes(self) -> bytes:
        """Return the one encoding; no bar occurs in a part."""
        return f"{self.owner}|{self.kind}|{self.epoch}".encode()


def epoch_at(seconds: float) -> int:
    """Return the epoch of a moment, in seconds since the Unix epoch."""
    return int(seconds // EPOCH_SECONDS)


def check_epoch(epoch: int, now: float) -> None:
    """Return if a moment lies in the epoch; raise otherwise.

    Parameters
    ----------
    epoch : int
    now : float
        Seconds since the Unix epoch.

    Raises
    ------
    EpochError
    """
    present = epoch_at(now)
    if epoch != present:
        raise EpochError(f"epoch: {'is over' if epoch < present else 'has yet to begin'}")


def context(scope: Scope, record: bytes) -> bytes:
    """Return what everything of a record is bound to.

    Raises
    ------
    ParameterError
        If the scope is none or the record's name not of 16 bytes.
    """
    if not isinstance(scope, Scope):
        raise ParameterError(f"scope: expected Scope, got {type(scope).__name__}")
    if type(record) is not bytes or len(record) != RECORD_BYTES:
        raise ParameterError(f"record: expected {RECORD_BYTES} bytes")
    return scope.to_bytes() + b"|" + record
