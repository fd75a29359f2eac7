"""From integers to blinded integers: the hospital's secrets.

`BlindingKey` blinds as the source paper does, `RingKey` as the `hardened` profile, for which
`LaplaceNoise` makes the integers themselves uncertain. What the cloud needs to work on the results,
`ompd.search.conversion` and `ompd.search.ring`, knows nothing of the keys.
"""

from ompd.blind.keys import BlindingKey
from ompd.blind.laplace import LaplaceNoise, epsilon_per_unit
from ompd.blind.ring import RingKey
from ompd.blind.table import PADDING, BlindedQueries, blind_queries, blind_table

__all__ = [
    "PADDING",
    "BlindedQueries",
    "BlindingKey",
    "LaplaceNoise",
    "RingKey",
    "blind_queries",
    "blind_table",
    "epsilon_per_unit",
]
