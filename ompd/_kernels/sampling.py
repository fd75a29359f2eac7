"""Random polynomials from random bytes, without bias.

Whatever a sampler cannot use it passes over; where the bytes end too early, it says how many
residues it has, and whoever calls brings more.
"""

import numpy as np

from ompd._kernels.jit import kernel

#: Bytes up to below 3^5 give five ternary digits each.
_FIVE = 243
_EVEN = np.uint64(0x5555555555555555)
_PAIRS = np.uint64(0x3333333333333333)
_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ONE, _TWO, _FOUR = np.uint64(1), np.uint64(2), np.uint64(4)
_EIGHT, _SIXTEEN, _THIRTY_TWO = np.uint64(8), np.uint64(16), np.uint64(32)
_SEVEN_BITS = np.uint64(0x7F)
_HALF = np.uint64(21)
_MASK = np.uint64((1 << 21) - 1)


@kernel(_nrt=False)
def ternary(octets, out, filled):
    """Write -1, 0 and 1 with equal chances to out float64[N] from `filled` on; how many it has."""
    n = out.shape[0]
    for place in range(octets.shape[0]):
        octet = np.int64(octets[place])
        if octet >= _FIVE:
            continue
        for _ in range(5):
            if filled < n:
                out[filled] = octet % 3 - 1
                filled += 1
                octet //= 3
    return filled


@kernel(_nrt=False)
def _ones(word):
    """Number of set bits of a uint64."""
    word = word - ((word >> _ONE) & _EVEN)
    word = (word & _PAIRS) + ((word >> _TWO) & _PAIRS)
    word = (word + (word >> _FOUR)) & _NIBBLES
    word = word + (word >> _EIGHT)
    word = word + (word >> _SIXTEEN)
    return (word + (word >> _THIRTY_TWO)) & _SEVEN_BITS


@kernel(_nrt=False)
def binomial(low, high, factor, out):
    """Centred binomial errors of 2 * 21 bits, times `factor`, added to out float64[N].

    low uint32[N] and high uint16[N] together are 48 random bits a residue, of which 42 count.
    """
    for i in range(out.shape[0]):
        word = np.uint64(low[i]) | (np.uint64(high[i]) << _THIRTY_TWO)
        gains = np.float64(_ones(word & _MASK))
        losses = np.float64(_ones((word >> _HALF) & _MASK))
        out[i] += factor * (gains - losses)


@kernel(_nrt=False)
def uniform(words, mask, prime, out, filled):
    """Write uniform residues around zero to out float64[N] from `filled` on; how many it has.

    Of each of words uint64[:] the bits in `mask` count, if they are below `prime`, also uint64.
    """
    n = out.shape[0]
    half = prime >> _ONE
    for place in range(words.shape[0]):
        value = words[place] & mask
        if value < prime and filled < n:
            out[filled] = np.float64(value)
            if value > half:
                out[filled] -= np.float64(prime)
            filled += 1
    return filled


@kernel(_nrt=False)
def limbs_of(words, mask, offset, out):
    """Random integers out float64[N] of the bits of words uint64[N] in `mask`, minus `offset`."""
    for i in range(out.shape[0]):
        out[i] = np.float64(words[i] & mask) - offset
