"""Blinding of instances and queries."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import gmpy2
import numpy as np

from ompd._kernels.blinding import blind_values
from ompd.arrays import I64, U64
from ompd.blind.keys import PaperKey
from ompd.blind.limbs import to_limbs
from ompd.errors import OverflowParameterError, ParameterError
from ompd.search.conversion import Modulus, convert
from ompd.threads import default_threads, run_ranges

#: Zero coordinates in front of every vector ("forward expansion", Algorithm 2 of the paper).
PADDING = 2
#: Values blinded per step: the noise and the result of one step stay within the second-level
#: cache. 4096 to 65536 measured alike, 2**20 took a third longer.
_STEP = 1 << 14


@dataclass(frozen=True, slots=True, repr=False)
class BlindedQueries:
    """What the hospital sends to the cloud for m queries.

    Parameters
    ----------
    points : uint64 array of shape (m, n + 2, L)
        Little-endian limbs of integers below the modulus.
    tokens : uint64 array of shape (m, L)
        Conversion tokens from 1 to below the modulus, one per query.
    """

    points: U64
    tokens: U64


def blind_table(
    key: PaperKey,
    prefix_sums: I64,
    *,
    out: U64 | None = None,
    threads: int | None = None,
) -> U64:
    """Blind every instance: s * (alpha * P + c) with fresh noise c per coordinate.

    Parameters
    ----------
    key : PaperKey
    prefix_sums : int64 array of shape (N, n)
        From 0 to the key's `prefix_max`.
    out : uint64 array of shape (N, n + 2, L), optional
        Where to write, for example a part of a mapped file.
    threads : int, optional
        Default: all processors.

    Returns
    -------
    uint64 array of shape (N, n + 2, L)
        Little-endian limbs of the blinded integers, the two padding coordinates first. No
        reduction happens, since the key's conditions exclude a wrap.

    Raises
    ------
    ParameterError
        If the shape of an array differs from the key's.
    OverflowParameterError
        If a prefix sum is beyond what the key was made for.

    Notes
    -----
    Source: Algorithm 2, steps 5 to 12.
    """
    _check(key, prefix_sums)
    rows = len(prefix_sums)
    coordinates = key.coordinates
    limbs = key.parameters.limbs
    multiplier = _limbs_of(key.multiplier)
    scalar = _limbs_of(key.scalar)
    if out is None:
        out = np.empty((rows, coordinates, limbs), dtype=np.uint64)
    elif out.dtype != np.uint64 or out.shape != (rows, coordinates, limbs):
        raise ParameterError(f"out: expected uint64 of shape {(rows, coordinates, limbs)}")
    table = out
    step = max(1, _STEP // coordinates)

    def blind(first_step: int, last_step: int) -> None:
        for start in range(first_step * step, min(last_step * step, rows), step):
            part = prefix_sums[start : start + step]
            padded = np.zeros((len(part), coordinates), dtype=np.uint64)
            padded[:, PADDING:] = part
            blind_values(
                padded.reshape(-1),
                _noise(padded.size, key.parameters.noise_bits),
                multiplier,
                scalar,
                table[start : start + step].reshape(-1, limbs),
            )

    run_ranges(blind, -(-rows // step), threads or default_threads())
    return table


def blind_queries(key: PaperKey, prefix_sums: I64) -> BlindedQueries:
    """Blind queries, each under a fresh scalar, with the token that brings it to table scale.

    Parameters
    ----------
    key : PaperKey
    prefix_sums : int64 array of shape (m, n)

    Raises
    ------
    ParameterError, OverflowParameterError
        As `blind_table`.
    """
    _check(key, prefix_sums)
    rows = len(prefix_sums)
    limbs = key.parameters.limbs
    padded = np.zeros((rows, key.coordinates), dtype=np.uint64)
    padded[:, PADDING:] = prefix_sums
    lifted = np.empty((rows, key.coordinates, limbs), dtype=np.uint64)
    blind_values(
        padded.reshape(-1),
        _noise(padded.size, key.parameters.noise_bits),
        _limbs_of(key.multiplier),
        _limbs_of(1),
        lifted.reshape(-1, limbs),
    )
    # Uniform in Z_p*: a query's blinded form says nothing of its size without the token.
    scalars = [1 + secrets.randbelow(key.modulus - 1) for _ in range(rows)]
    modulus = gmpy2.mpz(key.modulus)
    tokens = [int(gmpy2.invert(scalar, modulus) * key.scalar % modulus) for scalar in scalars]
    points = convert(lifted, to_limbs(scalars, limbs), Modulus.of(key.modulus, limbs))
    return BlindedQueries(points, to_limbs(tokens, limbs))


def _check(key: PaperKey, prefix_sums: I64) -> None:
    if prefix_sums.dtype != np.int64:
        raise ParameterError(f"prefix_sums: expected int64, got {prefix_sums.dtype}")
    if prefix_sums.ndim != 2 or prefix_sums.shape[1] + PADDING != key.coordinates:
        raise ParameterError(
            f"prefix_sums: expected shape (rows, {key.coordinates - PADDING}), "
            f"got {prefix_sums.shape}"
        )
    if prefix_sums.size and (prefix_sums.min() < 0 or prefix_sums.max() > key.prefix_max):
        raise OverflowParameterError(
            f"prefix_sums: expected values from 0 up to {key.prefix_max.bit_length()} bits"
        )


def _noise(count: int, bits: int) -> U64:
    """Uniform noise of `bits` bits as uint64 array (count, limbs), from the OS."""
    limbs = -(-bits // 64)
    random = np.frombuffer(secrets.token_bytes(8 * count * limbs), dtype=np.uint64)
    noise: U64 = random.reshape(count, limbs).copy()
    if bits % 64:
        noise[:, -1] &= np.uint64((1 << bits % 64) - 1)
    return noise


def _limbs_of(value: int) -> U64:
    limbs: U64 = to_limbs([value], -(-value.bit_length() // 64))[0]
    return limbs
