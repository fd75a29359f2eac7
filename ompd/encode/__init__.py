"""From features to exact integers: Relief weights, fixed point, prefix sums."""

from ompd.encode.fixed_point import Encoder, scale_features
from ompd.encode.relief import relief_weights

__all__ = ["Encoder", "relief_weights", "scale_features"]
