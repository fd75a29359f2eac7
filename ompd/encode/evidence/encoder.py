"""Learned evidence as coordinates.

Each coordinate is the evidence for a class in fixed point: the logarithm of its probability,
stacked from several learners, and cut where the class is out of the question. A table row's own
coordinates come from learners that were trained without that row; a query, which nobody has seen,
is judged by learners trained on all rows. Both therefore lie on one scale, and the K nearest rows
are those that looked equally suspicious before their outcome was known: counting their classes is a
local calibration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.arrays import F64, I64
from ompd.encode.evidence.columns import Columns
from ompd.encode.evidence.learners import LEARNERS, require_sklearn
from ompd.encode.evidence.models import Model
from ompd.encode.evidence.stacking import Stack
from ompd.encode.evidence.storage import Reader, Writer
from ompd.encode.fixed_point import require_trainable
from ompd.errors import ParameterError, SchemaError, StoreError
from ompd.schema import Schema
from ompd.search import HELD_OUT, LimbTable, leave_one_out, spread
from ompd.search.calibration import Calibration
from ompd.threads import part_of

#: Logarithms of probabilities end at this many nats below 0. How unlikely an unlikely class is says
#: little about a patient, but with many classes it would be most of the distance. Chosen on 11
#: tables of 3 to 15 classes (`bench.evidence`); with two classes it hardly matters.
_REACH = 6.0
#: One nat becomes 2**_BITS.
_BITS = 16
_FOLDS = 5
#: K that are compared.
_CANDIDATES = (1, 3, 5, 9, 15, 21, 31, 45, 61, 91)
#: At most one of so many instances votes.
_SHARE = 4
#: How much worse, in nats per instance, the votes of a larger K may be. More neighbours make the
#: vote steadier, and the loss is only an estimate.
_TOLERANCE = 0.01
#: Instances that are learned from. Rows beyond are as new to the learners as a query is.
_MOST_LEARNED = 20_000
#: Rows that are judged at a time: kernels and trees take some kilobytes for each.
_JUDGED = 1 << 13

#: Starts a stored encoder. The version changes with anything that changes what `encode` makes of
#: stored arrays.
_FORM = b"ompd evidence encoder 2"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class EvidenceEncoder:
    """Turns feature vectors of one disease into evidence for its classes, in fixed point.

    Get one from `fit`, or a stored one from `from_bytes`. The L1 distance of two vectors is how
    differently two patients are judged.

    Attributes
    ----------
    schema : Schema
    instances : int64 array of shape (N, coordinates)
        Vectors of the training rows, in their order, for the table. Read-only. They are not
        ``encode(features)``: each was computed without its own row's label. Of shape
        (0, coordinates) in an encoder that was stored.
    neighbors : int
        K, odd: the largest whose leave-one-out votes, once calibrated, are about as informative
        as the best.

    Notes
    -----
    `to_bytes` stores what queries need: the schema, K, the features' means, deviations and cuts,
    and of each learner its weights or trees. It does not store `instances`, which are for the
    table. Up to 200 training rows are part of it nevertheless, standardised, as landmarks of
    kernels, and trees tell much about the others: guard the bytes like the instances.

    Source: stacked generalisation (Wolpert 1992) with non-negative weights (Breiman 1996).
    """

    schema: Schema
    instances: I64
    neighbors: int
    columns: Columns
    models: tuple[Model, ...]
    stack: Stack

    def __post_init__(self) -> None:
        self.instances.flags.writeable = False

    def __repr__(self) -> str:
        return (
            f"<EvidenceEncoder of {len(self.schema.features)} features, "
            f"{len(self.schema.classes)} classes>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor, since NumPy forgets that an array was read-only.
        return EvidenceEncoder, (
            self.schema, self.instances, self.neighbors, self.columns, self.models, self.stack
        )  # fmt: skip

    @classmethod
    def fit(
        cls,
        schema: Schema,
        features: Any,
        labels: Any,
        *,
        seed: int = 0,
        progress: Callable[[float], None] | None = None,
    ) -> EvidenceEncoder:
        """Learn from labelled instances.

        Parameters
        ----------
        schema : Schema
        features : array-like of shape (N, n)
        labels : integer array-like of shape (N,)
            Class codes.
        seed : int
            Of the folds and of the learners that draw at random; not negative.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        FeatureError, DomainError, LabelError
            If the instances do not fit the schema.
        ParameterError
            If the seed is no integer from 0 to 2**32 - 1.
        TrainingError
            If there are fewer than two classes, or a class has fewer than two instances.
        BackendUnavailableError
            If scikit-learn is not installed.
        """
        if type(seed) is not int or not 0 <= seed < 1 << 32:
            raise ParameterError("seed: expected an integer from 0 to 2**32 - 1")
        values = schema.check(features)
        codes = schema.check_codes(labels, len(values))
        require_trainable(codes, schema)
        require_sklearn()
        from sklearn import config_context
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        # Sums in another order differ in the last bit, and learners amplify that.
        # The learners need not check again, at every tree, what is checked above.
        checked = config_context(assume_finite=True, skip_parameter_validation=True)
        with threadpool_limits(1), checked:
            learned = _spread(codes, _MOST_LEARNED)
            columns = Columns.fit(schema, values[learned])
            others = np.setdiff1d(np.arange(len(codes)), learned)
            # To learn from a row takes about as long as to judge six.
            until = 6 * len(learned) / (6 * len(learned) + len(others))
            told = part_of(progress, 0, until)
            opinions, models = _cross_fit(columns, values[learned], codes[learned], seed, told)
            stack = Stack.fit(opinions, codes[learned])
            instances = np.empty((len(codes), _coordinates(len(schema.classes))), np.int64)
            instances[learned] = _fixed_point(stack.evidence(opinions))
            instances[others] = _fixed_point(
                stack.evidence(
                    _opinions(columns, models, values[others], part_of(progress, until, 0.99))
                )
            )
        neighbors = _choose_neighbors(instances, codes, len(schema.classes))
        if progress is not None:
            progress(1.0)
        return cls(schema, instances, neighbors, columns, models, stack)

    @staticmethod
    def shape(classes: int) -> tuple[int, int]:
        """Return `coordinates` and `largest`, which depend on no record."""
        coordinates = _coordinates(classes)
        return coordinates, int(_REACH * (2 if coordinates == 1 else 1)) << _BITS

    @property
    def coordinates(self) -> int:
        """One for two classes, otherwise one per class."""
        return self.shape(len(self.schema.classes))[0]

    @property
    def largest(self) -> int:
        """What the strongest evidence becomes."""
        return self.shape(len(self.schema.classes))[1]

    def encode(self, features: Any) -> I64:
        """Encode feature vectors of queries.

        Parameters
        ----------
        features : array-like of shape (n,) or (m, n)

        Returns
        -------
        int64 array of shape (m, coordinates)
            From 0 to `largest`.

        Raises
        ------
        FeatureError, DomainError
        """
        opinions = _opinions(self.columns, self.models, self.schema.check(features))
        return _fixed_point(self.stack.evidence(opinions))

    def to_bytes(self) -> bytes:
        """Return the encoder for storage, without `instances`.

        Returns
        -------
        bytes
            For `from_bytes`. They hold training rows; see the class.
        """
        out = Writer(_FORM)
        out.text(self.schema.to_json())
        out.integers(self.neighbors)
        self.columns.write(out)
        self.stack.write(out)
        for model in self.models:
            model.write(out)
        return out.finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> EvidenceEncoder:
        """Restore an encoder that encodes queries exactly as the stored one did.

        It needs no scikit-learn.

        Parameters
        ----------
        data : bytes
            From `to_bytes`. A digest finds accidental damage; whether the bytes are those of a
            trusted writer is the caller's to know.

        Raises
        ------
        StoreError
            If the bytes are damaged, cut, extended, foreign or of another version.
        """
        source = Reader(data, _FORM)
        try:
            schema = Schema.from_json(source.text())
        except SchemaError:
            raise StoreError("data: its schema is damaged") from None
        classes = len(schema.classes)
        source.require(classes >= 2)
        neighbors = int(source.places(below=1 << 63))
        source.require(neighbors % 2 == 1)
        columns = Columns.read(source, schema)
        stack = Stack.read(source, len(LEARNERS), classes)
        nobody = np.empty((0, len(schema.features)))
        models = tuple(
            learner.read(source, learner.design(columns, nobody).shape[1], classes)
            for learner in LEARNERS
        )
        source.end()
        instances = np.empty((0, _coordinates(classes)), np.int64)
        return cls(schema, instances, neighbors, columns, models, stack)


def _spread(codes: I64, most: int) -> I64:
    """Return at most about `most` rows, evenly spread over each class, at least two of each."""
    if len(codes) <= most:
        return np.arange(len(codes))
    parts = []
    for code in range(int(codes.max()) + 1):
        members = np.flatnonzero(codes == code)
        count = min(len(members), max(2, most * len(members) // len(codes)))
        parts.append(members[np.arange(count) * len(members) // count])
    return np.sort(np.concatenate(parts))


def _opinions(
    columns: Columns,
    models: tuple[Model, ...],
    values: F64,
    progress: Callable[[float], None] | None = None,
) -> F64:
    """Logarithms of class probabilities by learner, shape (m, classes, learners)."""
    parts = []
    for first in range(0, max(1, len(values)), _JUDGED):
        part = values[first : first + _JUDGED]
        scores = [
            model.scores(learner.design(columns, part))
            for learner, model in zip(LEARNERS, models, strict=True)
        ]
        parts.append(np.stack(scores, axis=-1))
        if progress is not None and len(part):
            progress((first + len(part)) / len(values))
    return np.concatenate(parts)


def _cross_fit(
    columns: Columns,
    values: F64,
    codes: I64,
    seed: int,
    progress: Callable[[float], None] | None,
) -> tuple[F64, tuple[Model, ...]]:
    """Opinions on every row by learners that had not seen it, and learners that saw all."""
    from sklearn.model_selection import StratifiedKFold

    classes = int(codes.max()) + 1
    folds = min(_FOLDS, int(np.bincount(codes).min()))
    parts = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(values, codes))
    opinions = np.empty((len(values), classes, len(LEARNERS)))
    models = []
    # The end of learning is not yet that of `fit`.
    steps = len(LEARNERS) * (folds + 1) + 1
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / steps)

    for number, learner in enumerate(LEARNERS):
        design = learner.design(columns, values)
        for kept, held in parts:
            model = learner.fit(design[kept], codes[kept], classes, columns, seed)
            opinions[held, :, number] = model.scores(design[held])
            step()
        models.append(learner.fit(design, codes, classes, columns, seed))
        step()
    return opinions, tuple(models)


def _coordinates(classes: int) -> int:
    # What speaks for one of two classes speaks against the other.
    return 1 if classes == 2 else classes


def _fixed_point(evidence: F64) -> I64:
    kept = np.maximum(evidence, -_REACH) + _REACH
    if _coordinates(evidence.shape[1]) == 1:
        # As one rises the other falls, so both distances together are that of the difference.
        kept = kept[:, 1:] - kept[:, :1] + _REACH
    return np.rint(kept * float(1 << _BITS)).astype(np.int64)


def _choose_neighbors(instances: I64, codes: I64, classes: int) -> int:
    """Return the largest K whose calibrated leave-one-out votes have nearly the least loss."""
    table = LimbTable.from_prefix_sums(instances, codes, classes)
    usable = [k for k in _CANDIDATES if k == 1 or k <= len(codes) // _SHARE]
    found = leave_one_out(table, usable[-1], spread(len(codes), HELD_OUT))
    truth = found.truth
    weights = 1.0 / np.bincount(truth, minlength=classes)[truth]
    losses = []
    for k in usable:
        counts = found.votes(k)
        chances = Calibration.fit(counts, truth).probabilities(counts)
        logs = np.log(chances[np.arange(len(truth)), truth])
        losses.append(-float(logs @ weights / weights.sum()))
    near = min(losses) + _TOLERANCE
    return max(k for k, loss in zip(usable, losses, strict=True) if loss <= near)
