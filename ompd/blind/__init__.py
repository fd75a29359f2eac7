"""From integers to blinded integers: the hospital's secrets.

`PaperKey` blinds as the source paper does, `HardenedKey` as the `hardened` profile, for which
`LaplaceNoise` makes the integers themselves uncertain. What the cloud needs to work on the results,
`ompd.search.conversion` and `ompd.search.words`, knows nothing of the keys.
"""

from ompd.blind.hardened import HardenedKey
from ompd.blind.keys import PaperKey
from ompd.blind.laplace import LaplaceNoise, epsilon_per_unit
from ompd.blind.paper import PADDING, BlindedQueries, blind_queries, blind_table

__all__ = [
    "PADDING",
    "BlindedQueries",
    "HardenedKey",
    "LaplaceNoise",
    "PaperKey",
    "blind_queries",
    "blind_table",
    "epsilon_per_unit",
]
