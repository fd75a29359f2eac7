"""What a hospital says by not accepting a query."""

from __future__ import annotations

from ompd.errors import AllowanceError, OutdatedRefusalError, RefusedError, UnenrolledError
from ompd.wire import OUTDATED, SPENT, UNENROLLED


def refusal_of(code: int) -> RefusedError:
    """Return the error that a refusal means to its user."""
    if code == OUTDATED:
        return OutdatedRefusalError(
            "report: the query was made by another schema or model than the hospital's; learn its "
            "next catalogue and ask again"
        )
    if code == UNENROLLED:
        return UnenrolledError("report: the hospital does not have this user's key; enrol it")
    if code == SPENT:
        return AllowanceError("report: this user has had all answers of this model")
    return RefusedError(
        "report: the hospital did not accept the query; what it takes stands in its catalogue"
    )
