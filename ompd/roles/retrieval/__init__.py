"""The hospital's secret side of one published table, per profile.

A module each for `paper`, `hardened` and `sealed`. All of them turn records into vectors of
integers and these into a body for the cloud, and the cloud's body into the votes of the nearest
instances; what the cloud learns on the way is what tells them apart. A new profile is one more
module with a `Retrieval`, and its line in `PROFILES`.
"""

from ompd.roles.retrieval.contract import Edit, Made, Neighbours, Retrieval, TableRef, Way
from ompd.roles.retrieval.hardened import HardenedRetrieval
from ompd.roles.retrieval.paper import PaperRetrieval
from ompd.roles.retrieval.sealed import SealedRetrieval

#: The hospital's side of every profile, by its name.
PROFILES: dict[str, type[Retrieval]] = {
    each.profile: each for each in (SealedRetrieval, HardenedRetrieval, PaperRetrieval)
}

__all__ = [
    "PROFILES",
    "Edit",
    "HardenedRetrieval",
    "Made",
    "Neighbours",
    "PaperRetrieval",
    "Retrieval",
    "SealedRetrieval",
    "TableRef",
    "Way",
]
