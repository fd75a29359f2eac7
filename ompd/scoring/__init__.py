"""Scores of an additive model under encryption: the hospital sees no query, its user no weight.

A user seals in which cell each feature lies, as ones among the slots of a ciphertext (`Layout`).
The hospital multiplies by its weights and by what turns every malformed query into noise (`masks`),
and sends back what only the user can open: slots that tell nothing but their sums.
"""

from ompd.scoring.keys import PublicKey, Query, SecretKey
from ompd.scoring.layout import Layout
from ompd.scoring.scores import FLOOD_BITS, reply

__all__ = ["FLOOD_BITS", "Layout", "PublicKey", "Query", "SecretKey", "reply"]
