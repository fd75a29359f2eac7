"""From labelled records to vectors and a K: what tables of all profiles begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ompd.arrays import I64, Progress
from ompd.confidential import Confidential
from ompd.datasets import Dataset
from ompd.encode import Encoder, EvidenceEncoder, Filling, ReliefEncoder
from ompd.params import PAPER
from ompd.roles.frozen import Frozen
from ompd.roles.stages import TRAINED, Stages
from ompd.search import LimbTable
from ompd.search.calibration import Priors
from ompd.search.decision import Decision, OpenRule, Rule
from ompd.threads import part_of


@dataclass(frozen=True, slots=True, repr=False)
class Plan(Confidential):
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


@dataclass(frozen=True, slots=True, repr=False)
class Trained:
    """Records as vectors.

    Attributes
    ----------
    filling : Filling
        What stands for missing values before the encoder sees them.
    encoder : Encoder
    vectors : int64 array of shape (N, coordinates)
    labels : int64 array of shape (N,)
    classes : int
    k : int, optional
        As the plan says, or the encoder; None where it is yet to be chosen.
    """

    filling: Filling
    encoder: Encoder
    vectors: I64
    labels: I64
    classes: int
    k: int | None

    def table(self, progress: Progress | None = None) -> LimbTable:
        """Return the vectors, made searchable; this takes a while."""
        return plain(self.vectors, self.labels, self.classes, progress)


def rules(
    table: Callable[[Progress], LimbTable], k: int, plan: Plan, progress: Progress
) -> tuple[Rule | None, OpenRule | None]:
    """Learn how votes become labels, or what that is learned from once K is known.

    Parameters
    ----------
    table : callable
        Returns what `plain` makes of the vectors; not called where nothing is learned. It is given
        what it reports its own share to.
    k : int
        0 if the cloud chooses it.
    plan : Plan
    progress : callable
        Called with the finished share from 0 to 1.

    Raises
    ------
    NeighborsError
        If a table of one row is to be calibrated.
    """
    if plan.decision == "majority":
        return Rule(None), None
    made = table(part_of(progress, 0, 0.7))
    if k:
        return Rule.learn(made, k, plan.decision, plan.priors), None
    return None, OpenRule.of(made, plan.priors)


def train(records: Dataset, plan: Plan, stages: Stages) -> Trained:
    """Learn from records what stands for missing values, then an encoder, and encode them.

    Raises
    ------
    OmpdError
        As `Hospital.publish`.
    """
    training = stages.until(TRAINED)
    filling = Filling.learn(records.schema, records.features)
    features, _ = filling.fill(records.features)
    schema, k = filling.inner, plan.k
    encoder: Encoder
    if plan.method == "evidence":
        learned = EvidenceEncoder.fit(schema, features, records.labels, progress=training)
        encoder, vectors = learned, learned.instances
        k = k or learned.neighbors
    else:
        encoder = ReliefEncoder.fit(
            schema,
            features,
            records.labels,
            weight_bits=PAPER.weight_bits,
            feature_bits=PAPER.feature_bits,
            progress=training,
        )
        vectors = encoder.encode(features)
    # Writable copies: kernels are compiled anew for arrays that are read-only.
    labels = np.array(records.labels, dtype=np.int64)
    vectors = np.array(vectors, dtype=np.int64)
    return Trained(filling, encoder, vectors, labels, len(schema.classes), k)


def plain(vectors: I64, labels: I64, classes: int, progress: Progress | None = None) -> LimbTable:
    """Table for searches of the hospital's own; noise may have made vectors negative."""
    above = vectors - vectors.min(axis=0)
    return LimbTable.from_prefix_sums(above, labels, classes, progress=progress)
