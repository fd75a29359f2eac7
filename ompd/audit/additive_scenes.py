"""A blind model that is asked: by honest queries, and by such as nobody should send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd.aggregate import Evaluator
from ompd.arrays import I64
from ompd.audit.scenes import Records
from ompd.encode import AdditiveModel
from ompd.params import SCORING
from ompd.scoring import FLOOD_BITS, Layout, PublicKey, Query, SecretKey, reply
from ompd.scoring.masks import masks
from ompd.scoring.replies import shortened


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AdditiveScene:
    """A hospital with a model, and a user with a key.

    Attributes
    ----------
    model : AdditiveModel
    layout : Layout
    key : SecretKey
    public : PublicKey
    """

    model: AdditiveModel
    layout: Layout
    key: SecretKey
    public: PublicKey

    @classmethod
    def of(cls, records: Records) -> Self:
        """Learn from the table, and make a key.

        Raises
        ------
        TooLargeError
            If the model does not fit.
        """
        table = records.table
        model = AdditiveModel.fit(
            table.schema, table.features, table.labels, most=SCORING.plain_modulus // 2
        )
        layout = Layout(model.bins.cells, len(table.schema.classes) - 1)
        key = SecretKey.generate()
        return cls(model, layout, key, PublicKey.from_bytes(key.public))

    def sealed(self, places: I64) -> bytes:
        """Encrypt one query, as its user does."""
        return self.key.seal(self.layout.indicators(places[np.newaxis]))

    def answered(self, places: I64) -> I64:
        """Return the scores of queries, each answered by the hospital."""
        most = self.layout.most_rows
        parts = [places[first : first + most] for first in range(0, len(places), most)]
        return np.concatenate(
            [self._scores(self.layout.indicators(part), len(part)) for part in parts]
        )

    def answered_for_single_cells(self, *, protected: bool = True) -> I64:
        """Return what a user gets for queries of one cell each and no other feature's.

        Parameters
        ----------
        protected : bool
            Whether malformed queries are multiplied into noise, as the profile always does.

        Returns
        -------
        int64 array of shape (classes - 1, width)
        """
        width, most = self.layout.width, self.layout.most_rows
        found = []
        for first in range(0, width, most):
            rows = min(most, width - first)
            slots = np.zeros(SCORING.degree, dtype=np.int64)
            grid = self.layout.grid(slots, rows)
            for row in range(rows):
                grid[row, :, first + row] = 1
            found.append(self._scores(slots, rows, protected=protected))
        return np.concatenate(found).T

    def _scores(self, slots: I64, rows: int, *, protected: bool = True) -> I64:
        query = Query.from_bytes(self.key.seal(slots), self.public)
        if protected:
            scores = reply(self.public, query, self.layout, self.model.weights, rows)
        else:
            scores = self._unprotected(query, rows)
        return self.key.open(scores, self.layout, rows)

    def _unprotected(self, query: Query, rows: int) -> bytes:
        """Reply with weights times slots, hidden by numbers that add up to nothing."""
        layout = self.layout
        linear, _, constant = masks(layout, np.zeros_like(self.model.weights), rows)
        layout.grid(linear, rows)[:] = self.model.weights
        own = layout.blocks(constant, rows)
        own[..., 0] = (own[..., 0] - own.sum(axis=2)) % SCORING.plain_modulus
        evaluator = Evaluator(self.public.key)
        products = evaluator.multiply_plain(query.cells, linear, bound=SCORING.plain_modulus - 1)
        finished = evaluator.finish(products, mask=constant, flood=FLOOD_BITS)
        return shortened(finished, layout, rows)
