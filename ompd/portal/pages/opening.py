"""A record that somebody else shares, opened by whoever it is shared with."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from ompd.errors import FramingError, OmpdError, RefusedError
from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record.codes import code_of
from ompd.record.sharing import Shared

#: Bytes of notices; more are none.
_MOST = 1 << 20


def _open(visit: Visit, error: Mapping[str, str] | None = None) -> Response:
    house = visit.house
    me = house.person.subscriber
    return visit.page(
        "open.html",
        status=400 if error else 200,
        error=error,
        code=code_of(me.id, me.records.public),
        until=house.opened.until if isinstance(house.opened, Shared) else None,
    )


def _opened(visit: Visit) -> Response:
    house, file = visit.house, visit.form.file
    if file is not None and visit.form.file_name:
        house.shared_notices = file.read(_MOST)
    # Whatever was open is not, if the cloud refuses it now.
    house.opened = None
    try:
        house.opened = shared = Shared.open(house.person, house.shared_notices)
    except OmpdError as error:
        reason = visit.reason(error)
        if isinstance(error, RefusedError):
            reason = {**reason, "text": visit.words("open.refused")}
        elif isinstance(error, FramingError):
            reason = {**reason, "text": visit.words("open.other")}
        return _open(visit, reason)
    house.owner = shared.owner
    return visit.go("/")


PAGES = [Page("GET", "/open", _open), Page("POST", "/open", _opened, upload=True)]
