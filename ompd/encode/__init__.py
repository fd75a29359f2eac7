"""From features to exact integers: Relief weights, fixed point, prefix sums."""

from ompd.encode.encoder import Encoder
from ompd.encode.fixed_point import ReliefEncoder, scale_features
from ompd.encode.relief import relief_weights

__all__ = ["Encoder", "ReliefEncoder", "relief_weights", "scale_features"]
