"""Keys: who holds the secret one decrypts, who holds the public one encrypts and evaluates.

A public key in bytes; integers are little-endian:

======  =====  =================================================================
bytes          content
======  =====  =================================================================
1              version of this layout, 1
1 + n          length of the parameter set's name, and the name in ASCII
32             seed a of the encryption key
...            its first component b = -(a s + t e), prime by prime
D * 32         seeds of the relinearisation key, one per prime; none if the depth is 0
...            its first components, modulo all primes and the special one
======  =====  =================================================================
"""

from __future__ import annotations

import hmac
from typing import Self

import numpy as np

from ompd._kernels.ciphertexts import add, encrypt_secretly, multiply_rows
from ompd._kernels.transform import rows_of
from ompd.aggregate.ciphertext import packed, packed_size, unpacked
from ompd.aggregate.context import Context
from ompd.aggregate.ring import Tables, centred, tables_of
from ompd.aggregate.sampling import (
    SEED_BYTES,
    add_errors,
    expanded,
    new_seed,
    ternary_of,
)
from ompd.arrays import F64
from ompd.confidential import Confidential
from ompd.errors import FramingError, KeyMaterialError, ParameterError, VersionError
from ompd.params import AGGREGATE_SETS, PACKINGS, STANDARD_BITS, AggregateSet, Packing

_VERSION = 1
_SECRET_BYTES = 1 + 32 + SEED_BYTES


def keygen(
    depth: int = 1, bound: int = 2**23 - 1, packing: Packing = "coefficients"
) -> tuple[SecretKey, PublicKey]:
    """Make keys under the smallest named parameter set that is enough.

    Parameters
    ----------
    depth : int, default 1
        Multiplications one upon another, from 0 on.
    bound : int, default 2**23 - 1
        Largest absolute value of a result.
    packing : {"coefficients", "slots"}, default "coefficients"

    Returns
    -------
    secret : SecretKey
    public : PublicKey

    Raises
    ------
    ParameterError
        If no set is enough.
    """
    secret = SecretKey.generate(choose(depth, bound, packing))
    return secret, secret.public


def choose(depth: int, bound: int, packing: Packing) -> AggregateSet:
    """Return the smallest named parameter set that is enough; see `keygen`."""
    for name, value in (("depth", depth), ("bound", bound)):
        if type(value) is not int or value < 0:
            raise ParameterError(f"{name}: expected an integer from 0 on")
    if packing not in PACKINGS:
        raise ParameterError(f"packing: expected one of {', '.join(PACKINGS)}")
    for each in AGGREGATE_SETS:
        if each.packing == packing and each.depth >= depth and each.largest_bound >= bound:
            return each
    raise ParameterError("depth, bound: expected less; no parameter set is enough")


class PublicKey:
    """What encrypts, and what evaluators need.

    Made by `keygen` and `from_bytes`.

    Parameters
    ----------
    parameters : AggregateSet
    seeds : sequence of bytes
        Of the encryption key, then of the relinearisation key.
    first : float64 array of shape (L, N)
        First component of the encryption key.
    switching : float64 array of shape (D, K, N)
        First components of the relinearisation key, D = L or 0.
    """

    def __init__(
        self, parameters: AggregateSet, seeds: list[bytes], first: F64, switching: F64
    ) -> None:
        tables = tables_of(parameters)
        self._seeds = seeds
        count, n = first.shape
        body = packed(first, parameters.primes)
        self.context = Context(parameters, seeds[0] + body)
        #: float64[2, L, N] and float64[D, 2, K, N], for the kernels.
        self.encryption = np.empty((2, count, n))
        self.encryption[0] = first
        self.encryption[1] = expanded(seeds[0], tables, count)
        self.relinearisation = np.empty((len(switching), 2, count + 1, n))
        for digit, rows in enumerate(switching):
            self.relinearisation[digit, 0] = rows
            self.relinearisation[digit, 1] = expanded(seeds[1 + digit], tables, count + 1)

    @property
    def parameters(self) -> AggregateSet:
        """The parameter set."""
        return self.context.parameters

    def to_bytes(self) -> bytes:
        """Encode; equal keys give equal bytes."""
        parameters = self.parameters
        name = parameters.name.encode()
        moduli = (*parameters.primes, parameters.special_prime)
        parts = [bytes([_VERSION, len(name)]), name, self._seeds[0]]
        parts.append(packed(self.encryption[0], parameters.primes))
        parts += self._seeds[1:]
        parts += [packed(rows, moduli) for rows in self.relinearisation[:, 0]]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode what `to_bytes` gave.

        Raises
        ------
        FramingError, VersionError, RangeError
        """
        if type(data) is not bytes:
            raise FramingError(f"data: expected bytes, got {type(data).__name__}")
        if len(data) < 2 or len(data) < 2 + data[1]:
            raise FramingError("data: expected a whole public key")
        if data[0] != _VERSION:
            raise VersionError(f"data: expected version {_VERSION}")
        start = 2 + data[1]
        parameters = _named(data[2:start])
        n, primes = parameters.degree, parameters.primes
        moduli = (*primes, parameters.special_prime)
        digits = len(primes) if parameters.depth else 0
        first_size, digit_size = packed_size(primes, n), packed_size(moduli, n)
        size = start + (1 + digits) * SEED_BYTES + first_size + digits * digit_size
        if len(data) != size:
            raise FramingError(f"data: expected {size} bytes, got {len(data)}")
        body = np.frombuffer(data, dtype=np.uint8)
        seeds = [data[start : start + SEED_BYTES]]
        start += SEED_BYTES
        first = np.empty((len(primes), n))
        start += unpacked(body[start:], primes, first)
        for _ in range(digits):
            seeds.append(data[start : start + SEED_BYTES])
            start += SEED_BYTES
        switching = np.empty((digits, len(moduli), n))
        for rows in switching:
            start += unpacked(body[start:], moduli, rows)
        return cls(parameters, seeds, first, switching)

    def __repr__(self) -> str:
        return f"<PublicKey {self.parameters.name}, {self.context.digest[:4].hex()}...>"


class SecretKey(Confidential):
    """What decrypts. Made by `keygen` and `from_bytes`.

    Parameters
    ----------
    seed : bytes
        What the secret polynomial is expanded from.
    public : PublicKey
    """

    __slots__ = ("_seed", "public", "rows")

    def __init__(self, seed: bytes, public: PublicKey) -> None:
        self._seed = seed
        self.public = public
        #: Transformed secret, float64[L, N].
        self.rows = _secret_rows(seed, public.context.tables)[:-1]

    @property
    def context(self) -> Context:
        """What its ciphertexts belong to."""
        return self.public.context

    @classmethod
    def generate(cls, parameters: AggregateSet) -> Self:
        """Make a new key from the operating system's randomness.

        Raises
        ------
        ParameterError
            If the set has not 128 bits of security.
        """
        if parameters.modulus_bits > STANDARD_BITS.get(parameters.degree, 0):
            raise ParameterError("parameters: expected no more bits than 128-bit security allows")
        return cls.generated(parameters)

    @classmethod
    def generated(cls, parameters: AggregateSet) -> Self:
        """Make a new key under any set, such as tests have."""
        tables = tables_of(parameters)
        count = len(parameters.primes)
        seed = new_seed()
        secret = _secret_rows(seed, tables)
        seeds = [new_seed()]
        first = _masked(seeds[0], secret[:-1], parameters, tables)
        digits = count if parameters.depth else 0
        switching = np.empty((digits, count + 1, parameters.degree))
        square = np.empty_like(secret[None])
        multiply_rows(secret[None], secret, square, tables.ring)
        for digit in range(digits):
            seeds.append(new_seed())
            factors = np.zeros_like(secret)
            factors[digit] = centred(parameters.special_prime, parameters.primes[digit])
            shifted = np.empty_like(square)
            multiply_rows(square, factors, shifted, tables.ring)
            masked = _masked(seeds[-1], secret, parameters, tables)
            add(masked[None], shifted, switching[digit][None], tables.ring)
        return cls(seed, PublicKey(parameters, seeds, first, switching))

    def to_bytes(self) -> bytes:
        """Return the **secret**: version, digest of the public key, seed; 65 bytes."""
        return bytes([_VERSION]) + self.context.digest + self._seed

    @classmethod
    def from_bytes(cls, encoded: bytes, public: PublicKey) -> Self:
        """Restore a key from `to_bytes`.

        Raises
        ------
        KeyMaterialError
            If the type, length or version is wrong, or the public key is another's.
        """
        if type(encoded) is not bytes:
            raise KeyMaterialError(f"encoded: expected bytes, got {type(encoded).__name__}")
        if len(encoded) != _SECRET_BYTES or encoded[0] != _VERSION:
            raise KeyMaterialError(f"encoded: expected {_SECRET_BYTES} bytes of version {_VERSION}")
        if not hmac.compare_digest(encoded[1:33], public.context.digest):
            raise KeyMaterialError("encoded: expected the secret of this public key")
        return cls(encoded[33:], public)


def _named(name: bytes) -> AggregateSet:
    for each in AGGREGATE_SETS:
        if each.name.encode() == name:
            return each
    raise FramingError("data: expected the name of a parameter set")


def _secret_rows(seed: bytes, tables: Tables) -> F64:
    """Transformed secret modulo all primes."""
    rows = np.empty((len(tables.ring.primes), tables.degree))
    rows_of(ternary_of(seed, tables.degree), rows, tables.room.scratch[0], tables.ring)
    return rows


def _masked(seed: bytes, secret: F64, parameters: AggregateSet, tables: Tables) -> F64:
    """First component of an encryption of zero under a secret key."""
    message = add_errors(np.zeros(parameters.degree), parameters.plain_modulus)
    out = np.empty_like(secret)
    uniform = expanded(seed, tables, len(secret))
    encrypt_secretly(message, uniform, secret, out, tables.room.scratch[0], tables.ring)
    return out
