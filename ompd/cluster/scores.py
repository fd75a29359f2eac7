"""Rows scored on a cluster: the same function for Ray Data and for Spark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ompd.bulk.rows import rows_of
from ompd.bulk.score import Judge, found_of
from ompd.cluster.rays import connect
from ompd.datasets import Dataset
from ompd.errors import BackendUnavailableError, ClusterError, ParameterError
from ompd.roles import Diagnoses
from ompd.roles.asking import id_array
from ompd.schema import Schema
from ompd.threads import at_most

#: Rows of a batch: enough for threads, and little memory.
BATCH_ROWS = 1 << 16


class Scorer:
    """Diagnoses batches of rows by a classifier, without parties, as ``ompd score`` does.

    Learns in each process from the records that travel with it, which gives the same everywhere.

    Parameters
    ----------
    records : Dataset
    schema : Schema, optional
        How the rows are written; by default as the records are.
    method, k
        As for `Hospital.publish`.
    id : str, optional
        Name of the column of ids; by default that of the schema.

    Raises
    ------
    ParameterError
        If the method is not possible.
    BackendUnavailableError
        If scikit-learn is not installed.
    """

    def __init__(
        self,
        records: Dataset,
        schema: Schema | None = None,
        *,
        method: str = "relief-mw",
        k: int | None = None,
        id: str | None = None,
    ) -> None:
        if method not in ("relief-mw", "evidence"):
            raise ParameterError("method: expected 'relief-mw' or 'evidence'")
        _learner()
        self._records = records
        self._schema = schema or records.written
        self._options = method, k
        self._id = id
        self._judge: Judge | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was learned where it is."""
        return self.__dict__ | {"_judge": None}

    def __call__(self, batch: Any) -> Any:
        """Diagnose a batch.

        Parameters
        ----------
        batch : pandas DataFrame, Arrow table, or mapping of columns
            Features by their names; others are let be.

        Returns
        -------
        Arrow table
            As `Diagnoses.to_arrow`: a row each in the same order, with ids if there are; what
            cannot be diagnosed has the reason in `error`.

        Raises
        ------
        FeatureError
            If a feature has no column.
        NeighborsError, TrainingError
            If the records do not allow K, or nothing can be learned from them.
        """
        return self._diagnosed(batch).to_arrow()

    def frames(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Diagnose pandas frames one after the other, as Spark's `mapInPandas` hands them over."""
        for batch in batches:
            yield self(batch).to_pandas()

    @property
    def columns(self) -> dict[str, str]:
        """Names of all that is told of a row, and their types as Spark calls them."""
        columns = {} if self._id_column is None else {"id": "string"}
        columns |= {"label": "string"}
        for title, kind in (("p", "double"), ("votes", "int")):
            columns |= {f"{title}({name})": kind for name in self._records.schema.classes}
        return columns | {"certified": "boolean", "filled": "int", "error": "string"}

    @property
    def ddl(self) -> str:
        """The columns as `mapInPandas` takes them."""
        return ", ".join(f"`{name}` {kind}" for name, kind in self.columns.items())

    @property
    def _id_column(self) -> str | None:
        table = self._schema.table
        return self._id or (None if table is None else table.id)

    def _diagnosed(self, batch: Any) -> Diagnoses:
        # The others of its machine have their own processes.
        with at_most(1):
            if self._judge is None:
                self._judge = _learner()(self._records, *self._options)
            ids = None if self._id is None else id_array(batch[self._id])
            rows = rows_of(batch, self._schema, "collect", ids)
            if rows.ids is not None:
                # As they are read from files.
                rows = rows._replace(ids=rows.ids.astype(np.str_))
            return found_of(rows, self._judge, self._records.schema.classes)

    def __repr__(self) -> str:
        return f"<Scorer for {len(self._records.schema.classes)} classes>"


def score(
    dataset: Any,
    records: Dataset,
    schema: Schema | None = None,
    *,
    method: str = "relief-mw",
    k: int | None = None,
    id: str | None = None,
    pool: int | None = None,
) -> Any:
    """Diagnose all rows of a Ray dataset, lazily as Ray Data does.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With a column for each feature.
    records, schema, method, k, id
        As for `Scorer`.
    pool : int, optional
        Actors that score, each on a processor: fewer than there are, since with as many nothing is
        left to read and to write, and all wait for ever. By default all but one.

    Returns
    -------
    ray.data.Dataset
        The columns of `Scorer`. Rows are in the order of the blocks that are done first: use `id`.

    Raises
    ------
    ClusterError
        If the pool is not smaller than the number of processors, or the cluster cannot be used.
    BackendUnavailableError, ParameterError
        If Ray is not installed, or as `Scorer`.
    """
    ray = connect(None)
    processors = int(ray.cluster_resources().get("CPU", 0))
    if processors < 2:
        raise ClusterError("cluster: expected at least two processors, one to read and write")
    pool = processors - 1 if pool is None else pool
    if type(pool) is not int or not 1 <= pool < processors:
        raise ClusterError(
            f"pool: expected fewer actors than the {processors} processors, got {pool}"
        )
    # In this process: what is not possible is told here.
    scorer = Scorer(records, schema, method=method, k=k, id=id)
    return dataset.map_batches(
        _Pooled,
        fn_constructor_args=(scorer,),
        batch_format="pyarrow",
        batch_size=BATCH_ROWS,
        compute=ray.data.ActorPoolStrategy(size=pool),
        num_cpus=1,
    )


def _learner() -> Any:
    try:
        from ompd.bulk.openly import openly
    except ImportError:
        raise BackendUnavailableError("scikit-learn: expected to be installed") from None
    return openly


class _Pooled:
    """What an actor of Ray Data calls: its pools need a class."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, batch: Any) -> Any:
        return self._scorer(batch)
