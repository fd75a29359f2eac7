"""Checksums of buckets that add up: the checksum of an XOR is the XOR of the checksums.

A bucket is uint64[width]. Its checksum is the sum over words of word times key, in the field of
2**64 elements modulo x**64 + x**4 + x**3 + x + 1, with one key per word. It is a linear map, so two
different buckets have the same checksum for one in 2**64 choices of the keys.
"""

import numpy as np

from ompd._kernels.jit import kernel

#: Bits of a word that are looked up at a time, and lookups per word.
BITS = 4
LOOKUPS = 16
_REST = np.uint64(0x1B)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TOP = np.uint64(63)
_LOW = np.uint64((1 << BITS) - 1)


@kernel(_nrt=False)
def _doubled(value):
    """Value times x."""
    return (value << _ONE) ^ (_REST if value >> _TOP else _ZERO)


@kernel()
def products_of(keys):
    """Products of every key with every value of BITS bits at every place of a word.

    keys uint64[width]; returns uint64[width, LOOKUPS, 2**BITS].
    """
    table = np.zeros((keys.shape[0], LOOKUPS, 1 << BITS), np.uint64)
    for word in range(keys.shape[0]):
        power = keys[word]
        for place in range(LOOKUPS):
            for bit in range(BITS):
                step = 1 << bit
                for low in range(step):
                    table[word, place, step + low] = table[word, place, low] ^ power
                power = _doubled(power)
    return table


@kernel()
def checksums(buckets, products, out):
    """Fill out uint64[count] with the checksums of buckets uint64[count, width]."""
    for index in range(buckets.shape[0]):
        total = _ZERO
        for word in range(buckets.shape[1]):
            value = buckets[index, word]
            for place in range(LOOKUPS):
                total ^= products[word, place, np.int64(value & _LOW)]
                value >>= np.uint64(BITS)
        out[index] = total


@kernel()
def sums_of(offsets, chunk, known, out):
    """Fill out uint64[count] with the checksums of what requests ask for.

    offsets uint8 or uint16[count, chunks]; known uint64[chunks * chunk] are the buckets' own.
    """
    for index in range(offsets.shape[0]):
        total = _ZERO
        for part in range(offsets.shape[1]):
            total ^= known[part * chunk + np.int64(offsets[index, part])]
        out[index] = total
