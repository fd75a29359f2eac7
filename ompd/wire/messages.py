"""What the parties say to one another, before sealing."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from ompd.errors import FramingError, ParameterError
from ompd.params import Method, Profile
from ompd.wire.canonical import decode, encode
from ompd.wire.frames import Kind, Unsigned63, content_cap

#: Most queries in one frame.
MAX_BATCH = 100_000
#: Widest values, in 64-bit limbs, and longest vectors.
MAX_LIMBS = 64
MAX_COORDINATES = 4096
#: Longest label or disease name, and longest advice, in characters.
MAX_TEXT = 255
MAX_ADVICE = 65_536
#: Most neighbours: counts of votes travel as 16-bit numbers.
MAX_K = 65_535
#: Most classes of a table.
MAX_CLASSES = 65_536
_MOST_SUMS = 16 << 20
#: Ends the encoded body; only zeros may follow.
_END = b"\x80"

Count = Annotated[int, msgspec.Meta(ge=1, le=2**32)]
Batch = Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)]
TableId = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
Advice = Annotated[str, msgspec.Meta(max_length=MAX_ADVICE)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096)]


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    def __repr__(self) -> str:
        # Bodies hold features, tokens and diagnoses, none of which belongs in a log.
        return f"<{type(self).__name__}>"


class PaperUpload(_Body, frozen=True):
    """Hospital to cloud: a blinded table.

    Parameters
    ----------
    table_id : bytes
        16 random bytes; says nothing of the disease.
    version : int
        Rises with every new table under this id.
    modulus : bytes
        p, little-endian without leading zero bytes.
    coordinates, limbs : int
        Shape of one instance.
    classes : int
    k : int
        Number of neighbours; 0 leaves the choice to the cloud.
    labels : bytes
        One little-endian uint16 class code per instance.
    values : bytes
        Little-endian 64-bit limbs, C order (instance, coordinate, limb).
    """

    table_id: TableId
    version: Unsigned63
    modulus: Annotated[bytes, msgspec.Meta(max_length=8 * MAX_LIMBS)]
    coordinates: Annotated[int, msgspec.Meta(ge=1, le=MAX_COORDINATES)]
    limbs: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMBS)]
    classes: Annotated[int, msgspec.Meta(ge=1, le=MAX_CLASSES)]
    k: Unsigned63
    labels: bytes
    values: bytes


class Query(_Body, frozen=True):
    """User to hospital: feature vectors in the clear, inside the envelope.

    Parameters
    ----------
    disease : str
    rows : int
        Number of vectors.
    values : bytes
        Little-endian float64, C order (row, feature).
    reply_key : bytes
        Public envelope key that the report is sealed to, fresh for this query.
    least_profile : {"sealed", "hardened", "paper"}
        The hospital is to ask no table that tells the cloud more than this.
    """

    disease: Text
    rows: Batch
    values: bytes
    reply_key: PublicKey
    least_profile: Profile = "paper"


class PaperJob(_Body, frozen=True):
    """Hospital to cloud: blinded queries.

    Parameters
    ----------
    table_id : bytes
    version : int
        Of the table.
    rows : int
    points : bytes
        rows x coordinates integers below p, at the width of p.
    tokens : bytes
        One integer from 1 to p - 1 per row.
    """

    table_id: TableId
    version: Unsigned63
    rows: Batch
    points: bytes
    tokens: bytes


class HardenedUpload(_Body, frozen=True):
    """Hospital to cloud: a table on the ring of integers modulo 2**64.

    Parameters
    ----------
    table_id : bytes
    version : int
    coordinates : int
    classes : int
    k : int
        Number of neighbours; 0 leaves the choice to the cloud.
    labels : bytes
        One little-endian uint16 class code per instance.
    values : bytes
        Little-endian uint64, C order (instance, coordinate).
    """

    table_id: TableId
    version: Unsigned63
    coordinates: Annotated[int, msgspec.Meta(ge=1, le=MAX_COORDINATES)]
    classes: Annotated[int, msgspec.Meta(ge=1, le=MAX_CLASSES)]
    k: Unsigned63
    labels: bytes
    values: bytes


class HardenedJob(_Body, frozen=True):
    """Hospital to cloud: queries on the ring.

    Parameters
    ----------
    table_id : bytes
    version : int
    rows : int
    points : bytes
        Little-endian uint64, C order (row, coordinate).
    """

    table_id: TableId
    version: Unsigned63
    rows: Batch
    points: bytes


class SealedUpload(_Body, frozen=True):
    """Hospital to cloud: a table of encrypted buckets, in an order that says nothing.

    Parameters
    ----------
    table_id : bytes
    version : int
    bucket_bytes : int
        Length of one bucket.
    chunks, chunk : int
        Chunks of the table, and buckets per chunk.
    fetches : int
        Buckets that each query fetches; 0 for the whole table.
    buckets : bytes
        chunks * chunk * bucket_bytes.
    """

    table_id: TableId
    version: Unsigned63
    bucket_bytes: Count
    chunks: Count
    chunk: Count
    fetches: Annotated[int, msgspec.Meta(ge=0, le=2**32)]
    buckets: bytes


class SealedJob(_Body, frozen=True):
    """Hospital to cloud: which sums of buckets are wanted.

    Parameters
    ----------
    table_id : bytes
    version : int
    whole : bool
        The whole table instead, for the hints of a new window.
    request : bytes
        Offsets within the chunks; see `ompd.sealed`.
    """

    table_id: TableId
    version: Unsigned63
    whole: bool
    request: bytes


class SealedAnswer(_Body, frozen=True):
    """Cloud to hospital: sums of buckets, or the whole table.

    Parameters
    ----------
    table_id : bytes
    version : int
    buckets : bytes
    """

    table_id: TableId
    version: Unsigned63
    buckets: bytes


class Receipt(_Body, frozen=True):
    """Cloud to hospital: a table is stored and can be asked.

    Parameters
    ----------
    table_id : bytes
    version : int
    k : int
        Number of neighbours that will vote; 0 where the hospital counts votes itself.
    """

    table_id: TableId
    version: Unsigned63
    k: Annotated[int, msgspec.Meta(ge=0, le=MAX_K)]


class Verdict(_Body, frozen=True):
    """Cloud to hospital: class code and votes per query.

    Parameters
    ----------
    table_id : bytes
    version : int
    k : int
        Number of neighbours that voted.
    codes : bytes
        One little-endian uint16 per query.
    votes : bytes
        How many neighbours have each class: little-endian uint16, C order (query, class).
    """

    table_id: TableId
    version: Unsigned63
    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)]
    codes: bytes
    votes: bytes


def verdict_bytes(classes: int) -> int:
    """Bytes of numbers in a verdict, per query."""
    return 2 + 2 * classes


def verdict_rows(classes: int) -> int:
    """Most queries whose verdict fits into a frame."""
    return content_cap(Kind.VERDICT) // verdict_bytes(classes)


def sums_cap(table_bytes: int) -> int:
    """Most bytes of sums of buckets that one answer on a table of this size may hold.

    A request is short and its answer long, so what one frame may cost is bounded here: by 16 MiB
    or, if that is more, by the table, which can be had as a whole for no more.
    """
    return min(content_cap(Kind.SEALED_ANSWER), max(_MOST_SUMS, table_bytes))


class Report(_Body, frozen=True):
    """Hospital to user: diagnoses with advice.

    Parameters
    ----------
    k : int
        Number of neighbours that voted.
    classes : tuple of str
        All class names.
    findings : tuple of (label, advice)
        Each distinct finding once; none, and nothing in what follows, if there is no answer.
    choice : bytes
        One little-endian uint16 per query: which finding.
    votes : bytes
        Little-endian uint16, C order (query, class).
    probabilities : bytes
        Little-endian float64, C order (query, class).
    certified : bytes
        One byte per query: 1 if the hospital itself knows that these were the nearest, else 0.
    profile : {"sealed", "hardened", "paper"}
        What the table tells the cloud.
    method : {"relief-mw", "evidence"}
        How features became vectors.
    """

    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)]
    classes: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=MAX_CLASSES)]
    findings: Annotated[tuple[tuple[Text, Advice], ...], msgspec.Meta(max_length=MAX_CLASSES)]
    choice: bytes
    votes: bytes
    probabilities: bytes
    certified: bytes
    profile: Profile = "paper"
    method: Method = "relief-mw"


class Refusal(_Body, frozen=True):
    """Hospital to user, or cloud to hospital: the request was not accepted.

    There is one code only. Which check failed would help whoever probes for secrets, and the
    asking party's own log has what it needs.

    Parameters
    ----------
    code : int
        Always 1.
    """

    code: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1


Body: TypeAlias = (
    PaperUpload
    | Query
    | PaperJob
    | Verdict
    | Report
    | Refusal
    | Receipt
    | HardenedUpload
    | HardenedJob
    | SealedUpload
    | SealedJob
    | SealedAnswer
)
B = TypeVar("B", bound=Body)

KIND_OF: dict[type[Body], Kind] = {
    PaperUpload: Kind.PAPER_UPLOAD,
    Query: Kind.QUERY,
    PaperJob: Kind.PAPER_JOB,
    Verdict: Kind.VERDICT,
    Report: Kind.REPORT,
    Refusal: Kind.REFUSAL,
    Receipt: Kind.RECEIPT,
    HardenedUpload: Kind.HARDENED_UPLOAD,
    HardenedJob: Kind.HARDENED_JOB,
    SealedUpload: Kind.SEALED_UPLOAD,
    SealedJob: Kind.SEALED_JOB,
    SealedAnswer: Kind.SEALED_ANSWER,
}
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {
    body: msgspec.msgpack.Decoder(body) for body in KIND_OF
}


def check_text(name: str, text: object, *, least: int = 1, most: int = MAX_TEXT) -> None:
    """Refuse what cannot travel as a text of that length.

    Raises
    ------
    ParameterError
    """
    if (
        not isinstance(text, str)
        or not least <= len(text) <= most
        or any("\ud800" <= character <= "\udfff" for character in text)
    ):
        raise ParameterError(f"{name}: expected a text of {least} to {most} characters")


def encode_body(body: Body, pad_to: int = 0) -> bytes:
    """Encode a body, padded to at least `pad_to` bytes.

    One byte 0x80 ends the body and zeros fill the rest, so that a frame's length need not tell
    what it says.
    """
    data = encode(body)
    return b"".join((data, _END, bytes(max(0, pad_to - len(data) - len(_END)))))


def decode_body(body: type[B], data: bytes) -> B:
    """Decode a body of the given type.

    Raises
    ------
    FramingError, NonCanonicalError
        If it is not one complete canonical body with its padding.
    """
    unpadded = data.rstrip(b"\x00")
    if not unpadded.endswith(_END):
        raise FramingError("body: expected an end mark before the padding")
    decoder: msgspec.msgpack.Decoder[B] = _DECODERS[body]
    return decode(decoder, memoryview(unpadded)[: -len(_END)])
