"""The cloud: keeps blinded tables and answers jobs on them.

This module names neither the encoder nor the secret side of blinding, and needs neither.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.crypto import Identity
from ompd.errors import (
    ContextMismatchError,
    FramingError,
    NeighborsError,
    NonCanonicalError,
    ParameterError,
    VersionError,
)
from ompd.roles.party import Party
from ompd.search import LimbTable, check_k, choose_k, classify
from ompd.search.conversion import Modulus
from ompd.search.verdicts import Classify
from ompd.wire import Job, Kind, TableUpload, Verdict, check_below, unpack_limbs


@dataclass(frozen=True, slots=True, repr=False)
class _Stored:
    owner: str
    version: int
    modulus: Modulus
    table: LimbTable
    k: int


class Cloud(Party):
    """Finds neighbours among blinded instances.

    Parameters
    ----------
    identity : Identity
    classify : callable
        The engine; same contract as `ompd.search.classify`.
    **options
        Directory, replays, clock and window as for `Party`.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        classify: Classify = classify,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        self._classify = classify
        self._stored: dict[bytes, _Stored] = {}
        self._lock = threading.Lock()

    def store(self, upload: bytes) -> None:
        """Accept a table, or a newer version of one.

        Chooses K on the blinded table where the hospital left it open.

        Raises
        ------
        ContextMismatchError
            If another hospital owns the table.
        VersionError
            If the version is not newer than the stored one.
        ParameterError, RangeError, NeighborsError, LabelError, TableError
            If modulus, values, K or labels are not possible.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._authenticate(upload, Kind.TABLE)
        body = self._open(frame, TableUpload)
        owner = frame.header.sender
        self._check_succession(body, owner)
        modulus = _modulus(body)
        table = _table(body, modulus)
        if body.k:
            check_k(body.k, len(table))
        elif len(table) < 2:
            raise NeighborsError("k: expected two instances or more to choose it by leave-one-out")
        self._claim(frame)
        k = body.k or choose_k(table)
        with self._lock:
            self._check_succession(body, owner)
            self._stored[body.table_id] = _Stored(
                owner, body.version, Modulus.of(modulus, body.limbs), table, k
            )

    def answer(self, job: bytes) -> bytes:
        """Answer a job frame with a verdict frame.

        Raises
        ------
        ContextMismatchError
            If the sender has no such table here.
        VersionError
            If the job is for another version of the table.
        FramingError, RangeError
            If the blinded queries have the wrong number or are not below the modulus.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._authenticate(job, Kind.JOB)
        body = self._open(frame, Job)
        header = frame.header
        stored = self._stored.get(body.table_id)
        if stored is None or stored.owner != header.sender:
            raise ContextMismatchError("job: the sender has no table under this id")
        if body.version != stored.version:
            raise VersionError(f"job: expected version {stored.version} of the table")
        table = stored.table
        modulus = stored.modulus
        _, coordinates, limbs = table.limbs.shape
        points = unpack_limbs(body.points, modulus.value, body.rows * coordinates)
        tokens = unpack_limbs(body.tokens, modulus.value, body.rows, least=1)
        self._claim(frame)
        points = points.reshape(-1, coordinates, limbs)
        codes = self._classify(table, points, tokens, modulus, stored.k)
        return self._send(
            header.sender,
            Verdict(body.table_id, body.version, stored.k, codes.astype("<u2").tobytes()),
            nonce=header.nonce,
            sequence=header.sequence,
        )

    def refuse(self, job: bytes) -> bytes:
        """Answer a job that `answer` did not accept with a frame that tells no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before.
        """
        return self._refuse(job, Kind.JOB)

    def _check_succession(self, body: TableUpload, owner: str) -> None:
        stored = self._stored.get(body.table_id)
        if stored is None:
            return
        if stored.owner != owner:
            raise ContextMismatchError("table: belongs to another hospital")
        if body.version <= stored.version:
            raise VersionError(f"table: expected a version above {stored.version}")


def _modulus(body: TableUpload) -> int:
    modulus = int.from_bytes(body.modulus, "little")
    if not body.modulus or body.modulus[-1] == 0:
        raise NonCanonicalError("modulus: expected no leading zero bytes")
    if modulus % 2 == 0 or -(-modulus.bit_length() // 64) != body.limbs:
        raise ParameterError(f"modulus: expected an odd number of {body.limbs} limbs")
    return modulus


def _table(body: TableUpload, modulus: int) -> LimbTable:
    width = 8 * body.coordinates * body.limbs
    if len(body.values) % width:
        raise FramingError(f"values: expected a multiple of {width} bytes")
    limbs = np.frombuffer(body.values, dtype="<u8").astype(np.uint64, copy=False)
    limbs = limbs.reshape(-1, body.coordinates, body.limbs)
    if len(body.labels) != 2 * len(limbs):
        raise FramingError(f"labels: expected {len(limbs)} codes")
    check_below(limbs, modulus)
    labels = np.frombuffer(body.labels, dtype="<u2").astype(np.int64)
    return LimbTable(limbs, labels, body.classes)
