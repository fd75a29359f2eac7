"""From features to exact integers: Relief weights, fixed point, prefix sums."""

from ompd.encode.coarse import CoarseEncoder, choose_step, coarsen
from ompd.encode.encoder import Encoder
from ompd.encode.evidence import EvidenceEncoder
from ompd.encode.fixed_point import ReliefEncoder, scale_features
from ompd.encode.relief import relief_weights

__all__ = [
    "CoarseEncoder",
    "Encoder",
    "EvidenceEncoder",
    "ReliefEncoder",
    "choose_step",
    "coarsen",
    "relief_weights",
    "scale_features",
]
