"""What physicians, contributors and clouds agree on, and each of them checks."""

from __future__ import annotations

import hashlib

from ompd.aggregate import PublicKey
from ompd.aggregate.fitting import fits
from ompd.aggregate.functions import Function
from ompd.errors import ContextMismatchError, DowngradeError, RangeError
from ompd.wire import Terms

#: Fewest contributors of a result, unless a party demands more or allows fewer. It keeps honest
#: physicians from asking about one patient by mistake; who makes up contributors is not stopped.
LEAST = 5


def check_terms(
    terms: Terms, key: bytes, functions: dict[str, Function], least: int
) -> tuple[Function, PublicKey]:
    """Return function and public key of terms that make sense.

    Parameters
    ----------
    terms : Terms
    key : bytes
        The public key that came with them.
    functions : dict of str to Function
        That this party knows.
    least : int
        Fewest contributors that it demands, where there is to be more than one.

    Raises
    ------
    DowngradeError
        If the terms allow fewer contributors.
    ContextMismatchError
        If the function is not known, or the key is another one.
    RangeError
        If numbers contradict one another, or results do not fit the key.
    FrameError
        If the key is malformed.
    """
    function = functions.get(terms.function)
    if function is None:
        raise ContextMismatchError("terms: expected the name of a function that is known here")
    if function.pooled and terms.least < least:
        raise DowngradeError(f"terms: expected at least {least} contributors for a result")
    if terms.most < terms.least:
        raise RangeError("terms: expected no fewer contributors at most than at least")
    if hashlib.sha256(key).digest() != terms.key:
        raise ContextMismatchError("terms: are of another key")
    public = PublicKey.from_bytes(key)
    if not fits(public.parameters, function, terms.length, terms.bound, terms.most):
        raise RangeError("terms: results would not fit the key")
    return function, public
