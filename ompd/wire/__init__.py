"""Canonical bytes and typed messages.

    body (Query, PaperJob, ...) --encode_body--> plaintext --HPKE--> ciphertext
    Header + ciphertext --encode_signed_part--> signed part --BLS--> frame

A frame is the signed part followed by a 96-byte signature. Whatever decodes re-encodes to the
same bytes.
"""

from ompd.wire.frames import (
    CAPS,
    PROTOCOL_VERSION,
    SIGNATURE_BYTES,
    Frame,
    Header,
    Kind,
    check_answer_size,
    content_cap,
    encode_signed_part,
)
from ompd.wire.integers import check_below, pack_limbs, unpack_limbs
from ompd.wire.messages import (
    KIND_OF,
    MAX_ADVICE,
    MAX_BATCH,
    MAX_COORDINATES,
    MAX_K,
    Body,
    HardenedJob,
    HardenedUpload,
    PaperJob,
    PaperUpload,
    Query,
    Receipt,
    Refusal,
    Report,
    SealedAnswer,
    SealedJob,
    SealedUpload,
    Verdict,
    check_text,
    decode_body,
    encode_body,
    sums_cap,
    verdict_bytes,
    verdict_rows,
)

__all__ = [
    "CAPS",
    "KIND_OF",
    "MAX_ADVICE",
    "MAX_BATCH",
    "MAX_COORDINATES",
    "MAX_K",
    "PROTOCOL_VERSION",
    "SIGNATURE_BYTES",
    "Body",
    "Frame",
    "HardenedJob",
    "HardenedUpload",
    "Header",
    "Kind",
    "PaperJob",
    "PaperUpload",
    "Query",
    "Receipt",
    "Refusal",
    "Report",
    "SealedAnswer",
    "SealedJob",
    "SealedUpload",
    "Verdict",
    "check_answer_size",
    "check_below",
    "check_text",
    "content_cap",
    "decode_body",
    "encode_body",
    "encode_signed_part",
    "pack_limbs",
    "sums_cap",
    "unpack_limbs",
    "verdict_bytes",
    "verdict_rows",
]
