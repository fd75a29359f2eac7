"""From features to exact integers: missing values, Relief weights, fixed point, prefix sums."""

from ompd.encode.additive import AdditiveModel
from ompd.encode.coarse import CoarseEncoder, choose_step, coarsen
from ompd.encode.encoder import Encoder
from ompd.encode.evidence import EvidenceEncoder
from ompd.encode.filling import Filling
from ompd.encode.fixed_point import ReliefEncoder, scale_features
from ompd.encode.pooled import count_cells, model_of_counts
from ompd.encode.relief import relief_weights

__all__ = [
    "AdditiveModel",
    "CoarseEncoder",
    "Encoder",
    "EvidenceEncoder",
    "Filling",
    "ReliefEncoder",
    "choose_step",
    "coarsen",
    "count_cells",
    "model_of_counts",
    "relief_weights",
    "scale_features",
]
