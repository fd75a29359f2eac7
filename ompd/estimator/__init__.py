"""The classifiers of the blinded protocol, without the blinding, for scikit-learn.

Both use the integers and the search of the protocol, so plain and blinded runs predict alike.
"""

from __future__ import annotations

from ompd.estimator.classifiers import EvidenceClassifier, ReliefMWClassifier

__all__ = ["EvidenceClassifier", "ReliefMWClassifier"]
