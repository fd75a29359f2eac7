"""Discrete Laplace noise on integer vectors: metric privacy for the `hardened` profile.

The claim
---------
Let R(x) be the integer vector of a record, a = `epsilon_per_unit` and q = exp(-a). Every
coordinate gets its own noise of Pr[Z = z] = (1 - q) / (1 + q) * q**|z|. For the noisy vector M(x),
any two records x and x' and any set S of vectors

    Pr[M(x) in S] <= exp(a * ||R(x) - R(x')||_1) * Pr[M(x') in S],

since the probabilities of one outcome y differ by the factor exp(a * (||y - R(x')||_1 - ||y -
R(x)||_1)), and the triangle inequality bounds that; y = R(x) reaches the bound. This is metric
privacy (Chatzikokolakis et al. 2013) for just the distance by which neighbours are found.

What it does not say: r fresh releases of one record cost r * a per unit, and a patient's row and a
patient's query are two releases. Labels, the number of rows, weights and the encoder's parameters
are not covered, nor is the median that `epsilon_per_unit` makes of the table. The noise is as good
as the pseudorandom function behind it.

Repeats
-------
Were every release of the same record noisy anew, the mean of many would show it. So the noise is a
pseudorandom function of a secret key, of what the vector is for (table or query), of the vector
itself and of whose it is: a repeated query gets the same noise, which tells that it is a repeat
and nothing else. Equal rows of one table get noise independent of one another: it also depends on
how many such rows came before. Where tables are released again and again, rows need identities
that outlive a version: without one, the noise of a row changes when an equal row before it goes.

The sampler
-----------
That of Canonne, Kamath and Steinke (2020): integers only, no rounding, no logarithm, since noise
computed in floating point betrays its input by the low bits. The words come from SHAKE256; a row
that needs more of them reads on in the same stream.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ompd._kernels.laplace import fill_noise
from ompd.arrays import I64
from ompd.blind.hardened import REACH
from ompd.confidential import Confidential
from ompd.errors import (
    KeyMaterialError,
    OverflowParameterError,
    ParameterError,
    PrivacyParameterError,
)

KEY_BYTES = 32
#: Numerator and denominator of `epsilon_per_unit` stay below this. Noise then stays below 2**62
#: but for a probability of exp(-2**14).
_LARGEST_PART = 1 << 48
#: Rows whose distances are looked at for their median: 130 816 pairs.
_SAMPLE = 512
#: Block of SHAKE256; what comes before the record fills one, which is hashed once for all.
_BLOCK = 136
_LABEL = b"ompd discrete laplace 1"
#: 64-bit words per coordinate to begin with, and some more for the row. About 8.5 are needed, and
#: up to 16 where noise is mostly 0; a row of nine coordinates that is short costs a second stream.
_WORDS = 10
_SPARE_WORDS = 32
#: Rows at a time, so that memory is bounded.
_CHUNK = 4096


class LaplaceNoise(Confidential):
    """Memoised discrete Laplace noise under a secret key.

    Parameters
    ----------
    key : bytes
        32 secret random bytes.
    epsilon_per_unit : Fraction
        a, the privacy loss per unit of L1 distance: positive, numerator and denominator below
        2**48.

    Raises
    ------
    KeyMaterialError
        If the key has another length.
    PrivacyParameterError
        If `epsilon_per_unit` is no such fraction.

    Notes
    -----
    Keep the object as long as records and queries are released: a new key makes fresh noise, and
    the releases under both add up. It refuses to be pickled and never prints its key.
    """

    __slots__ = ("_key", "epsilon_per_unit")

    def __init__(self, key: bytes, epsilon_per_unit: Fraction) -> None:
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise KeyMaterialError(f"key: expected {KEY_BYTES} bytes")
        if not isinstance(epsilon_per_unit, Fraction) or not (
            0 < epsilon_per_unit.numerator < _LARGEST_PART
            and epsilon_per_unit.denominator < _LARGEST_PART
        ):
            raise PrivacyParameterError(
                "epsilon_per_unit: expected a positive Fraction of integers below 2**48"
            )
        self._key = key
        self.epsilon_per_unit = epsilon_per_unit

    @classmethod
    def generate(cls, epsilon_per_unit: Fraction) -> LaplaceNoise:
        """Draw a key from the operating system's randomness.

        Parameters
        ----------
        epsilon_per_unit : Fraction

        Raises
        ------
        PrivacyParameterError
        """
        return cls(secrets.token_bytes(KEY_BYTES), epsilon_per_unit)

    def to_bytes(self) -> bytes:
        """Return the key, 32 secret bytes, for the hospital's own storage."""
        return self._key

    def instances(self, vectors: I64, identities: Sequence[str] | None = None) -> I64:
        """Add noise to the rows of a table.

        Parameters
        ----------
        vectors : int64 array of shape (rows, m)
            From -2**62 to 2**62 - 1.
        identities : sequence of str, optional
            Whose row it is. Rows equal in vector and identity get independent noise within a
            table, and the same again in another table.

        Returns
        -------
        int64 array of shape (rows, m)
            Within the same bounds.

        Raises
        ------
        ParameterError
            If an argument has another type or shape.
        OverflowParameterError
            If a coordinate is beyond the bounds, or its noise takes it there.
        """
        return self._noisy(vectors, b"table", _numbered(_records(vectors, identities)))

    def instance_digests(
        self, vectors: I64, identities: Sequence[str] | None = None
    ) -> list[bytes]:
        """Return what names each release of `instances`, for a `BudgetLedger`.

        Parameters
        ----------
        vectors : int64 array of shape (rows, m)
        identities : sequence of str, optional

        Returns
        -------
        list of bytes
            32 bytes each, as of `query_digests`; never those of a query.

        Raises
        ------
        ParameterError
        """
        records = _numbered(_records(vectors, identities))
        return self._digests(b"row name", records, vectors.shape[1])

    def queries(self, vectors: I64, identities: Sequence[str] | None = None) -> I64:
        """Add noise to queries; the same query of the same person gets the same noise.

        Parameters
        ----------
        vectors : int64 array of shape (rows, m)
        identities : sequence of str, optional
            Who asks, or about whom. Without it, equal vectors of different persons are recognised
            as equal.

        Returns
        -------
        int64 array of shape (rows, m)

        Raises
        ------
        ParameterError, OverflowParameterError
            As `instances`.
        """
        return self._noisy(vectors, b"query", _records(vectors, identities))

    def query_digests(self, vectors: I64, identities: Sequence[str] | None = None) -> list[bytes]:
        """Return what names each release of `queries`, for a `BudgetLedger`.

        Parameters
        ----------
        vectors : int64 array of shape (rows, m)
        identities : sequence of str, optional

        Returns
        -------
        list of bytes
            32 bytes each. Equal just where the noise is the same; under another key or epsilon
            all differ. Without the key they tell nothing of the vector.

        Raises
        ------
        ParameterError
        """
        return self._digests(b"digest", _records(vectors, identities), vectors.shape[1])

    def __repr__(self) -> str:
        return f"<LaplaceNoise of epsilon {float(self.epsilon_per_unit):.3g} per unit>"

    def _digests(self, kind: bytes, records: Sequence[bytes], coordinates: int) -> list[bytes]:
        start = self._start(kind, coordinates)
        return [_stream(start, record, 32) for record in records]

    def _noisy(self, vectors: I64, kind: bytes, records: Sequence[bytes]) -> I64:
        if vectors.size and (vectors.min() < -REACH or vectors.max() >= REACH):
            raise OverflowParameterError("vectors: expected values of at most 62 bits and a sign")
        start = self._start(kind, vectors.shape[1])
        noisy = np.empty(vectors.shape, dtype=np.int64)
        for first in range(0, len(vectors), _CHUNK):
            part = slice(first, first + _CHUNK)
            noisy[part] = vectors[part] + self._noise(start, records[part], vectors.shape[1])
        if noisy.size and (noisy.min() < -REACH or noisy.max() >= REACH):
            raise OverflowParameterError(
                "vectors: with noise they need more than 62 bits and a sign"
            )
        return noisy

    def _noise(self, start: hashlib._Hash, records: Sequence[bytes], coordinates: int) -> I64:
        noise = np.empty((len(records), coordinates), dtype=np.int64)
        left = np.arange(len(records))
        words = _WORDS * coordinates + _SPARE_WORDS
        while len(left):
            data = b"".join(_stream(start, records[row], 8 * words) for row in left.tolist())
            some = np.empty((len(left), coordinates), dtype=np.int64)
            short = np.empty(len(left), dtype=np.bool_)
            fill_noise(
                np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(len(left), words),
                np.uint64(self.epsilon_per_unit.numerator),
                np.uint64(self.epsilon_per_unit.denominator),
                some,
                short,
            )
            noise[left] = some
            left = left[short]
            words *= 2
        return noise

    def _start(self, kind: bytes, coordinates: int) -> hashlib._Hash:
        """Hash state for one kind of release: all fields have fixed places."""
        a = self.epsilon_per_unit
        numbers = (a.numerator, a.denominator, coordinates)
        fields = [self._key, _LABEL.ljust(32, b"\0"), kind.ljust(8, b"\0")]
        fields += [number.to_bytes(8, "little") for number in numbers]
        return hashlib.shake_256(b"".join(fields).ljust(_BLOCK, b"\0"))


def epsilon_per_unit(epsilon: float | Fraction, vectors: I64) -> Fraction:
    """Convert epsilon per median distance of two patients into epsilon per unit of distance.

    Parameters
    ----------
    epsilon : float, int or Fraction
        Privacy loss between two patients who lie as far apart as the median pair does.
    vectors : int64 array of shape (N, m)
        The table without noise; its median is over all pairs of up to 512 rows, spread evenly.

    Returns
    -------
    Fraction
        For `LaplaceNoise`. Rounded down, thus towards more privacy, where numerator or
        denominator would need more than 48 bits.

    Raises
    ------
    PrivacyParameterError
        If epsilon is not a positive finite number or too small, there are fewer than two rows, or
        at least half of the pairs have distance 0.
    ParameterError
        If the vectors are no int64 matrix.
    OverflowParameterError
        If distances could pass 63 bits.
    """
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float, Fraction)):
        raise PrivacyParameterError(f"epsilon: expected a number, got {type(epsilon).__name__}")
    if (isinstance(epsilon, float) and not math.isfinite(epsilon)) or epsilon <= 0:
        raise PrivacyParameterError("epsilon: expected a positive finite number")
    _check_vectors(vectors)
    median = _median_distance(vectors)
    if median == 0:
        raise PrivacyParameterError(
            "vectors: half of all pairs of rows are equal, no scale in them"
        )
    rounded = _rounded_down(Fraction(epsilon) / median)
    if rounded == 0:
        raise PrivacyParameterError("epsilon: expected more, it is below 2**-48 per unit")
    return rounded


def _rounded_down(exact: Fraction) -> Fraction:
    """Return a near fraction of small integers, not above `exact`; 0 if there is none."""
    largest = _LARGEST_PART - 1
    if max(exact.numerator, exact.denominator) <= largest:
        return exact
    if exact >= largest:
        return Fraction(largest)
    bits = 47
    while exact * (1 << bits) >= _LARGEST_PART:
        bits -= 1
    candidates = [Fraction(math.floor(exact * (1 << bits)), 1 << bits)]
    inverse = math.ceil(1 / exact)
    if inverse <= largest:
        candidates.append(Fraction(1, inverse))
    return max(candidates)


def _median_distance(vectors: I64) -> Fraction:
    rows = len(vectors)
    if rows < 2:
        raise PrivacyParameterError(f"vectors: expected at least two rows, got {rows}")
    picked = np.unique(np.linspace(0, rows - 1, min(_SAMPLE, rows)).astype(np.int64))
    sample = vectors[picked]
    span = sum(int(high) - int(low) for low, high in zip(sample.min(0), sample.max(0), strict=True))
    if span >= 1 << 63:
        raise OverflowParameterError("vectors: distances would pass 63 bits")
    distances = np.sort(
        np.concatenate(
            [np.abs(sample[row + 1 :] - sample[row]).sum(axis=1) for row in range(len(sample) - 1)]
        )
    )
    middle = len(distances) // 2
    return Fraction(int(distances[middle]) + int(distances[~middle]), 2)


def _records(vectors: I64, identities: Sequence[str] | None) -> list[bytes]:
    """Bytes of every vector, which all have one length, and after them of its identity."""
    _check_vectors(vectors)
    data = np.ascontiguousarray(vectors, dtype="<i8").tobytes()
    width = 8 * vectors.shape[1]
    records = [data[first : first + width] for first in range(0, len(data), width)]
    if identities is None:
        return [record + b"\0" for record in records]
    if isinstance(identities, str) or len(identities) != len(records):
        raise ParameterError(f"identities: expected {len(records)} texts")
    if not all(isinstance(identity, str) for identity in identities):
        raise ParameterError("identities: expected texts")
    return [
        record + b"\1" + identity.encode(errors="surrogatepass")
        for record, identity in zip(records, identities, strict=True)
    ]


def _numbered(records: Sequence[bytes]) -> list[bytes]:
    """Put before every record how many equal ones came before it."""
    seen: Counter[bytes] = Counter()
    numbered = []
    for record in records:
        numbered.append(seen[record].to_bytes(8, "little") + record)
        seen[record] += 1
    return numbered


def _stream(start: hashlib._Hash, record: bytes, length: int) -> bytes:
    """Pseudorandom bytes of one record; a longer stream begins with the shorter one."""
    state = start.copy()
    state.update(record)
    return state.digest(length)  # type: ignore[call-arg]


def _check_vectors(vectors: I64) -> None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.int64 or vectors.ndim != 2:
        raise ParameterError("vectors: expected an int64 array of shape (rows, coordinates)")
    if vectors.shape[1] < 1:
        raise ParameterError("vectors: expected at least one coordinate")
