"""Features and classes of one disease, and what callers name matched to what it names."""

from ompd.schema.domains import (
    Feature,
    Kind,
    Schema,
    as_feature_matrix,
)
from ompd.schema.matching import are_ambiguous, check_aligned

__all__ = [
    "Feature",
    "Kind",
    "Schema",
    "are_ambiguous",
    "as_feature_matrix",
    "check_aligned",
]
