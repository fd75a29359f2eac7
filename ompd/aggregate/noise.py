"""Upper bounds on the noise of ciphertexts, from public sizes alone.

The noise of a ciphertext (c0, c1) is v = c0 + c1 s, small integers that are the plaintext modulo t.
Its size here is that of the largest of its values at the complex 2N-th roots of minus one, the
canonical embedding: it bounds every coefficient, adds in sums and multiplies in products. It is
kept as a whole number of 256ths of a bit, rounded up.

A polynomial of independent coefficients that are subgaussian with variance s^2 is below
6.5 s sqrt(N) at all N / 2 pairs of roots but for a chance of 2^-41 (N <= 16384): its share along
each of 16 directions exceeds cos(pi/16) times that with a chance below
exp(-cos(pi/16)^2 6.5^2). Secrets (variance 2/3), errors (21/2) and the randomness of encryption are
such polynomials. The rounding of a division, and the digits of a ciphertext, are taken to be
uniform and independent of the secret, as usual; of fresh ciphertexts they are.

Sources: Gentry, Halevi and Smart, Homomorphic evaluation of the AES circuit, 2012, appendix A;
Halevi and Shoup, Design and implementation of HElib, 2020, section 5.
"""

from __future__ import annotations

import math
from functools import lru_cache

from ompd.params import AggregateSet

#: Noise is counted in so many parts of a bit.
PARTS = 256
#: More noise than any modulus holds.
OVERFLOW = 1 << 20
#: Bits between noise and modulus below which nothing is decrypted.
HEADROOM = 6

_WIDTH = 6.5
_ERROR_VARIANCE = 21 / 2
_SECRET_VARIANCE = 2 / 3
_ROUNDING_VARIANCE = 1 / 12


def parts_of(bits: float) -> int:
    """Return bits as parts, rounded up; `OVERFLOW` if there are too many."""
    return min(OVERFLOW, math.ceil(bits * PARTS)) if bits < OVERFLOW / PARTS else OVERFLOW


def both(*noises: int) -> int:
    """Return the noise of a sum."""
    most = max(noises)
    if most >= OVERFLOW:
        return OVERFLOW
    total = sum(2.0 ** ((noise - most) / PARTS) for noise in noises)
    return parts_of(most / PARTS + math.log2(total))


class Noise:
    """Sizes of noise under one parameter set.

    Parameters
    ----------
    parameters : AggregateSet
    """

    def __init__(self, parameters: AggregateSet) -> None:
        self._n = parameters.degree
        self._t = parameters.plain_modulus
        self._slots = parameters.packing == "slots"
        self._logs = [math.log2(p) for p in parameters.primes]
        self._special = math.log2(parameters.special_prime)
        self._error = self._random(_ERROR_VARIANCE)
        self._secret = self._random(_SECRET_VARIANCE)
        # Asked for every product, and nearly always for the same.
        self.best_level = lru_cache(256)(self._best_level)
        self.relinearised = lru_cache(256)(self._relinearised)
        t = math.log2(self._t)
        #: What a division by a prime adds.
        self.rounding = parts_of(
            t + math.log2(self._random(_ROUNDING_VARIANCE) * (1 + self._secret))
        )
        #: The same of single coefficients, where nothing is multiplied any more.
        flat = 0.5 + _WIDTH * math.sqrt(self._n * _ROUNDING_VARIANCE)
        self.last_rounding = parts_of(t + math.log2(flat) + 2**-20)
        secret = self._t * self._error
        self._fresh_secret = parts_of(math.log2(secret))
        self._fresh_public = parts_of(math.log2(secret * math.sqrt(1 + 2 * self._secret**2)))

    def _random(self, variance: float) -> float:
        return _WIDTH * math.sqrt(variance * self._n)

    def plain(self, bound: int, length: int) -> int:
        """Size of a plaintext of so many values of at most `bound`."""
        if self._slots:
            return parts_of(math.log2(self._n * self._t / 2))
        return parts_of(math.log2(max(1, min(bound, self._t // 2)) * length))

    def fresh(self, bound: int, length: int, *, secretly: bool) -> int:
        """Noise of a new ciphertext."""
        return both(
            self.plain(bound, length), self._fresh_secret if secretly else self._fresh_public
        )

    def dropped(self, noise: int, level: int) -> int:
        """Noise after one of `level` primes is divided by."""
        if noise >= OVERFLOW:
            return OVERFLOW
        return both(parts_of(noise / PARTS - self._logs[level - 1]), self.rounding)

    def multiplied(self, a: int, b: int, level: int) -> int:
        """Noise of a product that was not relinearised; a product modulo one prime is none."""
        return OVERFLOW if level == 1 else min(OVERFLOW, a + b)

    def _relinearised(self, noise: int, level: int) -> int:
        """Noise after key switching at `level` primes."""
        digits = sum(
            self._random(_ROUNDING_VARIANCE) * 2.0 ** (log - self._special)
            for log in self._logs[:level]
        )
        switched = parts_of(math.log2(self._t * self._error * digits))
        return both(noise, switched, self.rounding)

    def at(self, noise: int, level: int, lower: int) -> int:
        """Noise after all primes behind the first `lower` of `level` are divided by."""
        for count in range(level, lower, -1):
            noise = self.dropped(noise, count)
        return noise

    def _best_level(self, a: tuple[int, int], b: tuple[int, int]) -> int:
        """At which level two ciphertexts, each of (noise, level), are best multiplied."""
        most = min(a[1], b[1])

        def lost(level: int) -> float:
            product = self.at(*a, level) + self.at(*b, level)
            return product / PARTS - sum(self._logs[:level])

        return min(range(most, min(most, 2) - 1, -1), key=lost)

    def last(self, noise: int, level: int) -> int:
        """Size of the coefficients once only the first prime is left."""
        if noise >= OVERFLOW:
            return OVERFLOW
        if level == 1:
            return noise
        left = parts_of(noise / PARTS - sum(self._logs[1:level]))
        return both(left, self.last_rounding)

    def opens(self, noise: int, level: int) -> bool:
        """Whether so much noise leaves the headroom that decryption demands."""
        return self.last(noise, level) <= (self._logs[0] - 1 - HEADROOM) * PARTS

    def flood_bits(self, noise: int, flood: int) -> int:
        """Bits of a uniform multiple of t that hides so much noise by `flood` bits."""
        return max(0, math.ceil(noise / PARTS - math.log2(self._t))) + flood

    def flooded(self, noise: int, bits: int) -> int:
        """Noise with such a multiple of t and a new encryption of a mask."""
        mask = self.plain(self._t // 2, self._n)
        return both(noise, self._fresh_public, mask, parts_of(bits - 1 + math.log2(self._t)))
