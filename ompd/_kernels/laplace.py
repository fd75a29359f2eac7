"""Discrete Laplace noise from uniform 64-bit words, in integers only.

Every draw below takes words from a row until it is done. Where the row ends too early, the place
that is returned lies beyond its end and the value means nothing.
"""

import numpy as np

from ompd._kernels.jit import kernel

ZERO = np.uint64(0)
ONE = np.uint64(1)
TWO = np.uint64(2)
_MOST = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel(_nrt=False)
def _below(words, row, place, bound):
    """Uniform uint64 below `bound` >= 1 from uint64 words[row, place:]; (value, next place).

    Words from the largest multiple of `bound` on are thrown away. A bound of 1 takes no word.
    """
    if bound == ONE:
        return ZERO, place
    last = words.shape[1]
    accepted = _MOST - (_MOST % bound + ONE) % bound
    while place < last:
        word = words[row, place]
        place += 1
        if word <= accepted:
            return word % bound, place
    return ZERO, last + 1


@kernel(_nrt=False)
def _chance(words, row, place, numerator, denominator):
    """Whether an event of probability exp(-numerator/denominator), at most 1, happens.

    Counts successes of probability (numerator/denominator)/count for count = 1, 2, ... until the
    first failure, which comes at an odd count with just that probability.
    """
    count = ONE
    while place <= words.shape[1]:
        value, place = _below(words, row, place, denominator)
        if value >= numerator:
            break
        value, place = _below(words, row, place, count)
        if value != ZERO:
            break
        count += ONE
    return count % TWO == ONE, place


@kernel(_nrt=False)
def _laplace(words, row, place, numerator, denominator):
    """One int64 sample x with probability proportional to exp(-|x| numerator/denominator)."""
    while place <= words.shape[1]:
        rest, place = _below(words, row, place, denominator)
        kept, place = _chance(words, row, place, rest, denominator)
        if not kept:
            continue
        units = ZERO
        more, place = _chance(words, row, place, ONE, ONE)
        while more and place <= words.shape[1]:
            units += ONE
            more, place = _chance(words, row, place, ONE, ONE)
        size = np.int64((rest + denominator * units) // numerator)
        sign, place = _below(words, row, place, TWO)
        if sign == ZERO:
            return size, place
        # Zero must not count twice.
        if size != 0:
            return -size, place
    return np.int64(0), place


@kernel(_nrt=False)
def fill_noise(words, numerator, denominator, noise, short):
    """Fill int64 noise[rows, m], one row from the words of one row of uint64 words[rows, w].

    numerator, denominator uint64 from 1, below 2**48. short bool[rows] is set where the words did
    not suffice; such a row of noise means nothing.
    """
    for row in range(noise.shape[0]):
        place = 0
        for column in range(noise.shape[1]):
            noise[row, column], place = _laplace(words, row, place, numerator, denominator)
        short[row] = place > words.shape[1]
