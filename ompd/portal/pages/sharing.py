"""What of the record others may read, and its copy in a cloud."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.responses import Response

from ompd.errors import OmpdError, UnknownResourceError
from ompd.portal.pages.exchange import file_of
from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record import backup
from ompd.record.codes import read_code
from ompd.record.sharing import Share, refresh, revoke, share, shares


def _present(visit: Visit) -> dict[str, list[Share]]:
    """Return what is shared now, by recipient."""
    now, found = datetime.now(UTC), dict[str, list[Share]]()
    for each in shares(visit.house.own):
        if each.until > now:
            found.setdefault(each.recipient, []).append(each)
    return found


def _share(visit: Visit, error: Mapping[str, str] | None = None) -> Response:
    kinds = sorted(
        (visit.words.maybe(f"kind.{kind}", kind), kind, count)
        for kind, count in visit.house.own.kinds().items()
    )
    chosen = [kind for _, kind, _ in kinds if visit.form.get(f"kind-{kind}")]
    return visit.page(
        "share.html",
        status=400 if error else 200,
        error=error,
        is_set_up=visit.house.cloud is not None,
        kinds=kinds,
        chosen=chosen,
        code=visit.form.get("code", "")[:300],
        shared=[
            (
                recipient,
                [visit.words.maybe(f"kind.{each.kind}", each.kind) for each in theirs],
                min(each.until for each in theirs),
                visit.house.notices.get(recipient, ("", b""))[0],
            )
            for recipient, theirs in _present(visit).items()
        ],
    )


def _grant(visit: Visit) -> Response:
    house = visit.house
    kinds = [kind for kind in house.own.kinds() if visit.form.get(f"kind-{kind}")]
    if not kinds:
        return _share(visit, {"text": visit.words("share.choose"), "detail": ""})
    try:
        recipient, public = read_code(visit.form.text("code", 400))
        notices = share(house.own, house.person, kinds, recipient, public)
    except OmpdError as error:
        return _share(visit, visit.reason(error))
    house.notices[recipient] = house.handle(f"notices/{recipient}"), notices
    return visit.go("/share", visit.words("share.granted", recipient=recipient))


def _notices(visit: Visit) -> Response:
    recipient = visit.house.reference(visit.names["handle"]).partition("/")[2]
    if recipient not in visit.house.notices:
        raise UnknownResourceError("notices: what they opened was revoked")
    _, notices = visit.house.notices[recipient]
    return file_of(notices, "application/octet-stream", "shared-record.ompd")


def _revoke(visit: Visit) -> Response:
    recipient = visit.form.text("recipient", 400)
    revoke(visit.house.own, visit.house.person, recipient)
    visit.house.notices.pop(recipient, None)
    return visit.go("/share", visit.words("share.revoked", recipient=recipient))


def _refresh(visit: Visit) -> Response:
    refresh(visit.house.own, visit.house.person)
    return visit.go("/share", visit.words("share.refreshed"))


def _backup(visit: Visit) -> Response:
    changes = backup(visit.house.own, visit.house.person)
    return visit.go("/share", visit.words("share.copied", n=changes))


PAGES = [
    Page("GET", "/share", _share),
    Page("POST", "/share", _grant),
    Page("GET", "/share/notices/{handle}", _notices),
    Page("POST", "/share/revoke", _revoke),
    Page("POST", "/share/refresh", _refresh),
    Page("POST", "/share/backup", _backup),
]
