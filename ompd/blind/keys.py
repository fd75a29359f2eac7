"""The secret that blinds one table."""

from __future__ import annotations

import secrets

import gmpy2

from ompd.confidential import Confidential
from ompd.errors import OverflowParameterError, ParameterError
from ompd.params import ParameterSet

#: Miller-Rabin rounds; a composite passes with probability below 4**-40.
_PRIME_ROUNDS = 40
#: In the bytes of a key.
_NUMBERS = 5


class PaperKey(Confidential):
    """Modulus p, multiplier alpha and scalar s of one table.

    Parameters
    ----------
    parameters : ParameterSet
    coordinates : int
        Coordinates per vector, padding included (n + 2).
    prefix_max : int
        Largest prefix sum that will be blinded.
    modulus, multiplier : int
        Primes of exactly the bit lengths that `parameters` names.
    scalar : int
        From 1 to the largest value that cannot wrap around the modulus.

    Raises
    ------
    ParameterError
        If a prime is composite or has another length, or the scalar is 0.
    OverflowParameterError
        If a blinded value could wrap around the modulus, or noise could change the order of two
        distances.

    Notes
    -----
    The two conditions make comparison exact (Theorem 4 of the source paper, made strict):
    s * (alpha * P_max + 2**noise_bits) < p, and 2 * coordinates * (2**noise_bits - 1) < alpha.
    A key is bound to one table; it refuses to be pickled and never prints its numbers.
    """

    __slots__ = ("coordinates", "modulus", "multiplier", "parameters", "prefix_max", "scalar")

    def __init__(
        self,
        parameters: ParameterSet,
        coordinates: int,
        prefix_max: int,
        *,
        modulus: int,
        multiplier: int,
        scalar: int,
    ) -> None:
        for name, value, bits in (
            ("modulus", modulus, parameters.modulus_bits),
            ("multiplier", multiplier, parameters.multiplier_bits),
        ):
            if value.bit_length() != bits or not gmpy2.is_prime(value, _PRIME_ROUNDS):
                raise ParameterError(f"{name}: expected a prime of {bits} bits")
        largest = _largest_scalar(parameters, coordinates, prefix_max, modulus, multiplier)
        if scalar < 1:
            raise ParameterError("scalar: expected a positive integer")
        if scalar > largest:
            raise OverflowParameterError("scalar: blinded values would wrap around the modulus")
        self.parameters = parameters
        self.coordinates = coordinates
        self.prefix_max = prefix_max
        self.modulus = int(modulus)
        self.multiplier = int(multiplier)
        self.scalar = int(scalar)

    @classmethod
    def generate(cls, parameters: ParameterSet, coordinates: int, prefix_max: int) -> PaperKey:
        """Draw a fresh key from the operating system's randomness.

        Raises
        ------
        OverflowParameterError
            If no key of these lengths can meet both conditions.
        """
        modulus = _random_prime(parameters.modulus_bits)
        multiplier = _random_prime(parameters.multiplier_bits)
        largest = _largest_scalar(parameters, coordinates, prefix_max, modulus, multiplier)
        return cls(
            parameters,
            coordinates,
            prefix_max,
            modulus=modulus,
            multiplier=multiplier,
            scalar=1 + secrets.randbelow(largest),
        )

    @classmethod
    def from_bytes(cls, parameters: ParameterSet, data: bytes) -> PaperKey:
        """Restore what `to_bytes` returned.

        Parameters
        ----------
        parameters : ParameterSet
            As the key was generated with.
        data : bytes

        Raises
        ------
        ParameterError, OverflowParameterError
            If the bytes are no key.
        """
        parts = data.split(b" ")
        # No number of a key has more digits; long ones take long to read.
        if len(parts) != _NUMBERS or not all(part.isdigit() and len(part) < 2000 for part in parts):
            raise ParameterError("data: expected the bytes of a key")
        coordinates, prefix_max, modulus, multiplier, scalar = map(int, parts)
        return cls(
            parameters,
            coordinates,
            prefix_max,
            modulus=modulus,
            multiplier=multiplier,
            scalar=scalar,
        )

    def to_bytes(self) -> bytes:
        """Return all of the key, for the hospital's own storage; it is secret."""
        numbers = (
            self.coordinates, self.prefix_max, self.modulus, self.multiplier, self.scalar
        )  # fmt: skip
        return b" ".join(b"%d" % number for number in numbers)

    def __repr__(self) -> str:
        return f"<PaperKey {self.parameters.name}, {self.coordinates} coordinates>"


def _largest_scalar(
    parameters: ParameterSet, coordinates: int, prefix_max: int, modulus: int, multiplier: int
) -> int:
    noise_bound = 1 << parameters.noise_bits
    if 2 * coordinates * (noise_bound - 1) >= multiplier:
        raise OverflowParameterError(
            f"noise_bits: noise over {coordinates} coordinates could change the order of "
            f"distances under a multiplier of {parameters.multiplier_bits} bits"
        )
    largest = (modulus - 1) // (multiplier * prefix_max + noise_bound)
    if largest < 1:
        raise OverflowParameterError(
            f"modulus_bits: prefix sums of {prefix_max.bit_length()} bits would wrap around a "
            f"modulus of {parameters.modulus_bits} bits"
        )
    return int(largest)


def _random_prime(bits: int) -> int:
    while True:
        candidate = secrets.randbits(bits) | 1 << (bits - 1)
        prime = int(gmpy2.next_prime(candidate))
        if prime.bit_length() == bits and gmpy2.is_prime(prime, _PRIME_ROUNDS):
            return prime
