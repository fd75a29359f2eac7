"""What all ciphertexts under one public key have in common."""

from __future__ import annotations

import hashlib

from ompd.aggregate.ciphertext import HEADER_BYTES, Ciphertext, packed_size
from ompd.aggregate.noise import Noise
from ompd.aggregate.packing import packer_of
from ompd.aggregate.ring import tables_of
from ompd.aggregate.sampling import SEED_BYTES
from ompd.errors import ContextMismatchError, RangeError
from ompd.params import AggregateSet

_LABEL = b"ompd/aggregate/1\x00"


class Context:
    """Parameter set and public key that ciphertexts belong to.

    Parameters
    ----------
    parameters : AggregateSet
    encryption_key : bytes
        Encoded public key of encryption.
    """

    def __init__(self, parameters: AggregateSet, encryption_key: bytes) -> None:
        self.parameters = parameters
        self.tables = tables_of(parameters)
        self.noise = Noise(parameters)
        self.packer = packer_of(parameters)
        named = (
            parameters.degree,
            parameters.plain_modulus,
            parameters.packing,
            parameters.depth,
            *parameters.primes,
            parameters.special_prime,
        )
        text = ",".join(map(str, named)).encode()
        self.digest = hashlib.sha256(_LABEL + text + b"\x00" + encryption_key).digest()

    def check_fresh(self, ciphertext: Ciphertext, *, bound: int, length: int) -> None:
        """Return if a ciphertext says of itself what a new one of such values does, or raise.

        For what came from somebody else: results and the noise that hides their origin rest on what
        headers say. Only whoever encrypted it knows whether the values are as small.

        Raises
        ------
        ContextMismatchError
            If it belongs to another key.
        RangeError
        """
        if ciphertext.context.digest != self.digest:
            raise ContextMismatchError("ciphertext: expected one under this public key")
        noise = self.noise.fresh(bound, length, secretly=ciphertext.seed is not None)
        expected = (len(self.parameters.primes), 0, bound, length, noise)
        found = (
            ciphertext.level,
            ciphertext.depth,
            ciphertext.bound,
            ciphertext.length,
            ciphertext.noise,
        )
        if found != expected:
            raise RangeError("ciphertext: expected a new one of this bound and length")

    def size_of(self, level: int, *, seeded: bool = False) -> int:
        """Return how many bytes an encoded ciphertext has."""
        n = self.parameters.degree
        component = packed_size(self.parameters.primes[:level], n)
        return HEADER_BYTES + component + (SEED_BYTES if seeded else component)
