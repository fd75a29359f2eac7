"""Canonical bytes and typed messages.

    body (Query, PaperJob, ...) --encode_body--> plaintext --HPKE--> ciphertext
    Header + ciphertext --encode_signed_part--> signed part --BLS--> frame

A frame is the signed part followed by a 96-byte signature. Whatever decodes re-encodes to the
same bytes.
"""

from ompd.wire.aggregates import (
    MAX_CONTRIBUTORS,
    MAX_LENGTH,
    MAX_PARTS,
    AggregateRequest,
    AggregateResult,
    Collection,
    CollectionReceipt,
    Contribution,
    Invitation,
    Terms,
)
from ompd.wire.blind import BlindKey, BlindKeyReceipt, BlindQuery, BlindReport
from ompd.wire.bodies import decode_body, encode_body
from ompd.wire.catalogue import (
    BlindCells,
    CatalogueFrame,
    Entry,
    check_catalogue_size,
    check_listable,
    encode_catalogue,
    form_of,
)
from ompd.wire.changes import HardenedChange, PaperChange, Withdrawal
from ompd.wire.diagnosis import (
    OUTDATED,
    SPENT,
    UNENROLLED,
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
)
from ompd.wire.fields import (
    ANY_FORM,
    MAX_ADVICE,
    MAX_BATCH,
    MAX_COORDINATES,
    MAX_K,
    Body,
    check_text,
    disease_name,
)
from ompd.wire.frames import (
    HEAD_BYTES,
    PROTOCOL_VERSION,
    SIGNATURE_BYTES,
    Frame,
    Header,
    encode_signed_part,
    peek,
)
from ompd.wire.integers import check_below, pack_limbs, unpack_limbs
from ompd.wire.keeping import KeepingAnswer, KeepingRequest
from ompd.wire.kinds import CAPS, KIND_OF, Kind
from ompd.wire.limits import (
    answer_cap,
    check_answer_size,
    content_cap,
    sums_cap,
    verdict_bytes,
    verdict_rows,
)
from ompd.wire.payments import AccountAnswer, AccountRequest

__all__ = [
    "ANY_FORM",
    "CAPS",
    "HEAD_BYTES",
    "KIND_OF",
    "MAX_ADVICE",
    "MAX_BATCH",
    "MAX_CONTRIBUTORS",
    "MAX_COORDINATES",
    "MAX_K",
    "MAX_LENGTH",
    "MAX_PARTS",
    "OUTDATED",
    "PROTOCOL_VERSION",
    "SIGNATURE_BYTES",
    "SPENT",
    "UNENROLLED",
    "AccountAnswer",
    "AccountRequest",
    "AggregateRequest",
    "AggregateResult",
    "BlindCells",
    "BlindKey",
    "BlindKeyReceipt",
    "BlindQuery",
    "BlindReport",
    "Body",
    "CatalogueFrame",
    "Collection",
    "CollectionReceipt",
    "Contribution",
    "Entry",
    "Frame",
    "HardenedChange",
    "HardenedJob",
    "HardenedUpload",
    "Header",
    "Invitation",
    "KeepingAnswer",
    "KeepingRequest",
    "Kind",
    "PaperChange",
    "PaperJob",
    "PaperUpload",
    "Query",
    "Receipt",
    "Refusal",
    "Report",
    "SealedAnswer",
    "SealedJob",
    "SealedUpload",
    "Terms",
    "Verdict",
    "Withdrawal",
    "answer_cap",
    "check_answer_size",
    "check_below",
    "check_catalogue_size",
    "check_listable",
    "check_text",
    "content_cap",
    "decode_body",
    "disease_name",
    "encode_body",
    "encode_catalogue",
    "encode_signed_part",
    "form_of",
    "pack_limbs",
    "peek",
    "sums_cap",
    "unpack_limbs",
    "verdict_bytes",
    "verdict_rows",
]
