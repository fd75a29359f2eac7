"""Tables as the cloud keeps them: what stands for each profile, and where they live.

`contract` says what the cloud expects of a place; `memory` and `folder` are two. `paper`,
`hardened` and `sealed` answer jobs, `blinded` is what the first two share, `limbs` a blinded table
on disk that can grow, `limb_index` its index file. Nothing here names the encoder or a secret of
blinding or of private retrieval, and nothing needs them.
"""

from ompd.stores.tables.contract import Change, Job, Past, Stored, Tables, Upload, Version
from ompd.stores.tables.folder import FolderTables
from ompd.stores.tables.limbs import TableFolder
from ompd.stores.tables.memory import MemoryTables
from ompd.stores.tables.profiles import CHANGES, PROFILES, Changing

__all__ = [
    "CHANGES",
    "PROFILES",
    "Change",
    "Changing",
    "FolderTables",
    "Job",
    "MemoryTables",
    "Past",
    "Stored",
    "TableFolder",
    "Tables",
    "Upload",
    "Version",
]
