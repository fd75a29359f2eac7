"""Features and classes of one disease, and what callers name matched to what it names."""

from ompd.schema.bins import Bins
from ompd.schema.domains import Schema
from ompd.schema.features import Feature, Kind, Missing
from ompd.schema.form import TableForm
from ompd.schema.matching import are_ambiguous, check_aligned
from ompd.schema.matrix import as_feature_matrix
from ompd.schema.rows import Errors, RowError, RowErrors

__all__ = [
    "Bins",
    "Errors",
    "Feature",
    "Kind",
    "Missing",
    "RowError",
    "RowErrors",
    "Schema",
    "TableForm",
    "are_ambiguous",
    "as_feature_matrix",
    "check_aligned",
]
