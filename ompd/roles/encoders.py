"""Encoders as they are kept on disk."""

from __future__ import annotations

import msgspec

from ompd.encode import Encoder, EvidenceEncoder, ReliefEncoder
from ompd.schema import Schema


class StoredRelief(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `ReliefEncoder`."""

    schema: Schema
    weights: tuple[int, ...]
    weight_bits: int
    feature_bits: int

    def __repr__(self) -> str:
        return "<StoredRelief>"


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
