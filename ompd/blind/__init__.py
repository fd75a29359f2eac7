"""From integers to blinded integers: the hospital's secret.

`ompd.search.conversion` brings queries back to the table's scale for the cloud and knows nothing
of the key.
"""

from ompd.blind.keys import BlindingKey
from ompd.blind.table import PADDING, BlindedQueries, blind_queries, blind_table

__all__ = [
    "PADDING",
    "BlindedQueries",
    "BlindingKey",
    "blind_queries",
    "blind_table",
]
