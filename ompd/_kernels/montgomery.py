"""Montgomery products modulo an odd p: one product per value turns t * D into the answer.

With tR = t * R mod p, product(tR, D) = tR * D / R = t * D mod p, so D needs no conversion.
Three paths, all with the same result:

- any width: word by word (CIOS), R = 2**(64 L);
- eight limbs: product scanning with 192-bit column sums, unrolled, R = 2**512;
- eight limbs on processors with AVX-512 IFMA: eight values at a time in 52-bit digits,
  R = 2**520.

Measured on Zen 4, ns per 512-bit value: 292, 86, 25; gmpy2's ``t * D % p`` takes 430.
"""

import numpy as np
from llvmlite import binding, ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from ompd._kernels.jit import kernel
from ompd._kernels.wide import mul_add

COMPILED = not config.DISABLE_JIT
LIMBS = 8
_DIGITS = 10
_DIGIT_BITS = 52
_DIGIT_MASK = (1 << _DIGIT_BITS) - 1
_ZERO = np.uint64(0)
_ONE = np.uint64(1)

#: Whether eight-limb moduli use R = 2**520. Not when Numba was told to build for another processor.
IFMA = (
    not config.DISABLE_JIT
    and not config.CPU_NAME
    and not config.CPU_FEATURES
    and bool(binding.get_host_cpu_features().get("avx512ifma", False))
)


def radix_bits(width):
    """Bits of R for a modulus of `width` limbs."""
    return _DIGITS * _DIGIT_BITS if width == LIMBS and IFMA else 64 * width


if COMPILED:

    def _limb(builder, data, first, place):
        return builder.load(builder.gep(data, [builder.add(first, ir.IntType(64)(place))]))

    @intrinsic
    def _product_of_eight(typingctx, left, left_at, right, right_at, modulus, inverse, out, out_at):
        """Eight-limb `_product` without loops; all arrays uint64[:], offsets in limbs."""

        def codegen(context, builder, signature, args):
            word, double, triple = ir.IntType(64), ir.IntType(128), ir.IntType(192)
            left, right, modulus, out = (
                context.make_array(signature.args[place])(context, builder, args[place]).data
                for place in (0, 2, 4, 6)
            )
            a = [_limb(builder, left, args[1], i) for i in range(LIMBS)]
            b = [_limb(builder, right, args[3], i) for i in range(LIMBS)]
            p = [_limb(builder, modulus, word(0), i) for i in range(LIMBS)]

            def plus(total, x, y):
                product = builder.mul(builder.zext(x, double), builder.zext(y, double))
                return builder.add(total, builder.zext(product, triple))

            total, factors, result = triple(0), [], []
            for column in range(2 * LIMBS - 1):
                for i in range(max(0, column - LIMBS + 1), min(column, LIMBS - 1) + 1):
                    total = plus(total, a[i], b[column - i])
                    if i < len(factors):
                        total = plus(total, factors[i], p[column - i])
                if column < LIMBS:
                    factors.append(builder.mul(builder.trunc(total, word), args[5]))
                    total = plus(total, factors[column], p[0])
                else:
                    result.append(builder.trunc(total, word))
                total = builder.lshr(total, triple(64))
            result += [builder.trunc(builder.lshr(total, triple(64 * i)), word) for i in (0, 1)]

            wide = ir.IntType(64 * (LIMBS + 1))

            def join(limbs):
                total = wide(0)
                for i, limb in enumerate(limbs):
                    total = builder.or_(total, builder.shl(builder.zext(limb, wide), wide(64 * i)))
                return total

            value, least = join(result), join(p)
            small = builder.icmp_unsigned("<", value, least)
            value = builder.select(small, value, builder.sub(value, least))
            for i in range(LIMBS):
                place = builder.gep(out, [builder.add(args[7], word(i))])
                builder.store(builder.trunc(builder.lshr(value, wide(64 * i)), word), place)
            return context.get_dummy_value()

        signature = types.void(left, left_at, right, right_at, modulus, inverse, out, out_at)
        return signature, codegen

    @intrinsic
    def _eight_products(typingctx, left, right, places, modulus, inverse, out):
        """Eight eight-limb products modulo p at once, in 52-bit digits (AVX-512 IFMA).

        left, right, modulus, out uint64[:]; places int64[24] holds the limb offsets of eight left
        factors, eight right factors and eight results; inverse is -1 / p modulo 2**52.
        """

        def codegen(context, builder, signature, args):
            word, i32 = ir.IntType(64), ir.IntType(32)
            eight = ir.VectorType(word, 8)
            left, right, places, modulus, out = (
                context.make_array(signature.args[place])(context, builder, args[place]).data
                for place in (0, 1, 2, 3, 5)
            )

            def constant(value):
                return ir.Constant(eight, [value] * 8)

            def splat(scalar):
                blank = ir.Constant(eight, ir.Undefined)
                one = builder.insert_element(blank, scalar, i32(0))
                return builder.shuffle_vector(
                    one, blank, ir.Constant(ir.VectorType(i32, 8), [0] * 8)
                )

            def digits_of(limbs):
                result = []
                for digit in range(_DIGITS):
                    limb, offset = divmod(_DIGIT_BITS * digit, 64)
                    value = builder.lshr(limbs[limb], constant(offset))
                    if offset > 64 - _DIGIT_BITS and limb + 1 < LIMBS:
                        above = builder.shl(limbs[limb + 1], constant(64 - offset))
                        value = builder.or_(value, above)
                    result.append(builder.and_(value, constant(_DIGIT_MASK)))
                return result

            offsets = [builder.load(builder.gep(places, [word(i)])) for i in range(24)]

            def gather(data, first):
                limbs = [ir.Constant(eight, ir.Undefined)] * LIMBS
                for lane in range(8):
                    for i in range(LIMBS):
                        limb = _limb(builder, data, offsets[first + lane], i)
                        limbs[i] = builder.insert_element(limbs[i], limb, i32(lane))
                return digits_of(limbs)

            kind = ir.FunctionType(eight, [eight] * 3)
            low, high = (
                cgutils.get_or_insert_function(
                    builder.module, kind, f"llvm.x86.avx512.vpmadd52{part}.uq.512"
                )
                for part in "lh"
            )
            a, b = gather(left, 0), gather(right, 8)
            p = digits_of([splat(_limb(builder, modulus, word(0), i)) for i in range(LIMBS)])
            negated = splat(args[4])
            zero = constant(0)
            total = [zero] * _DIGITS
            for i in range(_DIGITS):
                total = [builder.call(low, [total[j], a[j], b[i]]) for j in range(_DIGITS)]
                factor = builder.call(low, [zero, total[0], negated])
                total = [builder.call(low, [total[j], factor, p[j]]) for j in range(_DIGITS)]
                carry = builder.lshr(total[0], constant(_DIGIT_BITS))
                total = [*total[1:], zero]
                total[0] = builder.add(total[0], carry)
                total = [builder.call(high, [total[j], a[j], b[i]]) for j in range(_DIGITS)]
                total = [builder.call(high, [total[j], factor, p[j]]) for j in range(_DIGITS)]

            def carried(digits):
                """Digits within 52 bits; the last keeps its sign."""
                carry, result = zero, []
                for j, digit in enumerate(digits):
                    full = builder.add(digit, carry)
                    carry = builder.ashr(full, constant(_DIGIT_BITS))
                    last = j == _DIGITS - 1
                    result.append(full if last else builder.and_(full, constant(_DIGIT_MASK)))
                return result

            total = carried(total)
            less = carried([builder.sub(x, y) for x, y in zip(total, p, strict=True)])
            negative = builder.icmp_signed("<", less[-1], zero)
            total = [builder.select(negative, x, y) for x, y in zip(total, less, strict=True)]
            for i in range(LIMBS):
                value = zero
                for digit in range(_DIGITS):
                    start = _DIGIT_BITS * digit - 64 * i
                    if -_DIGIT_BITS < start < 0:
                        value = builder.or_(value, builder.lshr(total[digit], constant(-start)))
                    elif 0 <= start < 64:
                        value = builder.or_(value, builder.shl(total[digit], constant(start)))
                for lane in range(8):
                    limb = builder.extract_element(value, i32(lane))
                    place = builder.gep(out, [builder.add(offsets[16 + lane], word(i))])
                    builder.store(limb, place)
            return context.get_dummy_value()

        return types.void(left, right, places, modulus, inverse, out), codegen


@kernel(_nrt=False)
def _product(left, left_at, right, right_at, modulus, inverse, out, out_at, spare):
    """out[out_at:] = left * right / 2**(64 L) mod p; left * right below p * 2**(64 L).

    Flat uint64 arrays, offsets in limbs; inverse is -1 / p modulo 2**64; spare uint64[L + 2] is
    overwritten.
    """
    width = modulus.shape[0]
    for limb in range(width + 2):
        spare[limb] = _ZERO
    for i in range(width):
        carry = _ZERO
        for j in range(width):
            spare[j], carry = mul_add(left[left_at + i], right[right_at + j], spare[j], carry)
        spare[width], carry = mul_add(_ONE, spare[width], carry, _ZERO)
        spare[width + 1] = carry
        factor = spare[0] * inverse
        _, carry = mul_add(factor, modulus[0], spare[0], _ZERO)
        for j in range(1, width):
            spare[j - 1], carry = mul_add(factor, modulus[j], spare[j], carry)
        spare[width - 1], carry = mul_add(_ONE, spare[width], carry, _ZERO)
        spare[width] = spare[width + 1] + carry
    at_least = True
    if spare[width] == _ZERO:
        for limb in range(width - 1, -1, -1):
            if spare[limb] != modulus[limb]:
                at_least = spare[limb] > modulus[limb]
                break
    borrow = _ZERO
    for limb in range(width):
        value = spare[limb]
        if at_least:
            gone = modulus[limb]
            spare[limb] = value - gone - borrow
            borrow = _ONE if value < gone or (value == gone and borrow != _ZERO) else _ZERO
        out[out_at + limb] = spare[limb]


@kernel(_nrt=False)
def products(left, repeat, right, picks, modulus, inverse, out, first, last, spare, places):
    """out[v] = left[v // repeat] * right[picks[v]] / R mod p for values first <= v < last.

    Flat uint64 arrays of L limbs per value; picks int64, or empty for right[v]; spare
    uint64[L + 2], places int64[24] are scratch.
    """
    width = modulus.shape[0]
    if width == LIMBS and IFMA:
        for start in range(first, last, 8):
            for lane in range(8):
                value = min(start + lane, last - 1)
                places[lane] = value // repeat * LIMBS
                places[8 + lane] = (picks[value] if picks.shape[0] > 0 else value) * LIMBS
                places[16 + lane] = value * LIMBS
            _eight_products(left, right, places, modulus, inverse, out)
        return
    for value in range(first, last):
        a = value // repeat * width
        b = (picks[value] if picks.shape[0] > 0 else value) * width
        if width == LIMBS and COMPILED:
            _product_of_eight(left, a, right, b, modulus, inverse, out, value * width)
        else:
            _product(left, a, right, b, modulus, inverse, out, value * width, spare)
