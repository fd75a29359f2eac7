"""The additive model of one disease as a hospital publishes and keeps it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from ompd.arrays import Form, pack, unpack
from ompd.confidential import Confidential
from ompd.datasets import Dataset
from ompd.encode import AdditiveModel
from ompd.errors import OmpdError, ParameterError, StoreError, TooLargeError
from ompd.params import MAX_CLASSES, SCORING
from ompd.roles.publication import findings_of
from ompd.schema import Bins, Schema
from ompd.scoring import Layout
from ompd.search.calibration import Priors
from ompd.wire import MAX_COORDINATES, BlindCells, Entry

_FORM = Form("blind model", 1)
#: Rows that one user is told of a model, unless the hospital says otherwise.
ANSWERS = 20
_MOST_ANSWERS = 1 << 32
_MOST_ROWS = (1 << 63) - 1


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Schema
    cuts: tuple[tuple[float, ...], ...]
    weights: bytes
    bits: int
    findings: tuple[tuple[str, str], ...]
    rows: int
    answers: int
    edition: bytes

    def __repr__(self) -> str:
        return "<_Stored>"


@dataclass(frozen=True, repr=False)
class BlindModel(Confidential):
    """A model that is asked.

    Attributes
    ----------
    model : AdditiveModel
    findings : tuple of (label, advice)
        Of all classes.
    rows : int
        Records that it was learned from.
    answers : int
        Rows that one user is told of it.
    edition : bytes
        16 random bytes that name it.
    """

    model: AdditiveModel
    findings: tuple[tuple[str, str], ...]
    rows: int
    answers: int
    edition: bytes

    @property
    def schema(self) -> Schema:
        """What users are told: features and classes."""
        return self.model.bins.schema

    @cached_property
    def layout(self) -> Layout:
        """Slots of a query."""
        return Layout(self.model.bins.cells, len(self.findings) - 1)

    def listed(self, disease: str) -> Entry:
        """Return what everybody is told of it.

        Raises
        ------
        SchemaError
            If a text of it cannot be shown to everybody.
        """
        return Entry.of(
            disease,
            self.schema,
            profile="blind",
            method="evidence",
            k=0,
            most_rows=self.layout.most_rows,
            epsilon=None,
            blind=BlindCells(self.edition, self.model.bins.cuts, self.model.bits, self.answers),
        )

    def to_bytes(self) -> bytes:
        """Return everything for storage; the weights are secret."""
        packed = pack(
            _FORM,
            _Stored(
                self.schema, self.model.bins.cuts, self.model.weights.astype("<i8").tobytes(),
                self.model.bits, self.findings, self.rows, self.answers, self.edition,
            ),
        )  # fmt: skip
        return b"".join(packed.parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> BlindModel:
        """Restore what `to_bytes` returned.

        Raises
        ------
        StoreError
            If the bytes are damaged or foreign.
        VersionError
            If they are of another version.
        """
        kept = unpack(data, _FORM, _Stored, name="model", error=StoreError).content
        try:
            bins = Bins(kept.schema, kept.cuts)
            weights = np.frombuffer(kept.weights, "<i8").reshape(-1, bins.width)
            model = AdditiveModel(bins, weights.astype(np.int64), kept.bits)
            restored = cls(model, kept.findings, kept.rows, kept.answers, kept.edition)
            fits = len(weights) == restored.layout.scores
        except (OmpdError, ValueError):
            fits = False
        if not fits:
            raise StoreError("model: is damaged")
        return restored


def made(
    records: Dataset,
    advice: Mapping[str, str],
    priors: Priors,
    answers: int | None,
    progress: Callable[[float], None],
) -> BlindModel:
    """Learn a model from records.

    Raises
    ------
    OmpdError
        As `Hospital.publish`.
    """
    bins = Bins.learn(records.schema, records.features)
    # Before anything is trained that could not be asked.
    findings, answers = _checked(bins, advice, answers)
    model = AdditiveModel.fit(
        records.schema, records.features, records.labels,
        most=SCORING.plain_modulus // 2, priors=priors, progress=progress,
    )  # fmt: skip
    return BlindModel(model, findings, len(records), answers, secrets.token_bytes(16))


def given(
    model: AdditiveModel, rows: int, advice: Mapping[str, str], answers: int | None
) -> BlindModel:
    """Take a model that was made elsewhere.

    Raises
    ------
    OmpdError
        As `Hospital.publish_model`.
    """
    if type(model) is not AdditiveModel:
        raise ParameterError(f"model: expected AdditiveModel, got {type(model).__name__}")
    if type(rows) is not int or not 1 <= rows <= _MOST_ROWS:
        raise ParameterError(f"rows: expected an integer from 1 to {_MOST_ROWS}")
    findings, answers = _checked(model.bins, advice, answers)
    largest = np.maximum.reduceat(np.abs(model.weights), model.bins.starts, axis=1).sum(axis=1)
    if (largest > SCORING.plain_modulus // 2).any():
        raise TooLargeError("model: its scores are above what a reply holds")
    return BlindModel(model, findings, rows, answers, secrets.token_bytes(16))


def _checked(
    bins: Bins, advice: Mapping[str, str], answers: int | None
) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return findings and answers of a model that can be asked."""
    answers = ANSWERS if answers is None else answers
    if type(answers) is not int or not 1 <= answers <= _MOST_ANSWERS:
        raise ParameterError(f"answers: expected an integer from 1 to {_MOST_ANSWERS}")
    findings = findings_of(bins.schema, advice)
    if len(findings) > MAX_CLASSES or len(bins.schema.features) > MAX_COORDINATES:
        raise TooLargeError("schema: has more classes or features than travel")
    Layout(bins.cells, max(1, len(findings) - 1))
    return findings, answers
