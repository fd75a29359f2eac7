"""The hospital's secret side of one published table, per profile.

A module each for `paper`, `hardened` and `sealed`. All of them turn vectors of integers into a
body for the cloud, and the cloud's body into the votes of the nearest instances; what the cloud
learns on the way is what tells them apart.
"""

from ompd.roles.retrieval.blinded import BlindedRetrieval
from ompd.roles.retrieval.bucketed import BucketRetrieval
from ompd.roles.retrieval.contract import Neighbours, Place, Retrieval
from ompd.roles.retrieval.ring import RingRetrieval

__all__ = [
    "BlindedRetrieval",
    "BucketRetrieval",
    "Neighbours",
    "Place",
    "Retrieval",
    "RingRetrieval",
]
