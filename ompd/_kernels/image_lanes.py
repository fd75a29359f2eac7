"""Bit planes of 64 lanes: from integers to words of bits, and back.

The intrinsics emit plain LLVM vector code, as those of `lanes`. With ``NUMBA_DISABLE_JIT=1`` the
NumPy twins below take over.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

LANES = 64
#: Bits of the widest window, and of a count.
WINDOW_BITS = 14
COUNT_BITS = 5
#: Bits below a window's last place: two windows that are subtracted are cut there, so that what
#: both lose is half a place together.
SPARE_BITS = 2

_WORD = ir.IntType(64)
_BYTE = ir.IntType(8)
_HALF = ir.IntType(16)
_BYTES = ir.VectorType(_BYTE, LANES)
_HALVES = ir.VectorType(_HALF, LANES)
_EIGHT = ir.VectorType(_WORD, 8)
_BITS = ir.VectorType(ir.IntType(1), LANES)


def _data(context, builder, array_type, value):
    """Pointer to the first element of a C-contiguous array."""
    return context.make_array(array_type)(context, builder, value).data


def _load(builder, pointer, index, vector, align):
    """Vector that starts at element `index`."""
    place = builder.bitcast(builder.gep(pointer, [index]), vector.as_pointer())
    load = builder.load(place)
    load.align = align
    return load


def _splat(builder, scalar, vector):
    """The scalar in all lanes."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.IntType(32)(0))
    picks = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), picks)


def _store_planes(builder, lanes, vector, spare, count, out, at, step):
    """Store bit `spare` + j of all lanes as word `at` + `step` * j, for j below `count`."""
    zero = ir.Constant(vector, [0] * LANES)
    for bit in range(count):
        some = builder.and_(lanes, ir.Constant(vector, [1 << spare + bit] * LANES))
        word = builder.bitcast(builder.icmp_unsigned("!=", some, zero), _WORD)
        place = builder.add(at, builder.mul(step, _WORD(bit)))
        builder.store(word, builder.gep(out, [place]))


def _eight(builder, pointer, index, offset):
    """Eight words from element index + 8 * offset on."""
    place = builder.add(index, _WORD(8 * offset))
    return _load(builder, pointer, place, _EIGHT, 8)


def _put_eight(builder, words, pointer, index, offset):
    """Mirror of `_eight`."""
    place = builder.gep(pointer, [builder.add(index, _WORD(8 * offset))])
    builder.store(words, builder.bitcast(place, _EIGHT.as_pointer())).align = 8


def _fold(chunk):
    """Make the code of `fold_4` or `fold_5`, without loops: all of it is in registers."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        given = _data(context, builder, kinds[0], args[0])
        planes = _data(context, builder, kinds[2], args[2])
        out = _data(context, builder, kinds[5], args[5])
        one = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), args[4], ir.IntType(32)(0))
        picks = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        words = [builder.shuffle_vector(one, ir.Constant(_EIGHT, ir.Undefined), picks)]
        words += [_eight(builder, given, args[1], i) for i in range((1 << chunk) - 1)]
        less = ir.Constant(_EIGHT, [0] * 8)
        for bit in reversed(range(chunk)):
            missing = builder.not_(_eight(builder, planes, args[3], bit))
            top = 1 << bit
            less = builder.xor(less, builder.and_(missing, words[top]))
            words = [
                builder.xor(words[top | i], builder.and_(missing, words[i])) for i in range(top)
            ]
        _put_eight(builder, words[0], out, _WORD(0), 0)
        _put_eight(builder, less, out, _WORD(0), 1)
        return context.get_dummy_value()

    return codegen


def _multiply(chunk):
    """Make the code of `multiply_4` or `multiply_5`."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        planes = _data(context, builder, kinds[0], args[0])
        given = _data(context, builder, kinds[2], args[2])
        words = [None]
        for bit in range(chunk):
            plane = _eight(builder, planes, args[1], bit)
            words += [plane] + [builder.and_(plane, each) for each in words[1:]]
        for i, word in enumerate(words[1:]):
            mixed = builder.xor(word, _eight(builder, given, args[3], i))
            _put_eight(builder, mixed, given, args[3], i)
        return context.get_dummy_value()

    return codegen


if not config.DISABLE_JIT:

    @intrinsic
    def fold_4(typingctx, given, at, planes, base, ones, out):
        """Shares of [c = r] and [c < r] of 4 bits, 512 at a time, to out uint64[16].

        given uint64[:]: from `at` on shares of the products of the bits of r; planes uint64[:]:
        from `base` on c's bits, lowest first; ones: this cloud's share of the empty product.
        """
        return types.void(given, at, planes, base, ones, out), _fold(4)

    @intrinsic
    def fold_5(typingctx, given, at, planes, base, ones, out):
        """As `fold_4`, of 5 bits."""
        return types.void(given, at, planes, base, ones, out), _fold(5)

    @intrinsic
    def multiply_4(typingctx, planes, base, given, at):
        """given[at:] ^= the products of 4 planes from `base` on, in the order of their subsets."""
        return types.void(planes, base, given, at), _multiply(4)

    @intrinsic
    def multiply_5(typingctx, planes, base, given, at):
        """As `multiply_4`, of 5 planes."""
        return types.void(planes, base, given, at), _multiply(5)

    @intrinsic
    def difference_planes(typingctx, x, first, y, second, out, at, step):
        """Bit planes of x[first + i] - y[second + i] in lane i, from bit 2 on.

        x, y uint16[:]; out uint64[:], of which words at + step * j are overwritten, j < 14.
        """

        def codegen(context, builder, signature, args):
            kinds = signature.args
            left = _data(context, builder, kinds[0], args[0])
            right = _data(context, builder, kinds[2], args[2])
            out = _data(context, builder, kinds[4], args[4])
            lanes = builder.sub(
                _load(builder, left, args[1], _HALVES, 2),
                _load(builder, right, args[3], _HALVES, 2),
            )
            _store_planes(builder, lanes, _HALVES, SPARE_BITS, WINDOW_BITS, out, args[5], args[6])
            return context.get_dummy_value()

        return types.void(x, first, y, second, out, at, step), codegen

    @intrinsic
    def byte_planes(typingctx, x, first, out, at, step):
        """Bit planes of x[first + i] in lane i; x uint8[:], out as above, j < 5."""

        def codegen(context, builder, signature, args):
            kinds = signature.args
            left = _data(context, builder, kinds[0], args[0])
            out = _data(context, builder, kinds[2], args[2])
            lanes = _load(builder, left, args[1], _BYTES, 1)
            _store_planes(builder, lanes, _BYTES, 0, COUNT_BITS, out, args[3], args[4])
            return context.get_dummy_value()

        return types.void(x, first, out, at, step), codegen

    @intrinsic
    def bytes_of_planes(typingctx, planes, at, step, flip, one, out, first):
        """Lane i of out[first:] = v, or one - v where bit i of flip is set.

        v is made of the five words planes[at + step * j] uint64; out uint8[:] overwritten.
        """

        def codegen(context, builder, signature, args):
            kinds = signature.args
            data = _data(context, builder, kinds[0], args[0])
            out = _data(context, builder, kinds[5], args[5])
            zero = ir.Constant(_BYTES, [0] * LANES)
            lanes = zero
            for bit in range(COUNT_BITS):
                place = builder.add(args[1], builder.mul(args[2], _WORD(bit)))
                mask = builder.bitcast(builder.load(builder.gep(data, [place])), _BITS)
                value = ir.Constant(_BYTES, [1 << bit] * LANES)
                lanes = builder.or_(lanes, builder.select(mask, value, zero))
            ones = _splat(builder, builder.trunc(args[4], _BYTE), _BYTES)
            mask = builder.bitcast(args[3], _BITS)
            lanes = builder.select(mask, builder.sub(ones, lanes), lanes)
            place = builder.bitcast(builder.gep(out, [args[6]]), _BYTES.as_pointer())
            builder.store(lanes, place).align = 1
            return context.get_dummy_value()

        return types.void(planes, at, step, flip, one, out, first), codegen

else:

    def _planes(lanes, spare, count, out, at, step):
        for bit in range(count):
            bits = ((lanes.astype(np.int64) >> spare + bit) & 1).astype(np.uint8)
            out[at + step * bit] = np.packbits(bits, bitorder="little").view(np.uint64)[0]

    def difference_planes(x, first, y, second, out, at, step):
        left = x[first : first + LANES].astype(np.int64)
        lanes = left - y[second : second + LANES].astype(np.int64)
        _planes(lanes, SPARE_BITS, WINDOW_BITS, out, at, step)

    def byte_planes(x, first, out, at, step):
        _planes(x[first : first + LANES], 0, COUNT_BITS, out, at, step)

    def _bits(word):
        return np.unpackbits(np.array([word], np.uint64).view(np.uint8), bitorder="little")

    def bytes_of_planes(planes, at, step, flip, one, out, first):
        lanes = sum(
            _bits(planes[at + step * bit]).astype(np.int64) << bit for bit in range(COUNT_BITS)
        )
        lanes = np.where(_bits(flip) == 1, int(one) - lanes, lanes)
        out[first : first + LANES] = (lanes & 0xFF).astype(np.uint8)

    def _folded(chunk, given, at, planes, base, ones, out):
        words = np.empty((1 << chunk, 8), np.uint64)
        words[0] = ones
        words[1:] = given[at : at + words[1:].size].reshape(-1, 8)
        out[8:16] = 0
        for bit in reversed(range(chunk)):
            missing = ~planes[base + 8 * bit : base + 8 * bit + 8]
            out[8:16] ^= missing & words[1 << bit]
            words = words[1 << bit : 2 << bit] ^ (missing & words[: 1 << bit])
        out[:8] = words[0]

    def fold_4(given, at, planes, base, ones, out):
        _folded(4, given, at, planes, base, ones, out)

    def fold_5(given, at, planes, base, ones, out):
        _folded(5, given, at, planes, base, ones, out)

    def _multiplied(chunk, planes, base, given, at):
        for subset in range(1, 1 << chunk):
            word = np.full(8, 0xFFFFFFFFFFFFFFFF, np.uint64)
            for bit in range(chunk):
                if subset >> bit & 1:
                    word &= planes[base + 8 * bit : base + 8 * bit + 8]
            given[at + 8 * (subset - 1) : at + 8 * subset] ^= word

    def multiply_4(planes, base, given, at):
        _multiplied(4, planes, base, given, at)

    def multiply_5(planes, base, given, at):
        _multiplied(5, planes, base, given, at)
