"""Decimal numbers in text to float64, correctly rounded.

Source: D. Lemire, Number parsing at a gigabyte per second (2021), with the test of the wider
product by N. Tao, The Eisel-Lemire ParseNumberF64 algorithm (2020).
"""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.wide import mul_add

#: What `parse` found.
NO_NUMBER, VALUE, BITS, HARD = range(4)

LEAST_POWER = -342
MOST_POWER = 308
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_TEN = np.uint64(10)
_TOP = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW9 = np.uint64(0x1FF)
#: Largest number of digits that fit into 64 bits.
_MOST_DIGITS = 19
#: Powers of ten that float64 holds exactly.
_EXACT = np.array([float(10**power) for power in range(23)])
#: Exponents beyond this are zero or infinite, or have as many digits.
_FAR = 100_000


def _powers():
    """Leading 128 bits of all powers of ten, cut, as (high, low)."""
    out = np.empty((MOST_POWER - LEAST_POWER + 1, 2), dtype=np.uint64)
    for place, power in enumerate(range(LEAST_POWER, MOST_POWER + 1)):
        if power >= 0:
            value = 10**power
            bits = value.bit_length()
            value = value >> (bits - 128) if bits > 128 else value << (128 - bits)
        else:
            bits = (10**-power).bit_length()
            value = (1 << (bits + 127)) // 10**-power
        out[place] = (value >> 64, value & 0xFFFFFFFFFFFFFFFF)
    return out


POWERS = _powers()


@kernel()
def _bits_of(mantissa, power):
    """Return (bits of mantissa * 10^power, whether they are sure); mantissa is not 0."""
    if power < LEAST_POWER or power > MOST_POWER:
        return _ZERO, False
    zeros = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if mantissa >> np.uint64(64 - step) == _ZERO:
            mantissa <<= np.uint64(step)
            zeros += step
    place = power - LEAST_POWER
    low, high = mul_add(mantissa, POWERS[place, 0], _ZERO, _ZERO)
    if high & _LOW9 == _LOW9 and low + mantissa < mantissa:
        further_low, further_high = mul_add(mantissa, POWERS[place, 1], _ZERO, _ZERO)
        merged = low + further_high
        if merged < low:
            high += _ONE
        if high & _LOW9 == _LOW9 and merged == _TOP and further_low + mantissa < mantissa:
            return _ZERO, False
        low = merged
    top = high >> np.uint64(63)
    found = high >> (top + np.uint64(9))
    exponent = ((217706 * power) >> 16) + 64 + 1023 - zeros - np.int64(_ONE ^ top)
    if low == _ZERO and high & _LOW9 == _ZERO and found & np.uint64(3) == _ONE:
        return _ZERO, False
    found += found & _ONE
    found >>= _ONE
    if found >> np.uint64(53) > _ZERO:
        found >>= _ONE
        exponent += 1
    if exponent < 1 or exponent >= 0x7FF:
        return _ZERO, False
    fraction = found & np.uint64((1 << 52) - 1)
    return (np.uint64(exponent) << np.uint64(52)) | fraction, True


@kernel()
def parse(text, start, end, decimal):
    """Read the plain decimal number at the front of text[start:end], as far as it goes.

    text : uint8 array; decimal : the byte before a fraction.
    Returns (what, value, bits, place): `VALUE` and a float64; `BITS` and those of a float64 as
    uint64; `HARD` for a number that is left to others; `NO_NUMBER` if there is none, or one that
    breaks off; and the place of the first byte that is not of the number.
    """
    place = start
    negative = False
    if place < end and (text[place] == 45 or text[place] == 43):
        negative = text[place] == 45
        place += 1
    mantissa = _ZERO
    digits = 0
    any_digit = False
    fits = True
    power = np.int64(0)
    fraction = False
    while place < end:
        byte = text[place]
        if byte == decimal and not fraction:
            fraction = True
        elif 48 <= byte <= 57:
            any_digit = True
            if digits < _MOST_DIGITS:
                mantissa = mantissa * _TEN + np.uint64(byte - np.uint8(48))
                if mantissa != _ZERO:
                    digits += 1
                if fraction:
                    power -= 1
            else:
                fits = False
        else:
            break
        place += 1
    if not any_digit:
        return NO_NUMBER, 0.0, _ZERO, place
    if place < end and (text[place] == 101 or text[place] == 69):
        place += 1
        sign = np.int64(1)
        if place < end and (text[place] == 45 or text[place] == 43):
            sign = np.int64(-1) if text[place] == 45 else np.int64(1)
            place += 1
        if place == end or text[place] < 48 or text[place] > 57:
            return NO_NUMBER, 0.0, _ZERO, place
        exponent = np.int64(0)
        while place < end and 48 <= text[place] <= 57:
            if exponent < _FAR:
                exponent = exponent * 10 + np.int64(text[place]) - 48
            place += 1
        power += sign * exponent
    if not fits:
        return HARD, 0.0, _ZERO, place
    if mantissa == _ZERO:
        return VALUE, -0.0 if negative else 0.0, _ZERO, place
    # Both factors are exact, so the result is rounded once.
    if mantissa >> np.uint64(53) == _ZERO and -22 <= power <= 22:
        value = np.float64(mantissa)
        value = value * _EXACT[power] if power >= 0 else value / _EXACT[-power]
        return VALUE, -value if negative else value, _ZERO, place
    bits, sure = _bits_of(mantissa, power)
    if not sure:
        return HARD, 0.0, _ZERO, place
    if negative:
        bits |= _ONE << np.uint64(63)
    return BITS, 0.0, bits, place
