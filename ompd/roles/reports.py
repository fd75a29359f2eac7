"""What a hospital tells users: bodies of reports, all of one length for so many rows."""

from __future__ import annotations

import numpy as np

from ompd.arrays import I64
from ompd.errors import OmpdError
from ompd.roles.publication import Published
from ompd.roles.retrieval import Neighbours
from ompd.wire import MAX_BATCH, Entry, Kind, Report, content_cap, encode_body
from ompd.wire.canonical import encode


class Reports(list[bytes]):
    """Report frames, each of which names its user in the header.

    Attributes
    ----------
    refused : dict of str to OmpdError
        Why a user gets no report, by id: the keys were revoked or have expired meanwhile, or the
        registry cannot be read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[str, OmpdError] = {}

    def add(self, other: Reports) -> Reports:
        """Append the reports of another job; returns itself."""
        self.extend(other)
        self.refused |= other.refused
        return self


def answered(table: Published, found: Neighbours, filled: I64) -> Report:
    """Return the diagnoses of one user's rows.

    Parameters
    ----------
    table : Published
    found : Neighbours
    filled : int64 array of shape (rows,)
        How many values of each were missing, at most `MAX_COORDINATES`.
    """
    assert table.rule is not None  # noqa: S101  (confirmed tables have one)
    codes, probabilities = table.rule.decide(found.votes, found.codes)
    distinct, choice = np.unique(codes, return_inverse=True)
    return Report(
        k=table.k,
        classes=table.classes,
        findings=tuple(table.findings[code] for code in distinct),
        choice=choice.astype("<u2").tobytes(),
        votes=found.votes.astype("<u2").tobytes(),
        probabilities=probabilities.astype("<f8").tobytes(),
        certified=found.certified.astype(np.uint8).tobytes(),
        filled=filled.astype("<u2").tobytes(),
        profile=table.profile,
        method=table.method,
    )


def unanswered(table: Published) -> Report:
    """Return the report of a query that was accepted and is not answered."""
    empty = (b"",) * 5
    return Report(table.k, table.classes, (), *empty, table.profile, table.method)


def longest(table: Published, rows: int) -> int:
    """Length of the longest report on this many rows.

    All reports of a disease are padded to it, or else their length would tell the diagnosis.
    """
    cells = rows * len(table.findings)
    most = min(rows, len(table.findings))
    # What each adds to the length, from the finding alone: a report can be long, classes many.
    by_length = sorted(table.findings, key=lambda finding: -len(encode(finding)))
    body = Report(
        table.k, table.classes, tuple(by_length[:most]), bytes(2 * rows), bytes(2 * cells),
        bytes(8 * cells), bytes(rows), bytes(2 * rows), table.profile, table.method,
    )  # fmt: skip
    return len(encode_body(body))


def most_rows(table: Published) -> int:
    """Most rows of a job: those whose job, answer and report each fit into a frame."""
    texts = sum(len(label.encode()) + len(advice.encode()) for label, advice in table.findings)
    row = 10 * len(table.findings) + 5
    return max(1, min(table.retrieval.most, (content_cap(Kind.REPORT) - 2 * texts) // row))


def listed(disease: str, table: Published) -> Entry:
    """Return what everybody is told of a table.

    Raises
    ------
    SchemaError
        If a text of it cannot be shown to everybody.
    """
    most = most_rows(table)
    return Entry.of(
        disease,
        table.schema,
        profile=table.profile,
        method=table.method,
        k=table.k,
        # It depends on how long the advice is, which is for users only.
        most_rows=most if most == MAX_BATCH else 1 << most.bit_length() - 1,
        epsilon=table.epsilon,
    )
