"""Butterflies of the number-theoretic transform, eight float64 residues at a time.

The intrinsics emit plain LLVM vector code, which every target lowers to its own registers (one
AVX-512, two AVX2, four SSE2 or NEON registers). Geometry is constant: a pass reads at equal
distances and writes interleaved, or the other way round, so that all passes are alike. Names follow
Cooley and Tukey (forward) and Gentleman and Sande (inverse); the digit is the radix. Bounds are in
multiples of the prime p, which is below 2^49: outputs of one pass are inputs of the next.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from ompd._kernels.residues import product, reduced

LANES = 8

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_INDEX = ir.IntType(32)
_WORD = ir.IntType(64)
_NONE = ir.Constant(_VECTOR, ir.Undefined)

# How two vectors are interleaved, lane by lane or pair by pair, and taken apart.
_LOW = (0, 8, 1, 9, 2, 10, 3, 11)
_HIGH = (4, 12, 5, 13, 6, 14, 7, 15)
_PAIRS_LOW = (0, 1, 8, 9, 2, 3, 10, 11)
_PAIRS_HIGH = (4, 5, 12, 13, 6, 7, 14, 15)
_EVEN = (0, 2, 4, 6, 8, 10, 12, 14)
_ODD = (1, 3, 5, 7, 9, 11, 13, 15)


def _data(context, builder, array_type, value):
    """Pointer to the first element of a C-contiguous array."""
    return context.make_array(array_type)(context, builder, value).data


class _Lanes:
    """Emits vector code on one prime."""

    def __init__(self, context, builder, p, pinv):
        self._context = context
        self._builder = builder
        self._p = self.splat(p)
        self._pinv = self.splat(pinv)

    def splat(self, scalar):
        """The scalar in all lanes."""
        builder = self._builder
        one = builder.insert_element(_NONE, scalar, _INDEX(0))
        return builder.shuffle_vector(
            one, _NONE, ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
        )

    def load(self, pointer, index):
        """Vector that starts `index` residues behind `pointer`; needs no more than 8 bytes."""
        builder = self._builder
        found = builder.load(builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer()))
        found.align = 8
        return found

    def store(self, vector, pointer, index, ahead=0):
        """Mirror of `load`."""
        builder = self._builder
        place = builder.gep(pointer, [builder.add(index, _WORD(ahead))])
        builder.store(vector, builder.bitcast(place, _VECTOR.as_pointer())).align = 8

    def mix(self, a, b, picks):
        """Lanes of two vectors."""
        return self._builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(_INDEX, LANES), list(picks))
        )

    def _call(self, name, *operands):
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(operands))
        function = cgutils.get_or_insert_function(
            self._builder.module, kind, f"llvm.{name}.v{LANES}f64"
        )
        return self._builder.call(function, operands)

    def add(self, a, b):
        return self._builder.fadd(a, b)

    def subtract(self, a, b):
        return self._builder.fsub(a, b)

    def reduced(self, a):
        """As in `residues`."""
        builder = self._builder
        quotient = self._call("rint", builder.fmul(a, self._pinv))
        return self._call("fma", builder.fneg(quotient), self._p, a)

    def product(self, a, w):
        """As in `residues`."""
        builder = self._builder
        high = builder.fmul(a, w)
        quotient = self._call("rint", builder.fmul(high, self._pinv))
        low = self._call("fma", a, w, builder.fneg(high))
        return builder.fadd(self._call("fma", builder.fneg(quotient), self._p, high), low)


if not config.DISABLE_JIT:

    @intrinsic
    def ct2(typingctx, source, place, half, target, w, k, p, pinv):
        """One level on eight pairs: target[2 place:] gets a + b w and a - b w, interleaved.

        a = source[place:] and b = source[place + half:] are below 2^50; outputs at most 1.5.
        """

        def codegen(context, builder, signature, args):
            lanes = _Lanes(context, builder, args[6], args[7])
            read, write, twiddles = (
                _data(context, builder, signature.args[i], args[i]) for i in (0, 3, 4)
            )
            a = lanes.reduced(lanes.load(read, args[1]))
            b = lanes.load(read, builder.add(args[1], args[2]))
            b = lanes.product(b, lanes.load(twiddles, args[5]))
            total, gap = lanes.add(a, b), lanes.subtract(a, b)
            at = builder.shl(args[1], _WORD(1))
            lanes.store(lanes.mix(total, gap, _LOW), write, at)
            lanes.store(lanes.mix(total, gap, _HIGH), write, at, 8)
            return context.get_dummy_value()

        return types.void(source, place, half, target, w, k, p, pinv), codegen

    @intrinsic
    def gs2(typingctx, source, place, half, target, f, g, p, pinv):
        """Last level of an inverse on eight pairs: (a + b) f and (a - b) g, at most (p + 1) / 2.

        Pairs lie interleaved at source[2 place:], at most 1.6.
        """

        def codegen(context, builder, signature, args):
            lanes = _Lanes(context, builder, args[6], args[7])
            read, write = (_data(context, builder, signature.args[i], args[i]) for i in (0, 3))
            at = builder.shl(args[1], _WORD(1))
            first, second = lanes.load(read, at), lanes.load(read, builder.add(at, _WORD(8)))
            a, b = lanes.mix(first, second, _EVEN), lanes.mix(first, second, _ODD)
            total = lanes.product(lanes.add(a, b), lanes.splat(args[4]))
            gap = lanes.product(lanes.subtract(a, b), lanes.splat(args[5]))
            lanes.store(lanes.reduced(total), write, args[1])
            lanes.store(lanes.reduced(gap), write, builder.add(args[1], args[2]))
            return context.get_dummy_value()

        return types.void(source, place, half, target, f, g, p, pinv), codegen

    @intrinsic
    def ct4(typingctx, source, place, quarter, target, w, k, step, p, pinv):
        """Two levels on eight times four residues, `quarter` apart; written side by side.

        Twiddles at k for the first level, at k + step and k + 2 step for the second. Inputs are
        below 2^50 in the first pass, then at most 2, as outputs are.
        """

        def codegen(context, builder, signature, args):
            lanes = _Lanes(context, builder, args[7], args[8])
            read, write, twiddles = (
                _data(context, builder, signature.args[i], args[i]) for i in (0, 3, 4)
            )
            place, quarter, k, step = args[1], args[2], args[5], args[6]
            w1 = lanes.load(twiddles, k)
            w2 = lanes.load(twiddles, builder.add(k, step))
            w3 = lanes.load(twiddles, builder.add(k, builder.shl(step, _WORD(1))))
            at = [builder.add(place, builder.mul(quarter, _WORD(i))) for i in range(4)]
            x = [lanes.load(read, index) for index in at]
            x[0], x[1] = lanes.reduced(x[0]), lanes.reduced(x[1])
            x[2], x[3] = lanes.product(x[2], w1), lanes.product(x[3], w1)
            a, b = lanes.add(x[0], x[2]), lanes.subtract(x[0], x[2])
            c = lanes.product(lanes.add(x[1], x[3]), w2)
            d = lanes.product(lanes.subtract(x[1], x[3]), w3)
            y = lanes.add(a, c), lanes.subtract(a, c), lanes.add(b, d), lanes.subtract(b, d)
            out = builder.shl(place, _WORD(2))
            for ahead, picks in ((0, _LOW), (16, _HIGH)):
                left, right = lanes.mix(y[0], y[1], picks), lanes.mix(y[2], y[3], picks)
                lanes.store(lanes.mix(left, right, _PAIRS_LOW), write, out, ahead)
                lanes.store(lanes.mix(left, right, _PAIRS_HIGH), write, out, ahead + 8)
            return context.get_dummy_value()

        return types.void(source, place, quarter, target, w, k, step, p, pinv), codegen

    @intrinsic
    def gs4(typingctx, source, place, quarter, target, w, k, step, p, pinv):
        """Inverse of `ct4` but for a factor 4; inputs at most 1.6, outputs at most 1.6."""

        def codegen(context, builder, signature, args):
            lanes = _Lanes(context, builder, args[7], args[8])
            read, write, twiddles = (
                _data(context, builder, signature.args[i], args[i]) for i in (0, 3, 4)
            )
            place, quarter, k, step = args[1], args[2], args[5], args[6]
            w1 = lanes.load(twiddles, k)
            w2 = lanes.load(twiddles, builder.add(k, step))
            w3 = lanes.load(twiddles, builder.add(k, builder.shl(step, _WORD(1))))
            out = builder.shl(place, _WORD(2))
            r = [lanes.load(read, builder.add(out, _WORD(8 * i))) for i in range(4)]
            even = lanes.mix(r[0], r[1], _EVEN), lanes.mix(r[2], r[3], _EVEN)
            odd = lanes.mix(r[0], r[1], _ODD), lanes.mix(r[2], r[3], _ODD)
            y0, y2 = (lanes.mix(*even, picks) for picks in (_EVEN, _ODD))
            y1, y3 = (lanes.mix(*odd, picks) for picks in (_EVEN, _ODD))
            a, c = lanes.add(y0, y1), lanes.product(lanes.subtract(y0, y1), w2)
            b, d = lanes.add(y2, y3), lanes.product(lanes.subtract(y2, y3), w3)
            x = (
                lanes.reduced(lanes.add(a, b)),
                lanes.add(c, d),
                lanes.product(lanes.subtract(a, b), w1),
                lanes.product(lanes.subtract(c, d), w1),
            )
            for i in range(4):
                lanes.store(x[i], write, builder.add(place, builder.mul(quarter, _WORD(i))))
            return context.get_dummy_value()

        return types.void(source, place, quarter, target, w, k, step, p, pinv), codegen

else:

    def ct2(source, place, half, target, w, k, p, pinv):
        for i in range(LANES):
            a = reduced(source[place + i], p, pinv)
            b = product(source[place + half + i], w[k + i], p, pinv)
            at = 2 * (place + i)
            target[at], target[at + 1] = a + b, a - b

    def gs2(source, place, half, target, f, g, p, pinv):
        for i in range(LANES):
            a, b = source[2 * (place + i)], source[2 * (place + i) + 1]
            target[place + i] = reduced(product(a + b, f, p, pinv), p, pinv)
            target[place + half + i] = reduced(product(a - b, g, p, pinv), p, pinv)

    def ct4(source, place, quarter, target, w, k, step, p, pinv):
        for i in range(LANES):
            x0, x1, x2, x3 = (source[place + i + part * quarter] for part in range(4))
            w1, w2, w3 = w[k + i], w[k + step + i], w[k + 2 * step + i]
            x0, x1 = reduced(x0, p, pinv), reduced(x1, p, pinv)
            x2, x3 = product(x2, w1, p, pinv), product(x3, w1, p, pinv)
            a, b = x0 + x2, x0 - x2
            c, d = product(x1 + x3, w2, p, pinv), product(x1 - x3, w3, p, pinv)
            at = 4 * (place + i)
            target[at : at + 4] = a + c, a - c, b + d, b - d

    def gs4(source, place, quarter, target, w, k, step, p, pinv):
        for i in range(LANES):
            y0, y1, y2, y3 = source[4 * (place + i) : 4 * (place + i) + 4]
            w1, w2, w3 = w[k + i], w[k + step + i], w[k + 2 * step + i]
            a, c = y0 + y1, product(y0 - y1, w2, p, pinv)
            b, d = y2 + y3, product(y2 - y3, w3, p, pinv)
            target[place + i] = reduced(a + b, p, pinv)
            target[place + quarter + i] = c + d
            target[place + 2 * quarter + i] = product(a - b, w1, p, pinv)
            target[place + 3 * quarter + i] = product(c - d, w1, p, pinv)
