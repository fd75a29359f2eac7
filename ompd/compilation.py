"""Compile all kernels before the first patient waits for them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ompd.aggregate import warmup_aggregate
from ompd.blind import LaplaceNoise
from ompd.blind.keys import PaperKey
from ompd.blind.paper import blind_queries, blind_table
from ompd.datasets import warmup_reader
from ompd.encode import relief_weights
from ompd.images.warmup import warmup_images
from ompd.params import PAPER
from ompd.record.questionnaire.posterior import warmup_questionnaire
from ompd.sealed import Change, Layout, SealedTable, answer
from ompd.search import LimbTable, build_index, classify, compute, vote
from ompd.search.conversion import Modulus, convert
from ompd.search.parts import Boxes, Nearest
from ompd.signals.warmup import warmup_signals


def warmup() -> None:
    """Compile every kernel, or load it from the folder of compiled kernels.

    The first time on a machine this takes half a minute; afterwards about a second. A service
    calls it at start.
    """
    for part in PARTS:
        part()


def _search() -> None:
    sums = np.arange(8, dtype=np.int64).reshape(4, 2)
    labels = np.array([0, 1, 0, 1])
    key = PaperKey.generate(PAPER, 4, 16)
    limbs = PAPER.limbs
    table = LimbTable(blind_table(key, sums), labels, 2)
    sent = blind_queries(key, sums)
    modulus = Modulus.of(key.modulus, limbs)
    classify(table, sent.points, sent.tokens, modulus, 3)
    queries = convert(sent.points, sent.tokens, modulus)
    vote(table, *compute(table, queries, 3))
    table.extended(table.limbs[:1], labels[:1])
    boxes, found = Boxes.cut(table.index, 1), Nearest(4, 3, limbs + 1)
    found.add(np.arange(4), *compute(table, queries, 3))
    boxes.reachable(boxes.bounds(queries), found.farthest)
    found.ballots(table.labels, 2)
    # Enough rows to be split among threads.
    many = np.arange(5000, dtype=np.uint64).reshape(2500, 2, 1)
    build_index(many, threads=2)


def _encode() -> None:
    sums = np.arange(8, dtype=np.int64).reshape(4, 2)
    relief_weights(
        sums,
        np.array([0, 1, 0, 1]),
        classes=2,
        nominal=np.zeros(2, dtype=np.bool_),
        feature_bits=16,
        weight_bits=16,
    )
    LaplaceNoise.generate(Fraction(1)).queries(sums)


def _sealed() -> None:
    rows = np.arange(4000, dtype=np.int64).reshape(2000, 2)
    labels = np.arange(2000) % 2
    sealed, stored = SealedTable.build(rows, labels, 2, 3, changes=True)
    request, ticket = sealed.ask(rows[:1])
    sealed.read(ticket, answer(stored, sealed.layout, request))
    sealed.read(sealed.ask_whole(rows[:1]), stored.tobytes())
    none = labels[:0]
    sealed.edit(Change(none, none, none, 2000, rows[:1], labels[:1]), 1)
    sealed.read(sealed.ask_whole(rows[:1]), stored.tobytes())
    sealed.merged(stored)
    # Chunks of more than 256 buckets have offsets of another type.
    layout = Layout(2048, 64, 4, 512, 16, 1)
    many_rows = np.arange(8192, dtype=np.int64).reshape(4096, 2)
    sealed, stored = SealedTable.build(many_rows, np.arange(4096) % 2, 2, 3, layout=layout)
    request, ticket = sealed.ask(many_rows[:1])
    sealed.read(ticket, answer(stored, layout, request))


#: What the first two compile, the others do not need; nor the other way round.
PARTS: tuple[Callable[[], None], ...] = (
    _search,
    _encode,
    _sealed,
    warmup_reader,
    warmup_aggregate,
    warmup_images,
    warmup_questionnaire,
    warmup_signals,
)
