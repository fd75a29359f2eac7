"""Encryption, and decryption to the exact values or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ompd._kernels import ciphertexts
from ompd._kernels.switching import drop
from ompd.aggregate.ciphertext import Ciphertext
from ompd.aggregate.context import Context
from ompd.aggregate.keys import PublicKey, SecretKey
from ompd.aggregate.noise import HEADROOM
from ompd.aggregate.packing import check_values
from ompd.aggregate.sampling import add_errors, expanded, fresh_ternary, new_seed
from ompd.arrays import F64, I64
from ompd.errors import Bottom, ParameterError


def encrypt(public: PublicKey, values: object, *, bound: int) -> Ciphertext:
    """Encrypt integers under a public key.

    Parameters
    ----------
    public : PublicKey
    values : array_like of int, shape (n,)
        From 1 to N integers, each at most `bound` in absolute value.
    bound : int
        Public: it and n travel with the ciphertext, and decide whether results are exact. From 0
        to (t - 1) // 2.

    Raises
    ------
    ParameterError
    """
    if type(public) is not PublicKey:
        raise ParameterError(f"public: expected a PublicKey, got {type(public).__name__}")
    context = public.context
    checked = check_values(
        values, context.parameters.degree, bound, context.parameters.largest_bound, "values"
    )
    rows = encrypted(public, context.packer.pack(checked), len(context.parameters.primes))
    noise = context.noise.fresh(bound, len(checked), secretly=False)
    return Ciphertext(context, rows, noise, bound, len(checked))


def encrypt_secretly(secret: SecretKey, values: object, *, bound: int) -> Ciphertext:
    """Encrypt under the secret key: half the bytes, and less noise.

    Parameters, errors as in `encrypt`.
    """
    if type(secret) is not SecretKey:
        raise ParameterError(f"secret: expected a SecretKey, got {type(secret).__name__}")
    context = secret.context
    parameters = context.parameters
    checked = check_values(values, parameters.degree, bound, parameters.largest_bound, "values")
    message = add_errors(context.packer.pack(checked), parameters.plain_modulus)
    seed = new_seed()
    level = len(parameters.primes)
    rows = np.empty((2, level, parameters.degree))
    rows[1] = expanded(seed, context.tables, level)
    room = context.tables.room.scratch
    ciphertexts.encrypt_secretly(
        message, rows[1], secret.rows, rows[0], room[0], context.tables.ring
    )
    noise = context.noise.fresh(bound, len(checked), secretly=True)
    return Ciphertext(context, rows, noise, bound, len(checked), seed=seed)


def encrypted(public: PublicKey, message: F64, level: int) -> F64:
    """Encrypt a packed plaintext, which is overwritten; return float64[2, level, N]."""
    tables = public.context.tables
    n, t = tables.degree, public.parameters.plain_modulus
    rows = np.empty((2, level, n))
    add_errors(message, t)
    error = add_errors(np.zeros(n), t)
    room = tables.room.scratch
    ciphertexts.encrypt(
        message, error, fresh_ternary(n), public.encryption, rows, room, tables.ring
    )
    return rows


def decrypt(secret: SecretKey, ciphertext: Ciphertext) -> I64:
    """Decrypt to the exact integers.

    Returns
    -------
    int64 array of shape (length,)

    Raises
    ------
    Bottom
        If the values could be half of t or more, or more than the ring holds, or were multiplied
        more often than the key allows; if the ciphertext is another key's; if its noise left too
        little headroom. Nobody who can choose ciphertexts may learn that this happened.
    ParameterError
        If it is no ciphertext.
    """
    _check(secret, ciphertext)
    parameters = secret.context.parameters
    if ciphertext.bound > parameters.largest_bound:
        raise Bottom("ciphertext: its values may be too large")
    if ciphertext.length > parameters.degree:
        raise Bottom("ciphertext: it may have more values than the ring holds")
    return _opened(secret, ciphertext, ciphertext.length)


def residues(secret: SecretKey, ciphertext: Ciphertext, places: Sequence[int] | None = None) -> I64:
    """Decrypt to values modulo t, whatever bound and length of the ciphertext are.

    For protocols whose values wrap around t on purpose.

    Parameters
    ----------
    secret : SecretKey
    ciphertext : Ciphertext
    places : sequence of int, optional
        Coefficients that are read, also where values are packed in slots; others may be anything.
        All N values by default.

    Returns
    -------
    int64 array of shape (N,) or of the places'
        From 0 up to below t.

    Raises
    ------
    Bottom
        As `decrypt`, but for bound and length.
    """
    _check(secret, ciphertext)
    parameters = secret.context.parameters
    found = _opened(secret, ciphertext, parameters.degree, places)
    return np.where(found < 0, found + parameters.plain_modulus, found)


def _check(secret: SecretKey, ciphertext: Ciphertext) -> None:
    if type(secret) is not SecretKey or type(ciphertext) is not Ciphertext:
        raise ParameterError("secret, ciphertext: expected a SecretKey and a Ciphertext")
    if ciphertext.context.digest != secret.context.digest:
        raise Bottom("ciphertext: it belongs to another key")
    if ciphertext.depth > secret.context.parameters.depth:
        raise Bottom("ciphertext: it was multiplied too often")
    if not secret.context.noise.opens(ciphertext.noise, ciphertext.level):
        raise Bottom("ciphertext: its noise may be too large")


def _opened(
    secret: SecretKey, ciphertext: Ciphertext, length: int, places: Sequence[int] | None = None
) -> I64:
    """Values modulo t, around zero."""
    context = secret.context
    tables = context.tables
    t = context.parameters.plain_modulus
    rows = dropped(context, ciphertext.rows, 1)
    values = np.empty(tables.degree)
    ciphertexts.phase(rows, secret.rows, values, tables.room.scratch, tables.ring)
    if places is not None:
        values = values[np.asarray(places, dtype=np.int64)]
    largest = max(1.0, float(np.abs(values).max()))
    if math.log2(largest) > math.log2(context.parameters.primes[0] / 2) - HEADROOM:
        raise Bottom("ciphertext: its noise is too large")
    ciphertexts.remainders(values, float(t))
    return context.packer.unpack(values, length) if places is None else values.astype(np.int64)


def dropped(context: Context, rows: F64, level: int) -> F64:
    """Divide by all primes behind the first `level`."""
    tables = context.tables
    while rows.shape[1] > level:
        out = np.empty((2, rows.shape[1] - 1, rows.shape[2]))
        drop(rows, tables.division, tables.ring, out, tables.room.scratch)
        rows = out
    return rows
