"""What leaves a record: bundles, a patient summary, a table, print.

record -> everything, summary, table, pdf -> file
"""

from __future__ import annotations

from ompd.record.exporting.bundles import everything, summary
from ompd.record.exporting.describing import Described, described, measure_name, unit_for_people
from ompd.record.exporting.printing import pdf
from ompd.record.exporting.table import table

__all__ = [
    "Described",
    "described",
    "everything",
    "measure_name",
    "pdf",
    "summary",
    "table",
    "unit_for_people",
]
