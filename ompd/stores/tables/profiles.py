"""The profiles whose tables a cloud keeps."""

from __future__ import annotations

from collections.abc import Mapping

from ompd.stores.tables.contract import Stored
from ompd.stores.tables.hardened import HardenedStored
from ompd.stores.tables.paper import PaperStored
from ompd.stores.tables.sealed import SealedStored
from ompd.wire import KIND_OF, Kind

_PROFILES: tuple[type[Stored], ...] = (PaperStored, HardenedStored, SealedStored)
#: By the kind of frame that brings a table.
PROFILES: Mapping[Kind, type[Stored]] = {KIND_OF[each.upload]: each for each in _PROFILES}
#: Tables whose rows the cloud can tell apart, so that they change.
Changing = PaperStored | HardenedStored
#: Those whose tables change, by the kind of frame that does so.
CHANGES: Mapping[Kind, type[Changing]] = {
    KIND_OF[PaperStored.change]: PaperStored,
    KIND_OF[HardenedStored.change]: HardenedStored,
}
#: By the kind of frame that a version came in.
MADE_BY: Mapping[Kind, type[Stored]] = {**PROFILES, **CHANGES}
