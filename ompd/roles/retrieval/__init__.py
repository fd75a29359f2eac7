"""The hospital's secret side of one published table, per profile.

A module each for `paper`, `hardened` and `sealed`. All of them turn vectors of integers into a
body for the cloud, and the cloud's body into the votes of the nearest instances; what the cloud
learns on the way is what tells them apart.
"""

from ompd.roles.retrieval.contract import Neighbours, Retrieval, TableRef
from ompd.roles.retrieval.hardened import HardenedRetrieval
from ompd.roles.retrieval.paper import PaperRetrieval
from ompd.roles.retrieval.sealed import SealedRetrieval

__all__ = [
    "HardenedRetrieval",
    "Neighbours",
    "PaperRetrieval",
    "Retrieval",
    "SealedRetrieval",
    "TableRef",
]
