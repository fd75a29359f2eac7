"""The functions that a cloud evaluates on what patients or hospitals contributed.

A closed set: requests carry a name, never code. Each function says how many ciphertexts a
contribution has, what of them is checked on arrival, and what becomes of them.

All but those of one contributor are sums over contributors of something small, position by
position, so that nothing can be told from a result but these sums:

===========  =======  =========================================
name         parts    result
===========  =======  =========================================
sum          x        sum x
moments      x        sum x, sum x x
dot          x, y     sum x y
correlation  x, y     sum x, sum y, sum x y, sum x x, sum y y
===========  =======  =========================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ompd.aggregate.batches import mapped
from ompd.aggregate.ciphertext import Ciphertext
from ompd.aggregate.evaluator import Evaluator
from ompd.aggregate.keys import PublicKey
from ompd.errors import FramingError, ParameterError, RangeError
from ompd.params import Packing

#: Contributions in memory at a time, of up to 4 MB per part; their products are relinearised once.
_AT_ONCE = 16

Parts = Sequence[bytes]
Check = Callable[[PublicKey, Parts, int, int], None]
Evaluate = Callable[[PublicKey, Iterable[Parts], Parts], list[bytes]]


@dataclass(frozen=True, slots=True)
class Function:
    """What a cloud evaluates by a name.

    Parameters
    ----------
    name : str
    parts : int
        Ciphertexts of a contribution.
    depth : int
        Multiplications that the key has to allow.
    packing : {"coefficients", "slots"}
    check : callable
        Gets public key, parts, their length and bound by the terms; raises an `OmpdError` if a
        contribution cannot be taken.
    evaluate : callable
        Gets public key, contributions and the request's operands, and returns what leaves to the
        physician: encoded ciphertexts that `Evaluator.finish` made.
    operands : int
        Encoded operands of a request.
    pooled : bool
        Whether it is of all contributors, of which there have to be enough; else it is of one, and
        requests are counted.
    results : int
        Encoded ciphertexts that leave.
    most : int, optional
        Largest absolute value of a result, where it is none of these sums.
    """

    name: str
    parts: int
    depth: int
    packing: Packing
    check: Check
    evaluate: Evaluate
    operands: int = 0
    pooled: bool = True
    results: int = 1
    most: int | None = None

    def largest(self, bound: int, contributors: int) -> int:
        """Return how large an absolute value a result can have."""
        return contributors * bound ** (1 + self.depth) if self.most is None else self.most


def check_fresh(public: PublicKey, parts: Parts, length: int, bound: int) -> None:
    """Refuse ciphertexts that are not new encryptions of so many values, by their headers.

    What is inside cannot be seen. Whoever hides more than the bound, or noise, spoils the result.

    Raises
    ------
    FrameError
    """
    for part in parts:
        found = Ciphertext.from_bytes(part, public.context)
        public.context.check_fresh(found, bound=bound, length=length)
        if found.seed is not None:
            raise RangeError("contribution: expected ciphertexts under the public key")


#: Which of a contribution's parts is added up, or which two of them are multiplied.
_Term = tuple[int] | tuple[int, int]


def _sums(*terms: _Term) -> Evaluate:
    def evaluate(public: PublicKey, contributions: Iterable[Parts], _: Parts) -> list[bytes]:
        evaluator = Evaluator(public)
        totals = [_Total(evaluator) for _ in terms]
        for batch in _batches(contributions):
            read = mapped(lambda parts: _read(public, parts), batch)
            added = mapped(lambda term: _added(evaluator, read, term), terms)  # noqa: B023
            for total, part in zip(totals, added, strict=True):
                total.add(part)
        return [evaluator.finish(total.value()).to_bytes() for total in totals]

    return evaluate


def _read(public: PublicKey, parts: Parts) -> list[Ciphertext]:
    return [Ciphertext.from_bytes(part, public.context) for part in parts]


def _added(evaluator: Evaluator, read: list[list[Ciphertext]], term: _Term) -> Ciphertext:
    columns = [[parts[which] for parts in read] for which in term]
    return evaluator.sum(columns[0]) if len(columns) == 1 else evaluator.dot(*columns)


class _Total:
    """Adds up in pairs: the bound on the noise is rounded up once per addition that follows."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._parts: list[tuple[int, Ciphertext]] = []

    def add(self, part: Ciphertext) -> None:
        count = 1
        while self._parts and self._parts[-1][0] == count:
            part = self._evaluator.add(self._parts.pop()[1], part)
            count *= 2
        self._parts.append((count, part))

    def value(self) -> Ciphertext:
        if not self._parts:
            raise FramingError("contributions: expected at least one")
        return self._evaluator.sum([part for _, part in self._parts])


def _batches(contributions: Iterable[Parts]) -> Iterator[list[Parts]]:
    batch: list[Parts] = []
    for parts in contributions:
        batch.append(parts)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


SUM = Function("sum", 1, 0, "coefficients", check_fresh, _sums((0,)))
MOMENTS = Function("moments", 1, 1, "slots", check_fresh, _sums((0,), (0, 0)), results=2)
DOT = Function("dot", 2, 1, "slots", check_fresh, _sums((0, 1)))
CORRELATION = Function(
    "correlation", 2, 1, "slots", check_fresh, _sums((0,), (1,), (0, 1), (0, 0), (1, 1)), results=5
)
FUNCTIONS = (SUM, MOMENTS, DOT, CORRELATION)


def by_name(functions: Iterable[Function]) -> dict[str, Function]:
    """Return functions by their names.

    Raises
    ------
    ParameterError
        If one is none, or two have one name.
    """
    found: dict[str, Function] = {}
    for function in functions:
        if type(function) is not Function:
            raise ParameterError(f"functions: expected Function, got {type(function).__name__}")
        if function.name in found:
            raise ParameterError("functions: expected different names")
        found[function.name] = function
    return found
