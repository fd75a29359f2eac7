"""Coordinates that are evidence for the classes, learned from the table's own rows.

`columns` makes matrices of the features, `learners` trains on them, `models` is what stays of the
learners, `stacking` weighs them, `encoder` makes integers of the result, `storage` makes bytes of
their arrays.
"""

from ompd.encode.evidence.encoder import EvidenceEncoder

__all__ = ["EvidenceEncoder"]
