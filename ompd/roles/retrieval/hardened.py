"""Profile `hardened`: coarse integers under a signed permutation and shifts modulo 2**64.

The cloud still sees all distances; noise, if asked for, bounds what they tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ompd.arrays import I64, U64, Progress
from ompd.blind import HardenedKey, epsilon_per_unit
from ompd.datasets import Dataset
from ompd.encode import CoarseEncoder, Filling, choose_step, coarsen
from ompd.roles.frozen import Frozen, Release, noise_key_of, record_names
from ompd.roles.retrieval.contract import Edit, Made, TableRef, Way
from ompd.roles.retrieval.voted import Voted, change_fields
from ompd.roles.spool import Place, temporary
from ompd.roles.stages import CHOSEN, HIDDEN, RULED, TRAINED, Stages
from ompd.roles.training import Plan, plain, rules, train
from ompd.roles.uploads import Pieces
from ompd.search import check_k, choose_k
from ompd.threads import part_of
from ompd.wire import (
    MAX_BATCH,
    MAX_K,
    HardenedChange,
    HardenedJob,
    HardenedUpload,
    Kind,
    content_cap,
    verdict_rows,
)


@dataclass(frozen=True, slots=True, repr=False)
class HardenedRetrieval(Voted):
    """A table of ring values; the cloud searches it and votes.

    Parameters
    ----------
    ref : TableRef
    key : HardenedKey
    classes : int
    """

    profile = "hardened"
    upload = HardenedUpload
    job_type = HardenedJob
    noisy = True
    freezes = True

    ref: TableRef
    key: HardenedKey
    classes: int

    @classmethod
    def make(
        cls, records: Dataset, plan: Plan, ref: TableRef, stages: Stages, place: Place
    ) -> Made:
        """Train or go on as before, round, add noise if it is asked for, and blind."""
        labels = np.array(records.labels, dtype=np.int64)
        classes = len(records.schema.classes)
        frozen = plan.frozen
        names = _names(records, plan)
        if frozen is None:
            trained = train(records, plan, stages)
            choosing = stages.until(CHOSEN)
            k = trained.k or choose_k(trained.table(part_of(choosing, 0, 0.1)))
            others = min(k, len(labels) - 1)
            steps = part_of(choosing, 0.2, 1)
            step = choose_step(trained.vectors, labels, classes, others, progress=steps)
            vectors = coarsen(trained.vectors, step)
            frozen = _freeze(
                plan, trained.filling, CoarseEncoder(trained.encoder, step), vectors, k
            )
            del trained
        else:
            stages.until(TRAINED)
            vectors = frozen.vectors(names, records.features)
            k = plan.k or check_k(frozen.k, min(len(labels), MAX_K))
            stages.until(CHOSEN)
        noise = frozen.noise
        released = frozen.released(k, names, vectors)
        by_name = noise is not None or len(released.learned) > 0
        release = Release(released, [], names if by_name else None)
        if noise is not None:
            digests = noise.instance_digests(vectors, names)
            release.charges.extend(zip(names, digests, strict=True))
            vectors = noise.instances(vectors, names)
        rule, open_rule = rules(
            lambda told: plain(vectors, labels, classes, told), k, plan, stages.until(RULED)
        )
        retrieval, upload = cls.build(
            ref,
            frozen.key,
            vectors,
            labels,
            classes=classes,
            k=k,
            place=place,
            progress=stages.until(HIDDEN),
        )
        return Made(
            frozen.filling, frozen.encoder, k, retrieval, upload, rule, open_rule, noise, release
        )

    @classmethod
    def build(
        cls,
        ref: TableRef,
        key: HardenedKey,
        vectors: I64,
        labels: I64,
        *,
        classes: int,
        k: int,
        place: Place = temporary,
        progress: Progress | None = None,
    ) -> tuple[HardenedRetrieval, Pieces]:
        """Blind the instances.

        Parameters
        ----------
        ref : TableRef
        key : HardenedKey
        vectors : int64 array of shape (N, coordinates)
            As they go into the table: with noise, if there is any.
        labels : int64 array of shape (N,)
        classes, k : int
        place : callable
            Where the upload waits.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        StoreError
            If the upload cannot be written.
        """
        head = HardenedUpload(
            table_id=ref.table_id,
            version=ref.version,
            coordinates=vectors.shape[1],
            classes=classes,
            k=k,
            rows=len(vectors),
            first=0,
            labels=b"",
            values=b"",
        )

        def fill(first: int, last: int) -> U64:
            return key.blind(vectors[first:last]).astype("<u8", copy=False)

        width = 8 * vectors.shape[1]
        pieces = Pieces.make(place, head, len(vectors), width, labels, fill, progress)
        return cls(ref, key, classes), pieces

    def edited(self, edit: Edit, ref: TableRef) -> tuple[HardenedRetrieval, HardenedChange]:
        """Hide added instances as those before."""
        values = self.key.blind(edit.vectors)
        body = HardenedChange(
            table_id=ref.table_id,
            version=ref.version,
            base=self.ref.version,
            **change_fields(edit, values),
        )
        return self.at(ref), body

    def at(self, ref: TableRef) -> HardenedRetrieval:
        """Return the same table as another version: the key stays."""
        return replace(self, ref=ref)

    def save(self, folder: Path) -> bytes:
        """Return the key."""
        return self.key.to_bytes()

    @classmethod
    def restored(cls, ref: TableRef, classes: int, folder: Path, kept: bytes) -> HardenedRetrieval:
        """Return the table of a key."""
        return cls(ref, HardenedKey.from_bytes(kept), classes)

    @property
    def most(self) -> int:
        """Most queries in one job."""
        job = content_cap(Kind.HARDENED_JOB) // (8 * self.key.coordinates)
        return min(MAX_BATCH, job, verdict_rows(self.classes))

    def job(self, vectors: I64, members: Sequence[int], way: Way) -> tuple[HardenedJob, None]:
        """Blind queries as the table was."""
        points = self.key.blind(vectors).astype("<u8", copy=False).tobytes()
        return HardenedJob(self.ref.table_id, self.ref.version, len(vectors), points), None


def _names(records: Dataset, plan: Plan) -> list[str]:
    """Names of records where something hangs on them; they take a while."""
    if plan.epsilon is None and plan.method != "evidence":
        return []
    return record_names(records.schema, records.features, records.labels)


def _freeze(plan: Plan, filling: Filling, encoder: CoarseEncoder, vectors: I64, k: int) -> Frozen:
    """Choose what later versions will have in common with this one."""
    return Frozen(
        method=plan.method,
        filling=filling,
        encoder=encoder,
        key=HardenedKey.generate(encoder.coordinates),
        k=k,
        epsilon=plan.epsilon,
        unit=None if plan.epsilon is None else epsilon_per_unit(plan.epsilon, vectors),
        noise_key=noise_key_of(filling, encoder, plan.noise_key) if plan.noise_key else b"",
        learned={},
    )
