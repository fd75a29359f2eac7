"""Sums and products of ciphertexts, by whoever has the public key.

No result depends on the plaintexts in anything but its rows, and no method says whether one will
decrypt: bounds, lengths, depth and noise are carried along, and judged where it is decrypted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ompd._kernels import ciphertexts
from ompd._kernels.switching import relinearise
from ompd._kernels.transform import rows_of
from ompd.aggregate.ciphertext import Ciphertext
from ompd.aggregate.encryption import dropped, encrypted
from ompd.aggregate.keys import PublicKey
from ompd.aggregate.noise import both
from ompd.aggregate.packing import check_values
from ompd.aggregate.sampling import add_flood
from ompd.arrays import F64
from ompd.errors import ContextMismatchError, ParameterError

#: Bits by which a result's noise is hidden unless told otherwise, and the fewest.
FLOOD_BITS = 80
LEAST_FLOOD_BITS = 40


class Evaluator:
    """Computes on ciphertexts under one public key; for several threads at a time.

    Parameters
    ----------
    public : PublicKey

    Notes
    -----
    Only what `finish` returned may leave to whoever holds the secret key: the noise of other
    ciphertexts tells what they were made of.
    """

    def __init__(self, public: PublicKey) -> None:
        if type(public) is not PublicKey:
            raise ParameterError(f"public: expected a PublicKey, got {type(public).__name__}")
        self._public = public
        self._context = public.context

    def add(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Add value by value.

        Raises
        ------
        ContextMismatchError, ParameterError
            If an operand belongs to another key, or is no ciphertext.
        """
        return self.sum([a, b])

    def sum(self, terms: Sequence[Ciphertext]) -> Ciphertext:
        """Add at least one ciphertext, value by value; errors as in `add`."""
        terms = self._checked(terms)
        level = min(term.level for term in terms)
        aligned = [self._lowered(term, level) for term in terms]
        first, *others = aligned
        if not others:
            return first
        rows = np.empty_like(first.rows)
        total = first.rows
        for term in others:
            ciphertexts.add(total, term.rows, rows, self._context.tables.ring)
            total = rows
        return self._joined(aligned, rows)

    def subtract(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Subtract value by value; errors as in `add`."""
        a, b = self._checked([a, b])
        level = min(a.level, b.level)
        a, b = self._lowered(a, level), self._lowered(b, level)
        rows = np.empty_like(a.rows)
        ciphertexts.subtract(a.rows, b.rows, rows, self._context.tables.ring)
        return self._joined([a, b], rows)

    def add_plain(self, a: Ciphertext, values: object, *, bound: int) -> Ciphertext:
        """Add integers.

        Parameters
        ----------
        a : Ciphertext
        values : array_like of int, shape (n,)
            At most `bound` in absolute value.
        bound : int
            Public, like that of `encrypt`; up to t - 1, for what is meant modulo t.

        Raises
        ------
        ContextMismatchError, ParameterError
        """
        (a,) = self._checked([a])
        plain, length = self._plain(values, bound, a.level)
        rows = a.rows.copy()
        ciphertexts.add(rows[:1], plain[None], rows[:1], self._context.tables.ring)
        noise = both(a.noise, self._context.noise.plain(bound, length))
        return Ciphertext(
            self._context, rows, noise, a.bound + bound, max(a.length, length), a.depth
        )

    def multiply_plain(self, a: Ciphertext, values: object, *, bound: int) -> Ciphertext:
        """Multiply by integers: a convolution of coefficients, or slot by slot.

        Parameters, errors as in `add_plain`.
        """
        (a,) = self._checked([a])
        plain, length = self._plain(values, bound, a.level)
        rows = np.empty_like(a.rows)
        ciphertexts.multiply_rows(a.rows, plain, rows, self._context.tables.ring)
        noise = a.noise + self._context.noise.plain(bound, length)
        return Ciphertext(
            self._context, rows, noise, *self._product_shape((a.bound, a.length), (bound, length)),
            a.depth,
        )  # fmt: skip

    def multiply(self, a: Ciphertext, b: Ciphertext) -> Ciphertext:
        """Multiply: a convolution of coefficients, or slot by slot; errors as in `dot`."""
        return self.dot([a], [b])

    def dot(self, a: Sequence[Ciphertext], b: Sequence[Ciphertext]) -> Ciphertext:
        """Add the products of pairs, with a single relinearisation.

        Raises
        ------
        ContextMismatchError, ParameterError
            If an operand belongs to another key, there are no pairs, or the key's depth is 0.
        """
        a, b = self._checked(a), self._checked(b)
        if len(a) != len(b):
            raise ParameterError("a, b: expected as many of each")
        if not len(self._public.relinearisation):
            raise ParameterError("depth: expected a key that allows multiplications")
        noises = self._context.noise
        level = min(
            noises.best_level((x.noise, x.level), (y.noise, y.level))
            for x, y in zip(a, b, strict=True)
        )
        tables = self._context.tables
        wide = np.empty((3, level, tables.degree))
        noise: list[int] = []
        bound = length = depth = 0
        for number, pair in enumerate(zip(a, b, strict=True)):
            x, y = (self._lowered(each, level) for each in pair)
            ciphertexts.tensor(x.rows, y.rows, wide, tables.ring, number == 0)
            noise.append(noises.multiplied(x.noise, y.noise, level))
            most, many = self._product_shape((x.bound, x.length), (y.bound, y.length))
            bound, length = bound + most, max(length, many)
            depth = max(depth, x.depth + 1, y.depth + 1)
        rows = np.empty((2, level, tables.degree))
        room = tables.room
        relinearise(
            wide, self._public.relinearisation, tables.division, tables.ring, rows, *room,
        )  # fmt: skip
        total = noises.relinearised(both(*noise), level)
        return Ciphertext(self._context, rows, total, bound, length, depth)

    def finish(self, a: Ciphertext, *, mask: object = None, flood: int = FLOOD_BITS) -> Ciphertext:
        """Make a result that tells its values and nothing of how it came about.

        A new encryption of zero is added, and noise that hides the old one; then all primes but
        one are divided by. What the header says, bound, length and depth, is told, too.

        Parameters
        ----------
        a : Ciphertext
        mask : array_like of int, shape (n,), optional
            Added modulo t, and not to the bound: random values where nothing shall be read, which
            `decrypt` returns as they come out.
        flood : int, default 80
            A single coefficient's noise differs from one that depends on nothing by a statistical
            distance of at most 2**-flood; from 40 on.

        Raises
        ------
        ContextMismatchError, ParameterError
        """
        (a,) = self._checked([a])
        if type(flood) is not int or flood < LEAST_FLOOD_BITS:
            raise ParameterError(f"flood: expected an integer from {LEAST_FLOOD_BITS} on")
        parameters, tables, noises = (
            self._context.parameters,
            self._context.tables,
            self._context.noise,
        )
        t, n = parameters.plain_modulus, parameters.degree
        message = np.zeros(n)
        if mask is not None:
            message = self._context.packer.pack(check_values(mask, n, t - 1, t - 1, "mask"))
        level = self._flooded_level(a, flood)
        a = self._lowered(a, level)
        # More would be as good as uniform.
        most = math.ceil(sum(map(math.log2, parameters.primes[:level])))
        bits = min(noises.flood_bits(a.noise, flood), most)
        rows = encrypted(self._public, message, level)
        add_flood(rows[0], bits, t, tables)
        ciphertexts.add(rows, a.rows, rows, tables.ring)
        noise = noises.flooded(a.noise, bits)
        rows = dropped(self._context, rows, 1)
        return Ciphertext(
            self._context, rows, noises.last(noise, level), a.bound, a.length, a.depth
        )

    def _flooded_level(self, a: Ciphertext, flood: int) -> int:
        """The lowest level at which the flooded result opens; its own if there is none."""
        noises = self._context.noise
        for level in range(1, a.level):
            noise = noises.at(a.noise, a.level, level)
            flooded = noises.flooded(noise, noises.flood_bits(noise, flood))
            if noises.opens(flooded, level):
                return level
        return a.level

    def _checked(self, terms: Sequence[Ciphertext]) -> list[Ciphertext]:
        if not isinstance(terms, Sequence) or not terms:
            raise ParameterError("ciphertexts: expected a sequence of at least one")
        for term in terms:
            if type(term) is not Ciphertext:
                raise ParameterError(
                    f"ciphertext: expected a Ciphertext, got {type(term).__name__}"
                )
            if term.context.digest != self._context.digest:
                raise ContextMismatchError("ciphertext: expected one under this public key")
        return list(terms)

    def _lowered(self, a: Ciphertext, level: int) -> Ciphertext:
        if a.level == level:
            return a
        rows = dropped(self._context, a.rows, level)
        noise = self._context.noise.at(a.noise, a.level, level)
        return Ciphertext(self._context, rows, noise, a.bound, a.length, a.depth)

    def _joined(self, terms: list[Ciphertext], rows: F64) -> Ciphertext:
        """A sum of these."""
        return Ciphertext(
            self._context,
            rows,
            both(*(term.noise for term in terms)),
            sum(term.bound for term in terms),
            max(term.length for term in terms),
            max(term.depth for term in terms),
        )

    def _product_shape(self, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        """Bound and length of a product, of those of its factors."""
        if self._context.parameters.packing == "slots":
            return a[0] * b[0], max(a[1], b[1])
        return a[0] * b[0] * min(a[1], b[1]), a[1] + b[1] - 1

    def _plain(self, values: object, bound: int, level: int) -> tuple[F64, int]:
        """Transformed plaintext, and how many values it has."""
        context = self._context
        t, n = context.parameters.plain_modulus, context.parameters.degree
        checked = check_values(values, n, bound, t - 1, "values")
        rows = np.empty((level, n))
        tables = context.tables
        rows_of(context.packer.pack(checked), rows, tables.room.scratch[0], tables.ring)
        return rows, len(checked)
