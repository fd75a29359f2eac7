"""Results of which some coefficients can be read, and the others by nobody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ompd._kernels.ciphertexts import add
from ompd._kernels.transform import inverse, rows_of
from ompd.aggregate.ciphertext import Ciphertext
from ompd.aggregate.sampling import expanded, new_seed
from ompd.errors import ParameterError


def covered(ciphertext: Ciphertext, places: Sequence[int]) -> Ciphertext:
    """Make all coefficients but some uniform, modulo the prime that is left.

    A mask modulo t, as `Evaluator.finish` adds it, covers what an owner reads who encrypts as
    agreed. One who multiplies by a ciphertext of another form finds values in the upper bits too,
    or in the noise; here nothing is left of them.

    Parameters
    ----------
    ciphertext : Ciphertext
        From `Evaluator.finish`.
    places : sequence of int
        Coefficients that stay as they are, also where values are packed in slots; `residues` reads
        them. The sum of all slots is N times coefficient 0.

    Raises
    ------
    ParameterError
        If the ciphertext is none of that form, or a place is none of its ring.
    """
    if type(ciphertext) is not Ciphertext or ciphertext.level != 1:
        raise ParameterError("ciphertext: expected a finished Ciphertext")
    context = ciphertext.context
    tables = context.tables
    n, ring, scratch = tables.degree, tables.ring, tables.room.scratch
    if any(not 0 <= place < n for place in places):
        raise ParameterError(f"places: expected integers from 0 up to below {n}")
    uniform = np.empty(n)
    inverse(expanded(new_seed(), tables, 1)[0], uniform, scratch[0], ring, 0, ring.n_inverse[0])
    uniform[list(places)] = 0
    extra = np.empty((1, 1, n))
    rows_of(uniform, extra[0], scratch[0], ring)
    rows = ciphertext.rows.copy()
    add(rows[:1], extra, rows[:1], ring)
    return Ciphertext(
        context, rows, ciphertext.noise, ciphertext.bound, ciphertext.length, ciphertext.depth
    )
