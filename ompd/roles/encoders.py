"""Encoders, and what fills gaps for them, as they are kept on disk."""

from __future__ import annotations

import msgspec

from ompd.encode import Encoder, EvidenceEncoder, Filling, ReliefEncoder
from ompd.errors import StoreError
from ompd.schema import Schema


class StoredRelief(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `ReliefEncoder`."""

    schema: Schema
    weights: tuple[int, ...]
    weight_bits: int
    feature_bits: int

    def __repr__(self) -> str:
        return "<StoredRelief>"


class StoredFilling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `Filling`."""

    schema: Schema
    values: tuple[float | None, ...]

    def __repr__(self) -> str:
        return "<StoredFilling>"


#: Bytes are those of an `EvidenceEncoder`.
StoredEncoder = StoredRelief | bytes


def stored_encoder(encoder: Encoder) -> StoredEncoder:
    """Return what `restored_encoder` makes the encoder of again."""
    if isinstance(encoder, EvidenceEncoder):
        return encoder.to_bytes()
    assert isinstance(encoder, ReliefEncoder)  # noqa: S101  (there are no others to keep)
    return StoredRelief(encoder.schema, encoder.weights, encoder.weight_bits, encoder.feature_bits)


def restored_encoder(kept: StoredEncoder) -> Encoder:
    """Return the encoder that was stored; one that learned comes without its instances.

    Raises
    ------
    StoreError, ParameterError
        If it is damaged.
    """
    if isinstance(kept, bytes):
        return EvidenceEncoder.from_bytes(kept)
    return ReliefEncoder(kept.schema, kept.weights, kept.weight_bits, kept.feature_bits)


def stored_filling(filling: Filling) -> StoredFilling:
    """Return what `restored_filling` makes it of again."""
    return StoredFilling(filling.schema, filling.values)


def restored_filling(kept: StoredFilling, encoder: Encoder) -> Filling:
    """Return what was stored, for the encoder that was stored with it.

    Raises
    ------
    StoreError, ParameterError, SchemaError
        If it is damaged, or of another encoder.
    """
    filling = Filling(kept.schema, kept.values)
    if filling.inner != encoder.schema:
        raise StoreError("filling: is of another encoder")
    return filling
