"""From labelled records to a table that can be asked: training, retrieval, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from ompd.blind import HardenedKey, LaplaceNoise, epsilon_per_unit
from ompd.datasets import Dataset
from ompd.encode import CoarseEncoder, Encoder, EvidenceEncoder, ReliefEncoder, choose_step, coarsen
from ompd.errors import LabelError, NeighborsError, ParameterError
from ompd.params import PAPER, Method, Profile
from ompd.roles.frozen import Frozen, noise_key_of, record_names
from ompd.roles.retrieval import (
    HardenedRetrieval,
    PaperRetrieval,
    Retrieval,
    SealedRetrieval,
    TableRef,
)
from ompd.roles.retrieval.contract import I64
from ompd.roles.stages import Stages
from ompd.schema import Schema
from ompd.search import LimbTable, check_k, choose_k
from ompd.search.calibration import Priors
from ompd.search.decision import Decision, Rule
from ompd.wire import MAX_ADVICE, MAX_K, Body, check_text

#: Shares of the time of `publish` by which instances are learned from, K is chosen, and the table
#: is hidden; the rest seals and signs the frame. Round figures: they differ by table and profile.
_TRAINED, _CHOSEN, _HIDDEN = 0.6, 0.65, 0.95
_PROFILES: dict[type[Retrieval], Profile] = {
    SealedRetrieval: "sealed",
    HardenedRetrieval: "hardened",
    PaperRetrieval: "paper",
}


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a hospital decided about a table.

    Parameters
    ----------
    profile : {"sealed", "hardened", "paper"}
    method : {"relief-mw", "evidence"}
    k : int, optional
    priors : {"equal", "training"}
    decision : {"probability", "majority"}
    epsilon : float, optional
        Of the noise, per median distance of two instances; profile `hardened` only.
    noise_key : bytes
        What the key of the noise is derived from, for a table that is trained anew; empty without
        noise.
    frozen : Frozen, optional
        What a `hardened` table keeps from the version before; None trains anew.
    """

    profile: str
    method: str
    k: int | None
    priors: Priors
    decision: Decision
    epsilon: float | None
    noise_key: bytes
    frozen: Frozen | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a plan holds a secret and is not pickled")


@dataclass(frozen=True, slots=True, repr=False)
class Published:
    """The hospital's side of one table.

    Attributes
    ----------
    encoder : Encoder
    retrieval : Retrieval
    place : TableRef
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

    encoder: Encoder
    retrieval: Retrieval
    place: TableRef
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
        return _PROFILES[type(self.retrieval)]

    @property
    def method(self) -> Method:
        """How features become vectors."""
        encoder = self.encoder
        if isinstance(encoder, CoarseEncoder):
            encoder = encoder.base
        return "evidence" if isinstance(encoder, EvidenceEncoder) else "relief-mw"


@dataclass(frozen=True, slots=True, repr=False)
class Release:
    """What a version of a `hardened` table tells the cloud about its records.

    Attributes
    ----------
    frozen : Frozen
        For the next version.
    charges : list of (record, digest)
        Whom each row's noise is about, and what names it; empty without noise.
    """

    frozen: Frozen
    charges: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, repr=False)
class Unconfirmed:
    """A table that the cloud has yet to acknowledge, with what its rule is learned from."""

    published: Published
    vectors: I64
    labels: I64
    decision: Decision
    priors: Priors

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
        table = _plain(self.vectors, self.labels, len(self.published.findings))
        rule = Rule.learn(table, k, self.decision, self.priors)
        return replace(self.published, k=k, rule=rule)


def prepare(
    instances: Dataset,
    plan: Plan,
    place: TableRef,
    cloud: str,
    advice: Mapping[str, str],
    *,
    stages: Stages,
) -> tuple[Unconfirmed, Body, Release | None]:
    """Train, encode and build a table, and make the body that uploads it.

    Returns
    -------
    Unconfirmed
    Body
    Release or None
        Of a `hardened` table: to be charged and kept before the body leaves.

    Raises
    ------
    OmpdError
        As `Hospital.publish`.
    """
    schema = instances.schema
    rows = len(instances.features)
    k = plan.k
    findings = _findings(schema, advice)
    training = stages.until(_TRAINED)
    encoder: Encoder
    frozen, names = plan.frozen, []
    if plan.profile == "hardened":
        names = record_names(schema, instances.features, instances.labels)
    if frozen is not None:
        encoder, vectors = frozen.encoder, frozen.vectors(names, instances.features)
        k = k or check_k(frozen.k, min(rows, MAX_K))
    elif plan.method == "evidence":
        learned = EvidenceEncoder.fit(
            schema, instances.features, instances.labels, progress=training
        )
        encoder, vectors = learned, learned.instances
        k = k or learned.neighbors
    else:
        encoder = ReliefEncoder.fit(
            schema,
            instances.features,
            instances.labels,
            weight_bits=PAPER.weight_bits,
            feature_bits=PAPER.feature_bits,
            progress=training,
        )
        vectors = encoder.encode(instances.features)
    # Writable copies: kernels are compiled anew for arrays that are read-only.
    labels = np.array(instances.labels, dtype=np.int64)
    vectors = np.array(vectors, dtype=np.int64)
    classes = len(schema.classes)
    stages.until(_CHOSEN)
    if k is None and plan.profile != "paper":
        k = choose_k(_plain(vectors, labels, classes))
    hiding = stages.until(_HIDDEN)
    retrieval: Retrieval
    upload: Body
    noise = release = None
    if plan.profile == "paper":
        retrieval, upload = PaperRetrieval.build(
            place, vectors, labels, classes=classes, k=k or 0, largest=encoder.largest
        )
    elif plan.profile == "hardened":
        k = k or 1
        if frozen is None:
            step = choose_step(vectors, labels, classes, min(k, rows - 1))
            vectors = coarsen(vectors, step)
            frozen = _freeze(plan, CoarseEncoder(encoder, step), vectors, k)
        encoder, noise = frozen.encoder, frozen.noise
        release = Release(frozen.released(k, names, vectors), [])
        if noise is not None:
            digests = noise.instance_digests(vectors, names)
            release.charges.extend(zip(names, digests, strict=True))
            vectors = noise.instances(vectors, names)
        retrieval, upload = HardenedRetrieval.build(
            place, frozen.key, vectors, labels, classes=classes, k=k
        )
    else:
        retrieval, upload = SealedRetrieval.build(
            place, vectors, labels, classes=classes, k=k or 1, progress=hiding
        )
    hiding(1.0)
    published = Published(
        encoder=encoder,
        retrieval=retrieval,
        place=place,
        cloud=cloud,
        rows=rows,
        k=k or 0,
        findings=findings,
        noise=noise,
        epsilon=plan.epsilon,
    )
    return Unconfirmed(published, vectors, labels, plan.decision, plan.priors), upload, release


def _freeze(plan: Plan, encoder: CoarseEncoder, vectors: I64, k: int) -> Frozen:
    """Choose what later versions will have in common with this one."""
    return Frozen(
        method=plan.method,
        encoder=encoder,
        key=HardenedKey.generate(encoder.coordinates),
        k=k,
        epsilon=plan.epsilon,
        unit=None if plan.epsilon is None else epsilon_per_unit(plan.epsilon, vectors),
        noise_key=noise_key_of(encoder, plan.noise_key) if plan.noise_key else b"",
        learned={},
    )


def _plain(vectors: I64, labels: I64, classes: int) -> LimbTable:
    """Table for searches of the hospital's own; noise may have made vectors negative."""
    return LimbTable.from_prefix_sums(vectors - vectors.min(axis=0), labels, classes)


def _findings(schema: Schema, advice: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(advice, Mapping):
        raise ParameterError(f"advice: expected a mapping, got {type(advice).__name__}")
    if not set(advice) <= set(schema.classes):
        raise LabelError(f"advice: expected only classes: {', '.join(schema.classes)}")
    for text in advice.values():
        check_text("advice", text, least=0, most=MAX_ADVICE)
    return tuple((label, advice.get(label, "")) for label in schema.classes)
