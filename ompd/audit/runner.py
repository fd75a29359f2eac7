"""Announces, times and scores attacks on one hospital's records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit import hardened, scoring
from ompd.audit.report import Result
from ompd.audit.scenes import Records
from ompd.audit.scoring import Score
from ompd.audit.views import HardenedView

#: Draws of known rows over which an attack is averaged.
_DRAWS = 10

Progress = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs the attacks of one profile.

    Parameters
    ----------
    profile : str
    records : Records
    progress : callable
        Called with the name of each attack before it runs.
    """

    profile: str
    records: Records
    progress: Progress

    def run(
        self,
        attack: str,
        meaning: str,
        call: Callable[[], T],
        score: Callable[[T], Score],
        *,
        control: bool = False,
    ) -> Result:
        """Time `call` and score what it returns; nothing else is timed."""
        self.progress(f"{self.profile}: {attack.replace('_', ' ')}")
        begin = time.perf_counter()
        found = call()
        seconds = time.perf_counter() - begin
        return Result(self.profile, attack, meaning, *score(found), seconds, control)

    def known_rows(
        self,
        attack: str,
        meaning: str,
        known: int,
        seed: int,
        call: Callable[[I64, F64], F64],
        *,
        draws: int = _DRAWS,
        by_class: bool = False,
    ) -> Result:
        """Average over draws of known rows, which do not count themselves."""
        table = self.records.table
        rng = np.random.default_rng(seed)
        most = min(known, len(table) - 1)
        chosen = [rng.choice(len(table), most, replace=False) for _ in range(draws)]

        def score(guesses: list[F64]) -> Score:
            scores = []
            for rows, guess in zip(chosen, guesses, strict=True):
                others = np.setdiff1d(np.arange(len(table)), rows)
                population = self.records.population
                usual = population.modes_within(table.labels) if by_class else population.modes
                usual = np.broadcast_to(usual, guess.shape)
                scores.append(self._cells(guess[others], table.features[others], usual[others]))
            recovered, baseline = np.mean(scores, axis=0)
            return float(recovered), float(baseline)

        result = self.run(
            attack, meaning, lambda: [call(rows, table.features[rows]) for rows in chosen], score
        )
        return Result(
            self.profile, attack, meaning, result.recovered, result.baseline,
            result.seconds / draws,
        )  # fmt: skip

    def linking(self, call: Callable[[], tuple[I64, I64]]) -> Iterator[Result]:
        """Score the names that an attack gives to rows and queries, within and across."""
        truth = self.records.names()
        yield self.run(
            "equal_records_linked",
            "which rows are the same record: F1 score of pairs",
            call,
            lambda names: scoring.links(names[0], truth[0]),
        )
        yield self.run(
            "queries_linked_to_records",
            "which rows equal a query: F1 score of pairs",
            call,
            lambda names: scoring.links_between(names, truth),
        )

    def score_table(self, guess: F64) -> Score:
        """Score the table's cells; the baseline knows each feature's usual value."""
        return self._cells(guess, self.records.table.features, self.records.population.modes)

    def score_queries(self, guess: F64) -> Score:
        """Score the queries' cells, beside the table's usual values."""
        return self._cells(guess, self.records.queries.features, self.records.population.modes)

    def score_table_by_class(self, guess: F64) -> Score:
        """Score the table's cells; the baseline knows usual values within a class."""
        table = self.records.table
        usual = self.records.population.modes_within(table.labels)
        return self._cells(guess, table.features, usual)

    def score_queries_by_class(self, guess: F64, view: HardenedView, repeats: int = 1) -> Score:
        """Score queries; their class is what their neighbours vote for, to the baseline too."""
        votes = hardened.voted(view, self.records.classes)[::repeats]
        usual = self.records.population.modes_within(votes)
        return self._cells(guess, self.records.queries.features, usual)

    def _cells(self, guess: F64, truth: F64, usual: F64) -> Score:
        return scoring.cells(self.records.table.schema, self.records.kept, guess, truth, usual)
