"""What user, hospital and cloud say to one another for a diagnosis, before encryption."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ompd.params import MAX_CLASSES, Method, Profile
from ompd.wire.fields import (
    ANY_FORM,
    MAX_COORDINATES,
    MAX_K,
    MAX_LIMBS,
    Advice,
    Batch,
    Body,
    Count,
    Form,
    PublicKey,
    TableId,
    Text,
    Unsigned63,
)

#: Codes of a refusal: the user's schema is not the hospital's; the hospital does not have the key
#: that a blind query is encrypted with; the user has had all answers of a model.
OUTDATED = 2
UNENROLLED = 3
SPENT = 4


class PaperUpload(Body, frozen=True):
    """Hospital to cloud: a blinded table, or a piece of one.

    Pieces of an upload agree in everything but `first`, `labels` and `values`, and come in order.

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
    rows : int
        Instances of the whole table.
    first : int
        Of them, the number of the first one here.
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
    rows: Count
    first: Unsigned63
    labels: bytes
    values: bytes


class Query(Body, frozen=True):
    """User to hospital: feature vectors in the clear, inside the envelope.

    Parameters
    ----------
    disease : str
    rows : int
        Number of vectors.
    values : bytes
        Little-endian float64, C order (row, feature).
    reply_key : bytes
        Public envelope key that the report is encrypted to, fresh for this query.
    least_profile : {"blind", "sealed", "hardened", "paper"}
        The hospital is to ask no table that tells the cloud more than this.
    form : bytes
        Which schema the values are by, see `form_of`; zeros if the user knows none. Of one length,
        so that a query's length does not tell which.
    """

    disease: Text
    rows: Batch
    values: bytes
    reply_key: PublicKey
    least_profile: Profile = "paper"
    form: Form = ANY_FORM


class PaperJob(Body, frozen=True):
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


class HardenedUpload(Body, frozen=True):
    """Hospital to cloud: a table on the ring of integers modulo 2**64, or a piece of one.

    Parameters
    ----------
    table_id : bytes
    version : int
    coordinates : int
    classes : int
    k : int
        Number of neighbours; 0 leaves the choice to the cloud.
    rows : int
        Instances of the whole table.
    first : int
        Of them, the number of the first one here.
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
    rows: Count
    first: Unsigned63
    labels: bytes
    values: bytes


class HardenedJob(Body, frozen=True):
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


class SealedUpload(Body, frozen=True):
    """Hospital to cloud: encrypted buckets, in an order that says nothing; all or a piece.

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
    first : int
        Number of the first bucket here.
    buckets : bytes
        Whole ones; chunks * chunk of them in all pieces together.
    """

    table_id: TableId
    version: Unsigned63
    bucket_bytes: Count
    chunks: Count
    chunk: Count
    fetches: Annotated[int, msgspec.Meta(ge=0, le=2**32)]
    first: Unsigned63
    buckets: bytes

    @property
    def rows(self) -> int:
        """Buckets of the whole table."""
        return self.chunks * self.chunk


class SealedJob(Body, frozen=True):
    """Hospital to cloud: which sums of buckets are wanted.

    Parameters
    ----------
    table_id : bytes
    version : int
    whole : bool
        The whole table instead, for the hints of a new window or for many queries at once.
    request : bytes
        Offsets within the chunks; see `ompd.sealed`.
    """

    table_id: TableId
    version: Unsigned63
    whole: bool
    request: bytes


class SealedAnswer(Body, frozen=True):
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


class Receipt(Body, frozen=True):
    """Cloud to hospital: what of a table is there; once it is all, the table can be asked.

    Parameters
    ----------
    table_id : bytes
    version : int
    k : int
        Number of neighbours that will vote; 0 where the hospital counts votes itself, and before
        all is there.
    have : int
        Instances or buckets that are there, counted from the first one without a gap.
    erased : int
        When the last byte of what was taken away is overwritten, in milliseconds since the Unix
        epoch; 0 where nothing was.
    """

    table_id: TableId
    version: Unsigned63
    k: Annotated[int, msgspec.Meta(ge=0, le=MAX_K)]
    have: Unsigned63
    erased: Unsigned63 = 0


class Verdict(Body, frozen=True):
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


class Report(Body, frozen=True):
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
    filled : bytes
        One little-endian uint16 per query: how many of its features were missing.
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
    filled: bytes
    profile: Profile = "paper"
    method: Method = "relief-mw"


class Refusal(Body, frozen=True):
    """From whoever was asked: the request was not accepted.

    Which check failed would help whoever probes for secrets, and the asking party's own log has
    what it needs. The exceptions depend on nothing but the query's disease and form, on what the
    hospital tells everybody, and on what the user itself did before.

    Parameters
    ----------
    code : int
        1; or from a hospital to a user 2, 3 or 4, which everybody knows of himself: see `OUTDATED`,
        `UNENROLLED` and `SPENT`.
    """

    code: Annotated[int, msgspec.Meta(ge=1, le=SPENT)] = 1
