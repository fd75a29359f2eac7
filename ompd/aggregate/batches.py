"""Many ciphertexts on all processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ompd.errors import ParameterError
from ompd.threads import default_threads, run_ranges

T = TypeVar("T")


def mapped(function: Callable[..., T], *sequences: Sequence[Any]) -> list[T]:
    """Call a function on the items of sequences, as `map` does, on several threads.

    The kernels of encryption, evaluation and decryption release the interpreter lock.

    Parameters
    ----------
    function : callable
        Such as `Evaluator.multiply`.
    *sequences : sequences of one length

    Raises
    ------
    ParameterError
        If there is no sequence, or one is longer than another.
    """
    if not sequences or len(set(map(len, sequences))) > 1:
        raise ParameterError("sequences: expected at least one, all of one length")
    items = list(zip(*sequences, strict=True))
    found: list[Any] = [None] * len(items)

    def task(first: int, last: int) -> None:
        for place in range(first, last):
            found[place] = function(*items[place])

    run_ranges(task, len(items), default_threads())
    return found
