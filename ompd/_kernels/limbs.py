"""Multi-limb integers: exact distances, their order, and the 16-bit heads.

Limbs are little-endian uint64. Every constant is a np.uint64 and every limb expression stays in
uint64, since Numba turns uint64 with a literal into int64.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from ompd._kernels.jit import kernel

LOW32 = np.uint64(0xFFFFFFFF)
BITS32 = np.uint64(32)
BITS64 = np.uint64(64)
ZERO = np.uint64(0)
ONE = np.uint64(1)
HEAD_MAX = 65535
COMPILED = not config.DISABLE_JIT
_HEAD_MASK = np.uint64(HEAD_MAX)


if not config.DISABLE_JIT:

    @intrinsic
    def _gaps_of_eight(typingctx, left, left_first, right, right_first, count, digits):
        """`_sum_gaps` for eight limbs as one vector; left and right are flat uint64 arrays."""

        def codegen(context, builder, signature, args):
            word = ir.IntType(64)
            i32 = ir.IntType(32)
            eight = ir.VectorType(word, 8)
            first_lane = ir.Constant(ir.VectorType(i32, 8), [0] * 8)
            lefts, rights, sums = (
                context.make_array(signature.args[place])(context, builder, args[place]).data
                for place in (0, 2, 5)
            )
            halves = [
                cgutils.alloca_once_value(builder, ir.Constant(eight, None)) for _ in range(2)
            ]
            mask = ir.Constant(eight, [0xFFFFFFFF] * 8)
            shift = ir.Constant(eight, [32] * 8)

            def load(data, first, step):
                place = builder.gep(data, [builder.add(first, step)])
                result = builder.load(builder.bitcast(place, eight.as_pointer()))
                result.align = 8
                return result

            def bits(vector):
                return builder.bitcast(vector, ir.IntType(8))

            with cgutils.for_range(builder, args[4], intp=word) as loop:
                step = builder.shl(loop.index, word(3))
                a = load(lefts, args[1], step)
                b = load(rights, args[3], step)
                # The highest differing limb decides the order, so the lane masks do as integers.
                less = bits(builder.icmp_unsigned("<", a, b))
                more = bits(builder.icmp_unsigned(">", a, b))
                swap = builder.sext(builder.icmp_unsigned("<", more, less), word)
                sign = builder.insert_element(ir.Constant(eight, ir.Undefined), swap, i32(0))
                sign = builder.shuffle_vector(sign, ir.Constant(eight, ir.Undefined), first_lane)
                for half, cut in (
                    (halves[0], lambda vector: builder.and_(vector, mask)),
                    (halves[1], lambda vector: builder.lshr(vector, shift)),
                ):
                    # (gap ^ -1) - -1 is -gap: no branch, since the signs are random.
                    gap = builder.xor(builder.sub(cut(a), cut(b)), sign)
                    builder.store(builder.add(builder.load(half), builder.sub(gap, sign)), half)
            for place, half in enumerate(halves):
                target = builder.gep(sums, [word(8 * place)])
                target = builder.bitcast(target, eight.as_pointer())
                builder.store(builder.load(half), target).align = 8
            return context.get_dummy_value()

        signature = types.void(left, left_first, right, right_first, count, digits)
        return signature, codegen


@kernel(_nrt=False)
def _sum_gaps(left, left_first, right, right_first, count, digits):
    """Sum |left - right| over `count` coordinates in 32-bit digits, without carries.

    left, right uint64[:] from the given limbs on; digits int64[2 * L] is overwritten with the sums
    of the low halves of the limbs, then of the high halves, exact below 2**31 coordinates.
    """
    width = digits.shape[0] >> 1
    for place in range(2 * width):
        digits[place] = 0
    for coordinate in range(count):
        x = left_first + coordinate * width
        y = right_first + coordinate * width
        top = width - 1
        while top > 0 and left[x + top] == right[y + top]:
            top -= 1
        sign = np.int64(1) if left[x + top] >= right[y + top] else np.int64(-1)
        for limb in range(width):
            a = left[x + limb]
            b = right[y + limb]
            digits[limb] += sign * (np.int64(a & LOW32) - np.int64(b & LOW32))
            digits[width + limb] += sign * (np.int64(a >> BITS32) - np.int64(b >> BITS32))


@kernel(_nrt=False)
def _sum_words(left, left_first, right, right_first, count, out, slot):
    """One-limb case of `distance_into`: 64-bit gaps, carries counted in out[slot, 1]."""
    total = ZERO
    carries = ZERO
    for coordinate in range(count):
        a = left[left_first + coordinate]
        b = right[right_first + coordinate]
        gap = a - b if a >= b else b - a
        total += gap
        if total < gap:
            carries += ONE
    out[slot, 0] = total
    out[slot, 1] = carries


@kernel(_nrt=False)
def distance_into(left, left_first, right, right_first, count, digits, out, slot):
    """Exact sum of |left - right| over `count` coordinates of L limbs into out[slot, :L + 1].

    Arguments as in `_sum_gaps`. Eight limbs (the 512-bit profile) and one limb (plain integers)
    have code of their own.
    """
    width = digits.shape[0] >> 1
    if width == 1:
        _sum_words(left, left_first, right, right_first, count, out, slot)
        return
    if width == 8 and COMPILED:
        _gaps_of_eight(left, left_first, right, right_first, count, digits)
    else:
        _sum_gaps(left, left_first, right, right_first, count, digits)
    carry = np.int64(0)
    for limb in range(width):
        low = digits[limb] + carry
        high = digits[width + limb] + (low >> np.int64(32))
        carry = high >> np.int64(32)
        out[slot, limb] = (np.uint64(low) & LOW32) | (np.uint64(high) << BITS32)
    out[slot, width] = np.uint64(carry)


@kernel(_nrt=False)
def precedes(values, left, left_row, right, right_row):
    """Whether (values[left], left_row) < (values[right], right_row); values uint64[:, :]."""
    for limb in range(values.shape[1] - 1, -1, -1):
        if values[left, limb] != values[right, limb]:
            return values[left, limb] < values[right, limb]
    return left_row < right_row


@kernel(_nrt=False)
def shifted_word(limbs, row, coordinate, bits, word):
    """Bits [bits + 64 * word, + 64) of limbs[row, coordinate] as uint64; zero beyond the top."""
    width = limbs.shape[2]
    limb = (bits >> 6) + word
    if limb >= width:
        return ZERO
    low = np.uint64(bits & 63)
    result = limbs[row, coordinate, limb] >> low
    if low != ZERO and limb + 1 < width:
        result |= limbs[row, coordinate, limb + 1] << (BITS64 - low)
    return result


@kernel(_nrt=False)
def clamped_head(limbs, row, coordinate, bits, base, column):
    """(limbs[row, coordinate] >> bits) - base[column], clamped to [0, 65535], as int64.

    base uint64[columns, L] holds the table's minimum >> bits.
    """
    words = limbs.shape[2] - (bits >> 6)
    borrow = ZERO
    head = ZERO
    beyond = False
    for word in range(words):
        value = shifted_word(limbs, row, coordinate, bits, word)
        known = base[column, word]
        gap = value - known - borrow
        borrow = ONE if value < known or (value == known and borrow != ZERO) else ZERO
        if word == 0:
            head = gap
        elif gap != ZERO:
            beyond = True
    if borrow != ZERO:
        return np.int64(0)
    if beyond or head > _HEAD_MASK:
        return np.int64(HEAD_MAX)
    return np.int64(head)


@kernel(_nrt=False)
def mark_strays(limbs, first, last, bits, floor, most, strays):
    """strays[row - first] = whether any head of the row is outside [0, most[coordinate]].

    The head is (value >> bits) - floor; floor uint64[m, L], most uint64[m], strays bool_[:].
    """
    for row in range(first, last):
        strays[row - first] = False
        for coordinate in range(limbs.shape[1]):
            borrow = ZERO
            inside = True
            for word in range(limbs.shape[2] - (bits >> 6)):
                value = shifted_word(limbs, row, coordinate, bits, word)
                known = floor[coordinate, word]
                gap = value - known - borrow
                borrow = ONE if value < known or (value == known and borrow != ZERO) else ZERO
                if word == 0:
                    inside = gap <= most[coordinate]
                elif gap != ZERO:
                    inside = False
            if not inside or borrow != ZERO:
                strays[row - first] = True


@kernel(_nrt=False)
def widen_extremes(limbs, first, last, low, high):
    """Lower low uint64[m, L] and raise high uint64[m, L] to cover rows [first, last)."""
    width = limbs.shape[2]
    for row in range(first, last):
        for coordinate in range(limbs.shape[1]):
            top = width - 1
            while top > 0 and limbs[row, coordinate, top] == low[coordinate, top]:
                top -= 1
            if limbs[row, coordinate, top] < low[coordinate, top]:
                for limb in range(width):
                    low[coordinate, limb] = limbs[row, coordinate, limb]
            top = width - 1
            while top > 0 and limbs[row, coordinate, top] == high[coordinate, top]:
                top -= 1
            if limbs[row, coordinate, top] > high[coordinate, top]:
                for limb in range(width):
                    high[coordinate, limb] = limbs[row, coordinate, limb]


@kernel(_nrt=False)
def fill_heads(limbs, first, last, columns, bits, base, heads, start):
    """heads[start + row] = low 16 bits of (value >> bits) - base for rows [first, last).

    heads uint16[:, columns]; exact for heads from 0 to 65535, which the caller ensures.
    """
    for row in range(first, last):
        for column in range(columns.shape[0]):
            word = shifted_word(limbs, row, columns[column], bits, 0)
            heads[start + row, column] = np.uint16((word - base[column, 0]) & _HEAD_MASK)
