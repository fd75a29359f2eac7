"""Products of banded operators with images modulo 2^64, and of sites with what lies around them.

A tile of words is in registers at a time.

With ``NUMBA_DISABLE_JIT=1`` the NumPy twins take over, as in `image_lanes`.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from ompd._kernels.image_lanes import _EIGHT, _WORD, _data, _load

_SHORTS = ir.VectorType(ir.IntType(32), 8)
_PICKS = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)


def _all_eight(builder, word):
    """The word in all of eight."""
    one = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), word, ir.IntType(32)(0))
    return builder.shuffle_vector(one, ir.Constant(_EIGHT, ir.Undefined), _PICKS)


def _sums(builder, count):
    zero = ir.Constant(_EIGHT, [0] * 8)
    return [cgutils.alloca_once_value(builder, zero) for _ in range(count)]


def _add(builder, total, left, right):
    builder.store(builder.add(builder.load(total), builder.mul(left, right)), total)


def _store(builder, total, pointer, index):
    place = builder.bitcast(builder.gep(pointer, [index]), _EIGHT.as_pointer())
    builder.store(builder.load(total), place).align = 8


def _wide(vectors):
    """Make the code of `wide_tile` or `narrow_tile`: one row, so many times eight columns."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        factors = _data(context, builder, kinds[0], args[0])
        image = _data(context, builder, kinds[3], args[3])
        out = _data(context, builder, kinds[6], args[6])
        totals = _sums(builder, vectors)
        with cgutils.for_range(builder, args[2]) as loop:
            factor = builder.load(builder.gep(factors, [builder.add(args[1], loop.index)]))
            factor = _all_eight(builder, factor)
            row = builder.add(args[4], builder.mul(args[5], loop.index))
            for j, total in enumerate(totals):
                place = builder.add(row, _WORD(8 * j))
                _add(builder, total, factor, _load(builder, image, place, _EIGHT, 8))
        for j, total in enumerate(totals):
            _store(builder, total, out, builder.add(args[7], _WORD(8 * j)))
        return context.get_dummy_value()

    return codegen


if not config.DISABLE_JIT:

    @intrinsic
    def wide_tile(typingctx, factors, at, count, image, first, stride, out, place):
        """out[place + j] = sum over k < count of factors[at + k] * image[first + stride * k + j].

        For j < 64; all arrays uint64[:].
        """
        kind = types.void(factors, at, count, image, first, stride, out, place)
        return kind, _wide(8)

    @intrinsic
    def narrow_tile(typingctx, factors, at, count, image, first, stride, out, place):
        """As `wide_tile`, for j < 16."""
        kind = types.void(factors, at, count, image, first, stride, out, place)
        return kind, _wide(2)

    @intrinsic
    def square_tile(typingctx, image, at, stride, count, factors, first, width, out, place, step):
        """Product of 8 rows of an image, from `at` on, and 8 columns of factors, from `first` on.

        out[place + step * i + j] = sum over k < count of image[at + stride * i + k] *
        factors[first + width * k + j], i and j < 8; all arrays uint64[:].
        """

        def codegen(context, builder, signature, args):
            kinds = signature.args
            image = _data(context, builder, kinds[0], args[0])
            factors = _data(context, builder, kinds[4], args[4])
            out = _data(context, builder, kinds[7], args[7])
            totals = _sums(builder, 8)
            with cgutils.for_range(builder, args[3]) as loop:
                row = builder.add(args[5], builder.mul(args[6], loop.index))
                factor = _load(builder, factors, row, _EIGHT, 8)
                for i, total in enumerate(totals):
                    place = builder.add(args[1], builder.mul(args[2], _WORD(i)))
                    place = builder.add(place, loop.index)
                    word = builder.load(builder.gep(image, [place]))
                    _add(builder, total, _all_eight(builder, word), factor)
            for i, total in enumerate(totals):
                place = builder.add(args[8], builder.mul(args[9], _WORD(i)))
                _store(builder, total, out, place)
            return context.get_dummy_value()

        kind = types.void(image, at, stride, count, factors, first, width, out, place, step)
        return kind, codegen

    @intrinsic
    def add_products(typingctx, maps, masks, place, factor, site, out, at):
        """out[at + i] += factor * maps[place + i] - site * masks[place + i] for i < 8.

        All arrays uint32[:], factor and site uint32.
        """

        def codegen(context, builder, signature, args):
            kinds = signature.args
            maps, masks, out = (_data(context, builder, kinds[i], args[i]) for i in (0, 1, 5))

            def times(scalar, pointer):
                one = ir.Constant(_SHORTS, ir.Undefined)
                some = builder.insert_element(one, scalar, ir.IntType(32)(0))
                some = builder.shuffle_vector(some, one, _PICKS)
                return builder.mul(some, _load(builder, pointer, args[2], _SHORTS, 4))

            total = builder.add(_load(builder, out, args[6], _SHORTS, 4), times(args[3], maps))
            total = builder.sub(total, times(args[4], masks))
            target = builder.bitcast(builder.gep(out, [args[6]]), _SHORTS.as_pointer())
            builder.store(total, target).align = 4
            return context.get_dummy_value()

        return types.void(maps, masks, place, factor, site, out, at), codegen

else:

    def add_products(maps, masks, place, factor, site, out, at):
        part = slice(place, place + 8)
        out[at : at + 8] += factor * maps[part] - site * masks[part]

    def _tile(factors, at, count, image, first, stride, out, place, columns):
        out[place : place + columns] = 0
        for k in range(count):
            row = first + stride * k
            out[place : place + columns] += factors[at + k] * image[row : row + columns]

    def wide_tile(factors, at, count, image, first, stride, out, place):
        _tile(factors, at, count, image, first, stride, out, place, 64)

    def narrow_tile(factors, at, count, image, first, stride, out, place):
        _tile(factors, at, count, image, first, stride, out, place, 16)

    def square_tile(image, at, stride, count, factors, first, width, out, place, step):
        for i in range(8):
            row = at + stride * i
            _tile(image, row, count, factors, first, width, out, place + step * i, 8)
