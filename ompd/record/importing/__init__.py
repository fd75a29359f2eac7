"""Files of other systems and devices: bundles of FHIR, tables, exports of Apple Health.

file -> import_file -> record
"""

from __future__ import annotations

from ompd.record.importing.intake import Imported, Keeper, import_file
from ompd.record.importing.tables import Mapping

__all__ = ["Imported", "Keeper", "Mapping", "import_file"]
