"""The published method and the better one."""

from __future__ import annotations

import sys

from ompd.arrays import F64, I64
from ompd.encode import EvidenceEncoder, ReliefEncoder
from ompd.estimator.base import NeighborClassifier
from ompd.params import PAPER
from ompd.schema import Schema
from ompd.search import check_k
from ompd.search.calibration import Priors
from ompd.search.decision import Decision


class ReliefMWClassifier(NeighborClassifier):
    """K nearest neighbours under the Relief-Wasserstein distance, the faithful method.

    With ``decision="majority"`` it is the source paper's classifier.

    Parameters
    ----------
    n_neighbors : int, default=9
        K, odd. Fewer vote where there are fewer instances.
    schema : Schema, optional
        Declared features; their order matters and values outside a domain are refused. Columns
        with names are found by them, in any order. NaN stands for a missing value of features that
        declare what becomes of it, and is refused elsewhere. By default every column is numeric
        with the range of the training data as its domain, and values outside are moved to its
        nearer end. Its class names are not used: labels are those of `y`.
    keep_negative : bool, default=False
        Keep negative Relief weights instead of setting them to 0.
    priors : {"equal", "training"}, default="equal"
        For decision and probabilities: are all classes equally likely, or as frequent as in
        training?
    decision : {"probability", "majority"}, default="probability"
        Is a label the class of highest calibrated probability, or of most votes? The shares of
        the votes are then the probabilities, and `priors` means nothing.
    n_jobs : int, optional
        Threads of searches, also in `fit`: -1 for all processors. By default the environment
        variable ``OMPD_THREADS`` says how many, else all are used. Nothing but time depends on it.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    filling_ : Filling
        What stands for missing values.
    encoder_ : ReliefEncoder
        Learned integer weights and the domains.
    table_ : LimbTable
        The encoded instances.
    n_neighbors_ : int
        K that is used.
    rule_ : Rule
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features_in_,)
        If all columns had names in `fit`; with a schema in its order.

    Notes
    -----
    Source: "OMPD" without blinding, Algorithm 1 and Definition 1 of the source paper.
    """

    _method = "relief-mw"

    def __init__(
        self,
        n_neighbors: int = 9,
        *,
        schema: Schema | None = None,
        keep_negative: bool = False,
        priors: Priors = "equal",
        decision: Decision = "probability",
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.schema = schema
        self.keep_negative = keep_negative
        self.priors = priors
        self.decision = decision
        self.n_jobs = n_jobs

    def _learn(self, schema: Schema, X: F64, codes: I64) -> tuple[I64, int]:
        neighbors = check_k(self.n_neighbors, sys.maxsize)
        self.encoder_ = ReliefEncoder.fit(
            schema,
            X,
            codes,
            weight_bits=PAPER.weight_bits,
            feature_bits=PAPER.feature_bits,
            keep_negative=self.keep_negative,
        )
        return self.encoder_.encode(X), neighbors


class EvidenceClassifier(NeighborClassifier):
    """K nearest neighbours in evidence that several learners agree on.

    Parameters
    ----------
    n_neighbors : int, optional
        K, odd. By default the encoder chooses it within the training data.
    schema : Schema, optional
        Declared features; values outside a domain are refused, and nominal features are
        treated as such. Columns with names are found by them, in any order. NaN stands for a
        missing value of features that declare what becomes of it, and is refused elsewhere. By
        default every column is numeric with the range of the training data as its domain, and
        values outside are moved to its nearer end. Its class names are not used: labels are those
        of `y`.
    priors : {"equal", "training"}, default="equal"
        For decision and probabilities: are all classes equally likely, or as frequent as in
        training?
    decision : {"probability", "majority"}, default="probability"
        As of `ReliefMWClassifier`.
    seed : int, default=0
        Of folds and learners; the same seed gives the same classifier.
    n_jobs : int, optional
        Threads of searches, also in `fit`: -1 for all processors. By default the environment
        variable ``OMPD_THREADS`` says how many, else all are used. Nothing but time depends on it.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    filling_ : Filling
        What stands for missing values.
    encoder_ : EvidenceEncoder
    table_ : LimbTable
        The encoded instances.
    n_neighbors_ : int
        K that is used.
    rule_ : Rule
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features_in_,)
        If all columns had names in `fit`; with a schema in its order.
    """

    _method = "evidence"

    def __init__(
        self,
        n_neighbors: int | None = None,
        *,
        schema: Schema | None = None,
        priors: Priors = "equal",
        decision: Decision = "probability",
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.schema = schema
        self.priors = priors
        self.decision = decision
        self.seed = seed
        self.n_jobs = n_jobs

    def _learn(self, schema: Schema, X: F64, codes: I64) -> tuple[I64, int]:
        given = None if self.n_neighbors is None else check_k(self.n_neighbors, sys.maxsize)
        self.encoder_ = EvidenceEncoder.fit(schema, X, codes, seed=self.seed)
        return self.encoder_.instances, given or self.encoder_.neighbors
