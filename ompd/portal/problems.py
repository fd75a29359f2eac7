"""What a person is told where something went wrong."""

from __future__ import annotations

from ompd import errors
from ompd.portal.forms import MissingError, TooLongError
from ompd.portal.numbers import FutureError, MomentError, NumberError
from ompd.record import errors as record_errors
from ompd.record.codes import CodeError

#: The first class that fits, nearest first, says which text of the catalogue it is.
_KEYS: dict[type[Exception], str] = {
    errors.UnreachableError: "error.unreachable",
    errors.BusyError: "error.busy",
    errors.NoAnswerError: "error.unanswered",
    errors.RefusedError: "error.refused",
    errors.DowngradeError: "error.downgrade",
    errors.UnknownKeyError: "error.unknown",
    TooLongError: "error.longer",
    MissingError: "error.missing",
    CodeError: "error.code",
    FutureError: "error.future",
    NumberError: "error.number",
    MomentError: "error.moment",
    errors.TooLargeError: "error.long",
    errors.FeatureError: "error.value",
    record_errors.ChildError: "error.child",
    record_errors.AnswerError: "error.value",
    record_errors.DiaryError: "error.value",
    errors.ImportFileError: "error.file",
    errors.UnitError: "error.value",
    errors.ResourceError: "error.value",
    errors.UnknownResourceError: "error.gone",
    errors.StoreFullError: "error.full",
    errors.StoreError: "error.store",
    errors.CryptoError: "error.crypto",
    errors.OmpdError: "error.other",
}


def key_of(error: errors.OmpdError) -> str:
    """Return the key of what to say about an error."""
    return next(_KEYS[kind] for kind in type(error).__mro__ if kind in _KEYS)
