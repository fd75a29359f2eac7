"""A table that a hospital has made: as it is asked, and as it waits for its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ompd.blind import LaplaceNoise
from ompd.datasets import Dataset
from ompd.encode import CoarseEncoder, Encoder, EvidenceEncoder, Filling
from ompd.errors import (
    ContextMismatchError,
    LabelError,
    NeighborsError,
    ParameterError,
    VersionError,
)
from ompd.params import Method, Profile
from ompd.roles.frozen import Release
from ompd.roles.post import Post
from ompd.roles.retrieval import PROFILES, Retrieval, TableRef
from ompd.roles.spool import Place
from ompd.roles.stages import Stages
from ompd.roles.training import Plan
from ompd.roles.uploads import Pieces, Upload
from ompd.schema import Schema
from ompd.search import check_k
from ompd.search.decision import OpenRule, Rule
from ompd.wire import MAX_ADVICE, MAX_K, check_text


@dataclass(frozen=True, slots=True, repr=False)
class Published:
    """The hospital's side of one table.

    Attributes
    ----------
    filling : Filling
        Its schema is what users are told; the encoder's is that of filled vectors.
    encoder : Encoder
    retrieval : Retrieval
    ref : TableRef
    cloud : str
    rows : int
    k : int
        0 until the cloud has told which it chose.
    findings : tuple of (label, advice)
    rule : Rule, optional
        None until K is known.
    noise : LaplaceNoise, optional
        For the queries; the instances have theirs.
    epsilon : float, optional
        What one release of a query costs its patient.
    """

    filling: Filling
    encoder: Encoder
    retrieval: Retrieval
    ref: TableRef
    cloud: str
    rows: int
    k: int
    findings: tuple[tuple[str, str], ...]
    rule: Rule | None = None
    noise: LaplaceNoise | None = None
    epsilon: float | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(label for label, _ in self.findings)

    @property
    def profile(self) -> Profile:
        """What the table tells the cloud."""
        return self.retrieval.profile

    @property
    def schema(self) -> Schema:
        """What users are told: features as they come in a query, and classes."""
        return self.filling.schema

    @property
    def method(self) -> Method:
        """How features become vectors."""
        encoder = self.encoder
        if isinstance(encoder, CoarseEncoder):
            encoder = encoder.base
        return "evidence" if isinstance(encoder, EvidenceEncoder) else "relief-mw"


@dataclass(frozen=True, slots=True, repr=False)
class Unconfirmed:
    """A table that the cloud has yet to acknowledge.

    Attributes
    ----------
    published : Published
        With its rule, unless that takes a K which the cloud chooses.
    open_rule : OpenRule, optional
        What the rule is learned from then.
    """

    published: Published
    open_rule: OpenRule | None

    def confirmed(self, k: int) -> Published:
        """Return the table with the K that votes, and the rule of its decisions.

        Parameters
        ----------
        k : int
            As the cloud acknowledged it; 0 if it does not count votes.

        Raises
        ------
        NeighborsError
            If it is not possible, or not the one that was published.
        """
        known = self.published.k
        if known and k not in (0, known):
            raise NeighborsError(f"k: expected {known} as published, got {k}")
        k = check_k(known or k, min(self.published.rows, MAX_K))
        rule = self.published.rule
        if self.open_rule is not None:
            rule = self.open_rule.learn(k)
        return replace(self.published, k=k, rule=rule)


@dataclass(frozen=True, slots=True, repr=False)
class Waiting:
    """A table that waits for its receipt, and its upload."""

    table: Unconfirmed
    pieces: Pieces
    nonce: bytes

    @property
    def published(self) -> Published:
        """The table as it will be asked, but for what the receipt tells."""
        return self.table.published

    def discard(self) -> None:
        """End what will not be asked."""
        self.pieces.close()
        self.published.retrieval.discard()

    def upload(self, post: Post) -> Upload:
        """Return the upload's frames, which get the time when they are made."""
        return Upload(post, self.published.cloud, self.nonce, self.pieces)


def prepare(
    records: Dataset,
    plan: Plan,
    ref: TableRef,
    cloud: str,
    advice: Mapping[str, str],
    *,
    stages: Stages,
    place: Place,
) -> tuple[Unconfirmed, Pieces, Release | None]:
    """Train, encode and build a table, and make what uploads it.

    Returns
    -------
    Unconfirmed
    Pieces
        In a file that `place` opened.
    Release or None
        Of a `hardened` table: to be charged and kept before the upload leaves.

    Raises
    ------
    OmpdError
        As `Hospital.publish`.
    """
    findings = findings_of(records.schema, advice)
    made = PROFILES[plan.profile].make(records, plan, ref, stages, place)
    published = Published(
        filling=made.filling,
        encoder=made.encoder,
        retrieval=made.retrieval,
        ref=ref,
        cloud=cloud,
        rows=len(records),
        k=made.k,
        findings=findings,
        rule=made.rule,
        noise=made.noise,
        epsilon=plan.epsilon,
    )
    return Unconfirmed(published, made.open_rule), made.upload, made.release


def check_ref(ref: TableRef, expected: TableRef) -> None:
    """Refuse an answer about another table or version.

    Raises
    ------
    ContextMismatchError, VersionError
    """
    if ref.table_id != expected.table_id:
        raise ContextMismatchError("answer: is about another table")
    if ref.version != expected.version:
        raise VersionError("answer: is about another version of the table")


def findings_of(schema: Schema, advice: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return all classes with what is advised for each.

    Raises
    ------
    ParameterError, LabelError
    """
    if not isinstance(advice, Mapping):
        raise ParameterError(f"advice: expected a mapping, got {type(advice).__name__}")
    if not set(advice) <= set(schema.classes):
        raise LabelError(f"advice: expected only classes: {', '.join(schema.classes)}")
    for text in advice.values():
        check_text("advice", text, least=0, most=MAX_ADVICE)
    return tuple((label, advice.get(label, "")) for label in schema.classes)
