"""From integers to blinded integers and back into the cloud's scale.

`BlindingKey` is the hospital's secret. `convert` is all that the cloud needs and knows nothing
of the key, so it lives in a module of its own.
"""

from ompd.blind.convert import Modulus, convert
from ompd.blind.keys import BlindingKey
from ompd.blind.table import PADDING, BlindedQueries, blind_queries, blind_table

__all__ = [
    "PADDING",
    "BlindedQueries",
    "BlindingKey",
    "Modulus",
    "blind_queries",
    "blind_table",
    "convert",
]
