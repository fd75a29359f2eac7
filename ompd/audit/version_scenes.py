"""The hospital's side of experiments with several versions of one `hardened` table."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ompd.arrays import I64
from ompd.audit.hardened import Insider
from ompd.audit.scenes import Records, hardened_view, insider_of, made_coarse, trained
from ompd.audit.views import HardenedView, Population
from ompd.blind import HardenedKey, LaplaceNoise, epsilon_per_unit
from ompd.encode import Filling
from ompd.errors import TrainingWarning
from ompd.roles.frozen import noise_key_of


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class VersionsScene:
    """Versions of a table, each with one new patient more than the one before.

    Attributes
    ----------
    records : Records
        The table is what all versions begin with.
    views : tuple of HardenedView
    insiders : tuple of Insider
    """

    records: Records
    views: tuple[HardenedView, ...]
    insiders: tuple[Insider, ...]

    @classmethod
    def of(
        cls,
        records: Records,
        versions: int,
        *,
        retrained: bool,
        epsilon: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Publish as `Hospital` does.

        Parameters
        ----------
        records : Records
        versions : int
            Of a table so small that nobody can come later, all have the same records.
        retrained : bool
            Whether each version is trained anew, or keeps what the first one chose.
        epsilon : float, optional
        seed : int
            Who comes later.
        """
        order, first = _newest_last(records, versions, seed)
        everyone = records.table.take(order)
        secret = np.random.default_rng().bytes(32)
        views, insiders = [], []
        encoder = unit = key = None
        for version in range(versions):
            part = everyone.take(np.arange(min(first + version, len(everyone))))
            if encoder is None or key is None or retrained:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", TrainingWarning)
                    encoder = made_coarse(trained(part), part)
                unit = epsilon and epsilon_per_unit(epsilon, encoder.encode(part.features))
                key = HardenedKey.generate(encoder.coordinates)
            rows, asked = (encoder.encode(each.features) for each in (part, records.queries))
            if unit:
                filling = Filling.learn(part.schema, part.features)
                noise = LaplaceNoise(noise_key_of(filling, encoder, secret), unit)
                # Whose row it is, not where in the table, decides about its noise.
                rows = noise.instances(rows, [str(row) for row in order[: len(part)]])
                asked = noise.queries(asked)
            views.append(hardened_view(key, records.classes, part.labels, rows, asked))
            population = Population.of(part.schema, part.features, part.labels)
            insiders.append(insider_of(encoder, population, unit or None))
        common = replace(records, table=everyone.take(np.arange(first)))
        return cls(common, tuple(views), tuple(insiders))


def _newest_last(records: Records, versions: int, seed: int) -> tuple[I64, int]:
    """Put those last who come later, and count the others; of every class some are there."""
    labels = records.table.labels
    rng = np.random.default_rng(seed)
    fewest = [rng.permutation(np.flatnonzero(labels == code))[:2] for code in np.unique(labels)]
    later = np.setdiff1d(np.arange(len(labels)), np.concatenate(fewest))
    newest = rng.permutation(later)[: min(versions - 1, len(later) // 2)]
    others = np.setdiff1d(np.arange(len(labels)), newest)
    return np.concatenate([others, newest]), len(others)
