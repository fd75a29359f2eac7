"""The hospital's side of the experiments: makes what the cloud gets, and keeps the truth.

This is the only module of the audit that touches encoders, keys and records. Attacks never import
it; what they may know is handed to them as views, public facts and declared side knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np

from ompd.arrays import I64
from ompd.audit.hardened import Insider
from ompd.audit.views import HardenedView, PaperView, Population, Public
from ompd.blind import (
    HardenedKey,
    LaplaceNoise,
    PaperKey,
    blind_queries,
    blind_table,
    epsilon_per_unit,
)
from ompd.datasets import Dataset
from ompd.encode import CoarseEncoder, ReliefEncoder, choose_step, scale_features
from ompd.errors import DatasetError
from ompd.params import PAPER
from ompd.wire import HardenedJob, HardenedUpload, PaperJob, PaperUpload, pack_limbs

#: Held out of each class for queries, where the classes are large enough.
_HELD_OUT = 100
#: Rows of each class that split and weights need, and rows at which a part of them is enough.
_FEWEST, _MOST = 4, 2000
_TABLE_ID = bytes(16)
#: Neighbours for which the coarse step must cost nothing.
_K = 9


def trained(table: Dataset) -> ReliefEncoder:
    """Learn weights as `Hospital` does."""
    return ReliefEncoder.fit(
        table.schema,
        table.features,
        table.labels,
        weight_bits=PAPER.weight_bits,
        feature_bits=PAPER.feature_bits,
    )


def made_coarse(encoder: ReliefEncoder, table: Dataset) -> CoarseEncoder:
    """Choose the step as `Hospital` does."""
    k = min(_K, len(table) - 1)
    classes = len(table.schema.classes)
    step = choose_step(encoder.encode(table.features), table.labels, classes, k)
    return CoarseEncoder(encoder, step)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Records:
    """A hospital's records, split into a table and queries, with what is public of them.

    Attributes
    ----------
    table, queries : Dataset
    encoder : ReliefEncoder
    population : Population
        Of the table itself: no attacker can know class-wise frequencies better.
    public : Public
    """

    table: Dataset
    queries: Dataset
    encoder: ReliefEncoder
    population: Population
    public: Public

    @classmethod
    def of(cls, data: Dataset, seed: int) -> Self:
        """Split the records and learn the weights on the table.

        Of more than 2000 records a random part is taken, classes in proportion.

        Raises
        ------
        DatasetError
            If a class has fewer than four rows.
        TrainingError
            If there is one class only.
        """
        smallest = min(data.class_rows)
        if smallest < _FEWEST:
            raise DatasetError(f"table: expected at least {_FEWEST} rows of each class")
        data = _part(data, seed)
        smallest = min(data.class_rows)
        table, queries = data.split(min(_HELD_OUT, smallest // 2), seed)
        encoder = trained(table)
        population = Population.of(table.schema, table.features, table.labels)
        public = Public(table.schema, PAPER.feature_bits, population.modes)
        return cls(table, queries, encoder, population, public)

    def outsider(self) -> Population:
        """What the queries' records alone tell of such patients, were they public."""
        public = self.queries
        return Population.of(public.schema, public.features, public.labels)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.table.schema.classes)

    @property
    def kept(self) -> I64:
        """Features that blinded values contain: those of a weight above 0."""
        return np.flatnonzero(np.array(self.encoder.weights))

    def rarest(self) -> I64:
        """Return the tenth of the table's rows whose nearest other record is the farthest."""
        vectors, names = self.encoder.encode(self.table.features), self.names()[0]
        nearest = [
            np.abs(vectors[names != name] - vector).sum(axis=1).min(initial=1 << 62)
            for vector, name in zip(vectors, names, strict=True)
        ]
        return np.argsort(nearest, kind="stable")[-max(1, len(names) // 10) :]

    def names(self) -> tuple[I64, I64]:
        """Name the records of table and queries; equal names, equal kept features."""
        table = self.table.features
        both = np.concatenate([table, self.queries.features])[:, self.kept]
        _, names = np.unique(both, axis=0, return_inverse=True)
        names = names.reshape(-1)
        return names[: len(table)], names[len(table) :]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PaperScene:
    """A table and its queries under the `paper` profile.

    Attributes
    ----------
    records : Records
    key : PaperKey
    view : PaperView
    """

    records: Records
    key: PaperKey
    view: PaperView

    @classmethod
    def of(cls, records: Records) -> Self:
        """Blind as `Hospital` does and keep the bodies of its frames."""
        encoder = records.encoder
        coordinates = encoder.coordinates + 2
        key = PaperKey.generate(PAPER, coordinates, encoder.largest)
        values = blind_table(key, encoder.encode(records.table.features))
        points = blind_queries(key, encoder.encode(records.queries.features))
        upload = PaperUpload(
            table_id=_TABLE_ID,
            version=1,
            modulus=key.modulus.to_bytes(-(-key.modulus.bit_length() // 8), "little"),
            coordinates=coordinates,
            limbs=PAPER.limbs,
            classes=records.classes,
            k=1,
            rows=len(values),
            first=0,
            labels=records.table.labels.astype("<u2").tobytes(),
            values=values.astype("<u8", copy=False).tobytes(),
        )
        job = PaperJob(
            table_id=_TABLE_ID,
            version=1,
            rows=len(records.queries),
            points=pack_limbs(points.points, key.modulus),
            tokens=pack_limbs(points.tokens, key.modulus),
        )
        return cls(records, key, PaperView.of(upload, [job]))

    def undone_by(self, scalars: list[int]) -> float:
        """Return the share of queries whose blinding these scalars undo."""
        view, key = self.view, self.key
        sums = self.records.encoder.encode(self.records.queries.features)
        right = 0
        for point, scalar, expected in zip(view.points, scalars, sums, strict=True):
            inverse = pow(scalar, -1, key.modulus)
            values = [int.from_bytes(limbs.tobytes(), "little") for limbs in point[2:]]
            found = [value * inverse % key.modulus // key.multiplier for value in values]
            right += found == expected.tolist()
        return right / len(scalars)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HardenedScene:
    """A table and its queries under the `hardened` profile.

    Attributes
    ----------
    records : Records
    view : HardenedView
    insider : Insider
        What an attacker knows to whom the encoder was betrayed.
    """

    records: Records
    view: HardenedView
    insider: Insider

    @classmethod
    def of(
        cls,
        records: Records,
        *,
        coarse: bool = True,
        epsilon: float | None = None,
        repeats: int = 1,
        memoised: bool = True,
    ) -> Self:
        """Blind as `Hospital` does and keep the bodies of its frames.

        Parameters
        ----------
        records : Records
        coarse : bool
            Integers as coarse as costs no accuracy, or as fine as in the `paper` profile.
        epsilon : float, optional
            Noise, per median distance of two records; none by default.
        repeats : int
            How often each query is asked, in a row.
        memoised : bool
            The product's noise, the same for a repeated query. False draws fresh noise each time,
            which no option of the product does: the control for the attack by averaging.
        """
        table = records.table
        fine = records.encoder
        encoder = made_coarse(fine, table) if coarse else CoarseEncoder(fine, 1)
        rows = encoder.encode(table.features)
        asked = np.repeat(encoder.encode(records.queries.features), repeats, axis=0)
        per_unit = None
        if epsilon is not None:
            per_unit = epsilon_per_unit(epsilon, rows)
            rows, asked = _noisy(rows, asked, per_unit, repeats, memoised)
        key = HardenedKey.generate(encoder.coordinates)
        view = hardened_view(key, records.classes, table.labels, rows, asked)
        return cls(records, view, insider_of(encoder, records.population, per_unit))


def hardened_view(
    key: HardenedKey, classes: int, labels: I64, rows: I64, asked: I64
) -> HardenedView:
    """Blind a table and its queries as `Hospital` does, and read them as the cloud does."""
    upload = HardenedUpload(
        table_id=_TABLE_ID,
        version=1,
        coordinates=key.coordinates,
        classes=classes,
        k=1,
        rows=len(rows),
        first=0,
        labels=labels.astype("<u2").tobytes(),
        values=key.blind(rows).astype("<u8", copy=False).tobytes(),
    )
    points = key.blind(asked).astype("<u8", copy=False).tobytes()
    job = HardenedJob(table_id=_TABLE_ID, version=1, rows=len(asked), points=points)
    return HardenedView.of(upload, [job])


def _part(data: Dataset, seed: int) -> Dataset:
    if len(data) <= _MOST:
        return data
    rng = np.random.default_rng(seed)
    chosen = []
    for code, rows in enumerate(data.class_rows):
        wanted = max(min(rows, 10 * _FEWEST), rows * _MOST // len(data))
        chosen.append(rng.choice(np.flatnonzero(data.labels == code), wanted, replace=False))
    return data.take(np.sort(np.concatenate(chosen)))


def _noisy(
    rows: I64, asked: I64, per_unit: Fraction, repeats: int, memoised: bool
) -> tuple[I64, I64]:
    noise = LaplaceNoise.generate(per_unit)
    noisy_rows = noise.instances(rows)
    if memoised:
        return noisy_rows, noise.queries(asked)
    fresh = asked.copy()
    for start in range(repeats):
        fresh[start::repeats] = LaplaceNoise.generate(per_unit).queries(asked[start::repeats])
    return noisy_rows, fresh


def insider_of(
    encoder: CoarseEncoder, population: Population, per_unit: Fraction | None = None
) -> Insider:
    """What every value of the population's grids adds to a coarse prefix sum."""
    assert isinstance(encoder.base, ReliefEncoder)  # noqa: S101  (the audit attacks no other)
    longest = max(len(grid) for grid in population.values)
    # One row per place in the grids; a shorter grid stays at its end.
    columns = [grid[np.minimum(np.arange(longest), len(grid) - 1)] for grid in population.values]
    scaled = scale_features(np.stack(columns, axis=1), encoder.schema, PAPER.feature_bits)
    moves = scaled * np.array(encoder.base.weights) / encoder.step
    steps = tuple(moves[: len(grid), j] for j, grid in enumerate(population.values))
    return Insider(population, steps, None if per_unit is None else float(per_unit))
