"""Tables of a hospital as they rest on disk: one that is asked, and one that waits."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np

from ompd.blind import LaplaceNoise
from ompd.encode import CoarseEncoder, Encoder
from ompd.params import Profile
from ompd.roles.encoders import (
    StoredEncoder,
    StoredFilling,
    restored_encoder,
    restored_filling,
    stored_encoder,
    stored_filling,
)
from ompd.roles.publication import Published, Unconfirmed, Waiting
from ompd.roles.retrieval import PROFILES, TableRef
from ompd.roles.spool import Shape, Spool
from ompd.roles.uploads import Pieces
from ompd.search.calibration import Calibration, Priors
from ompd.search.decision import OpenRule, Rule
from ompd.wire import decode_body, encode_body


class _Noise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: bytes
    unit: str
    epsilon: str

    def __repr__(self) -> str:
        return "<_Noise>"


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Slope and offsets of the calibration; none where the majority decides.
    calibration: tuple[float, tuple[float, ...]] | None


class _OpenRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    near: bytes
    truth: bytes
    rows: int
    classes: int
    priors: Priors

    def __repr__(self) -> str:
        return "<_OpenRule>"


class StoredTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `Published`, without what lies in a folder of its own."""

    profile: Profile
    version: int
    cloud: str
    rows: int
    k: int
    findings: tuple[tuple[str, str], ...]
    rule: _Rule | None
    filling: StoredFilling
    encoder: StoredEncoder
    # Of a coarse encoder.
    step: int | None
    noise: _Noise | None
    # What the profile's own side of the table needs; a key.
    kept: bytes

    def __repr__(self) -> str:
        return "<StoredTable>"


class StoredUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `Waiting`, without its rows."""

    table: StoredTable
    open_rule: _OpenRule | None
    nonce: bytes
    head: bytes
    shape: Shape
    digests: tuple[bytes, ...]
    have: int = 0

    def __repr__(self) -> str:
        return "<StoredUpload>"


def stored_table(published: Published, folder: Path) -> StoredTable:
    """Return what `restored_table` makes of it again, after the profile has made its part durable.

    Parameters
    ----------
    published : Published
    folder : Path
        For what is large.

    Raises
    ------
    HintStateError
        If the folder cannot be written.
    """
    encoder = published.encoder
    step = encoder.step if isinstance(encoder, CoarseEncoder) else None
    if isinstance(encoder, CoarseEncoder):
        encoder = encoder.base
    noise = None
    if published.noise is not None and published.epsilon is not None:
        key, unit = published.noise.to_bytes(), str(published.noise.epsilon_per_unit)
        noise = _Noise(key, unit, str(Fraction(published.epsilon)))
    return StoredTable(
        profile=published.profile,
        version=published.ref.version,
        cloud=published.cloud,
        rows=published.rows,
        k=published.k,
        findings=published.findings,
        rule=_stored_rule(published.rule),
        filling=stored_filling(published.filling),
        encoder=stored_encoder(encoder),
        step=step,
        noise=noise,
        kept=published.retrieval.save(folder),
    )


def restored_table(kept: StoredTable, table_id: bytes, folder: Path) -> Published:
    """Return the table that was stored.

    Raises
    ------
    OmpdError, ValueError
        If something of it is damaged.
    """
    ref = TableRef(table_id, kept.version)
    encoder: Encoder = restored_encoder(kept.encoder)
    filling = restored_filling(kept.filling, encoder)
    if kept.step is not None:
        encoder = CoarseEncoder(encoder, kept.step)
    noise = epsilon = None
    if kept.noise is not None:
        noise = LaplaceNoise(kept.noise.key, Fraction(kept.noise.unit))
        epsilon = float(Fraction(kept.noise.epsilon))
    profile = PROFILES[kept.profile]
    return Published(
        filling=filling,
        encoder=encoder,
        retrieval=profile.restored(ref, len(kept.findings), folder, kept.kept),
        ref=ref,
        cloud=kept.cloud,
        rows=kept.rows,
        k=kept.k,
        findings=kept.findings,
        rule=_restored_rule(kept.rule),
        noise=noise,
        epsilon=epsilon,
    )


def stored_upload(waiting: Waiting, folder: Path) -> StoredUpload:
    """Return what `restored_upload` makes of it again; as `stored_table`."""
    open_rule = None
    if (found := waiting.table.open_rule) is not None:
        open_rule = _OpenRule(
            found.near.astype("<u2").tobytes(),
            found.truth.astype("<u2").tobytes(),
            found.rows,
            found.classes,
            found.priors,
        )
    spool = waiting.pieces.spool
    return StoredUpload(
        table=stored_table(waiting.published, folder),
        open_rule=open_rule,
        nonce=waiting.nonce,
        head=encode_body(waiting.pieces.head),
        shape=spool.shape,
        digests=spool.digests,
        have=spool.have,
    )


def restored_upload(kept: StoredUpload, table_id: bytes, folder: Path, file: Path) -> Waiting:
    """Return the upload that was stored, whose rows are in a file.

    Raises
    ------
    OmpdError, ValueError
        If something of it is damaged. The rows are looked at when they are read.
    """
    head = decode_body(PROFILES[kept.table.profile].upload, kept.head)
    spool = Spool.open(file, kept.shape, kept.digests)
    spool.have = kept.have
    try:
        published = restored_table(kept.table, table_id, folder)
        open_rule = None
        if (found := kept.open_rule) is not None:
            truth = np.frombuffer(found.truth, "<u2").astype(np.uint16)
            near = np.frombuffer(found.near, "<u2").astype(np.uint16).reshape(len(truth), -1)
            open_rule = OpenRule(near, truth, found.rows, found.classes, found.priors)
        return Waiting(Unconfirmed(published, open_rule), Pieces(head, spool), kept.nonce)
    except BaseException:
        spool.close()
        raise


def _stored_rule(rule: Rule | None) -> _Rule | None:
    if rule is None:
        return None
    found = rule.calibration
    return _Rule(None if found is None else (found.slope, found.offsets))


def _restored_rule(kept: _Rule | None) -> Rule | None:
    if kept is None:
        return None
    return Rule(None if kept.calibration is None else Calibration(*kept.calibration))
