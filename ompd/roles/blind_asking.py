"""What a user does with a blind model: seal in which cells features lie, and read the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.arrays import F64, U16
from ompd.errors import ContextMismatchError, FramingError
from ompd.roles.catalogue import Blind
from ompd.roles.diagnoses import Diagnoses
from ompd.roles.diagnosis import Finding
from ompd.scoring import Layout, SecretKey
from ompd.search.scores import judge_scores
from ompd.wire import BlindQuery, BlindReport


@dataclass(frozen=True, slots=True, repr=False)
class BlindAsked:
    """What a report is read with.

    Attributes
    ----------
    blind : Blind
        As the catalogue had it when the query was made.
    key : SecretKey
    layout : Layout
    filled : uint16 array of shape (rows,)
        How many values of each row are missing.
    """

    blind: Blind
    key: SecretKey
    layout: Layout
    filled: U16


def asked(blind: Blind, key: SecretKey, values: F64) -> BlindAsked:
    """Return what the report on rows of features will be read with."""
    layout = Layout(blind.bins.cells, len(blind.bins.schema.classes) - 1)
    return BlindAsked(blind, key, layout, np.isnan(values).sum(axis=1).astype(np.uint16))


def query_of(asked: BlindAsked, disease: str, values: F64, reply_key: bytes) -> BlindQuery:
    """Encrypt in which cells the values of rows lie.

    Raises
    ------
    TooLargeError
        If there are more rows than fit.
    """
    slots = asked.layout.indicators(asked.blind.bins.places(values))
    return BlindQuery(
        disease, asked.blind.edition, len(values), asked.key.key_id, asked.key.seal(slots),
        reply_key,
    )  # fmt: skip


def read_scores(asked: BlindAsked, body: BlindReport) -> Diagnoses:
    """Decrypt and judge the scores of a report.

    Raises
    ------
    ContextMismatchError
        If it is about another model than was asked.
    FramingError
        If it is not one that a hospital makes.
    """
    blind, rows = asked.blind, len(asked.filled)
    classes = blind.bins.schema.classes
    if body.edition != blind.edition:
        raise ContextMismatchError("report: is about another model")
    if tuple(label for label, _ in body.findings) != classes:
        raise FramingError("report: expected one finding of each class, in their order")
    scores = asked.key.open(body.scores, asked.layout, rows)
    codes, probabilities = judge_scores(scores, blind.bits)
    return Diagnoses(
        classes,
        tuple(Finding(*each, "blind", "evidence") for each in body.findings),
        codes,
        probabilities,
        np.zeros(probabilities.shape, dtype=np.uint16),
        np.ones(rows, dtype=np.bool_),
        asked.filled,
    )
