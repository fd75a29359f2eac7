"""Classification through the blinded protocol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.datasets import Dataset
from ompd.encode import ReliefEncoder
from ompd.estimator import ReliefMWClassifier
from ompd.params import PAPER
from ompd.roles import Cloud, Hospital, User, introduce
from ompd.search import LimbTable, classify, compute, tally, vote
from ompd.search.conversion import Modulus, convert


@dataclass(frozen=True)
class Case:
    """A table and queries as the cloud holds them."""

    table: LimbTable
    points: np.ndarray
    tokens: np.ndarray
    modulus: Modulus

    def classify(self, k: int, queries: slice = slice(None)) -> np.ndarray:
        """All of the cloud's work on one thread: conversion, search, vote."""
        return classify(
            self.table, self.points[queries], self.tokens[queries], self.modulus, k, threads=1
        )

    def neighbours(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rows of the k nearest of every query."""
        queries = convert(self.points, self.tokens, self.modulus, threads=1)
        return compute(self.table, queries, k, threads=1)

    def votes(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Class counts among the k nearest of every query, and the class that leads."""
        distances, rows = self.neighbours(k)
        return tally(self.table, rows), vote(self.table, distances, rows)


def blind(
    instances: np.ndarray, points: np.ndarray, largest: int, labels: np.ndarray, classes: int
) -> Case:
    """Blind integer vectors from 0 to `largest` under a fresh key of the paper's sizes."""
    key = PaperKey.generate(PAPER, instances.shape[1] + PADDING, largest)
    table = LimbTable(blind_table(key, instances, threads=1), labels, classes)
    sent = blind_queries(key, points)
    return Case(table, sent.points, sent.tokens, Modulus.of(key.modulus, PAPER.limbs))


def encoded(encoder, train: Dataset, points: np.ndarray) -> Case:
    """Blind a training table and feature vectors under an encoder's integers."""
    return blind(
        encoder.encode(train.features),
        encoder.encode(points),
        encoder.largest,
        train.labels,
        len(train.schema.classes),
    )


def unweighted(schema) -> ReliefEncoder:
    """OMPD-MW: the same scheme with all weights 1."""
    bits = PAPER.weight_bits
    return ReliefEncoder(schema, (1 << bits,) * len(schema.features), bits, PAPER.feature_bits)


def protocol(train: Dataset, test: Dataset, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers by way of user, hospital and cloud: encrypted and signed frames in every leg.

    Returns
    -------
    codes : ndarray of shape (m,)
        The majority's class.
    probabilities : ndarray of shape (m,)
        Of class 1, as the hospital calibrates these votes where the majority does not decide.
    """
    hospital = Hospital.create("hospital", profile="paper")
    cloud, user = Cloud.create("cloud"), User.create("user")
    introduce(hospital, cloud, user)
    hospital.deliver(hospital.publish("disease", train, cloud="cloud", k=k), cloud.store)
    query = user.ask("hospital", "disease", test.features)
    diagnoses = user.read(hospital.report(cloud.answer(hospital.forward(query))))
    codes = train.schema.codes([diagnosis.label for diagnosis in diagnoses])
    votes = np.array([list(diagnosis.votes.values()) for diagnosis in diagnoses])
    plain = ReliefMWClassifier(k, schema=train.schema).fit(train.features, train.labels)
    return codes, plain.calibration_.probabilities(votes)[:, 1]
