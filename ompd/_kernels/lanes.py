"""Thirty-two uint16 lanes at a time: head distances of rows and lower bounds of boxes.

The intrinsics emit plain LLVM vector code, which every target lowers to its own registers
(one AVX-512, two AVX2, four SSE2 or NEON registers). Sums saturate at 65535, so a stored sum is
never above the true one. With ``NUMBA_DISABLE_JIT=1`` the NumPy twins below take over.
"""

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 32
#: The largest lane value; a sum that reaches it may have saturated.
SATURATED = 65535
#: Coordinates between two looks at whether any lane is still below the limit.
_STRIDE = 8

_LANE = ir.IntType(16)
_VECTOR = ir.VectorType(_LANE, LANES)
_WORD = ir.IntType(64)


def _data(context, builder, array_type, value):
    """Pointer to the first element of a C-contiguous array."""
    return context.make_array(array_type)(context, builder, value).data


def _load(builder, pointer, index):
    """Vector that starts `index` lanes behind `pointer`; needs no more than lane alignment."""
    place = builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())
    load = builder.load(place)
    load.align = 2
    return load


def _store(builder, vector, pointer, index):
    """Mirror of `_load`; overwrites 32 lanes."""
    place = builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())
    builder.store(vector, place).align = 2


def _call(builder, name, *operands):
    """Lane-wise LLVM intrinsic ``llvm.<name>.v32i16``."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}i16")
    return builder.call(function, operands)


def _splat(builder, scalar):
    """The 16-bit `scalar` in all lanes."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
    picks = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), picks)


def _mask(builder, bits):
    """<32 x i1> as the low 32 bits of an i64."""
    return builder.zext(builder.bitcast(bits, ir.IntType(32)), _WORD)


def _row_term(builder, data, query, place, lane, shift):
    """|head - query| of one coordinate for 32 rows."""
    head = _load(builder, data, place)
    wanted = _load(builder, query, lane)
    if shift is not None:
        head = builder.lshr(head, shift)
    return builder.sub(_call(builder, "umax", head, wanted), _call(builder, "umin", head, wanted))


def _box_term(builder, data, query, place, lane, shift):
    """Distance of the query to 32 intervals [low, high] of one coordinate."""
    double = builder.shl(place, _WORD(1))
    low = _load(builder, data, double)
    high = _load(builder, data, builder.add(double, _WORD(LANES)))
    wanted = _load(builder, query, lane)
    if shift is not None:
        low = builder.lshr(low, shift)
        high = builder.lshr(high, shift)
    below = _call(builder, "usub.sat", low, wanted)
    return builder.or_(below, _call(builder, "usub.sat", wanted, high))


def _accumulate(term, shifted):
    """Make the code generator of one scan: sums of `term`, left early if all exceed the limit."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        data = _data(context, builder, kinds[0], args[0])
        first, count, limit = args[1], args[3], args[5]
        query = _data(context, builder, kinds[2], args[2])
        sums = _data(context, builder, kinds[4], args[4])
        shift = _splat(builder, builder.trunc(args[6], _LANE)) if shifted else None
        ceiling = _splat(builder, builder.trunc(limit, _LANE))
        total = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, None))
        coordinate = cgutils.alloca_once_value(builder, _WORD(0))
        result = cgutils.alloca_once_value(builder, _WORD(0))
        # `first` counts lanes of the one-vector-per-coordinate layout; boxes hold two.
        start = first

        def step(offset):
            lane = builder.shl(builder.add(builder.load(coordinate), _WORD(offset)), _WORD(5))
            place = builder.add(start, lane)
            value = term(builder, data, query, place, lane, shift)
            builder.store(_call(builder, "uadd.sat", builder.load(total), value), total)

        def within():
            return builder.icmp_unsigned("<=", builder.load(total), ceiling)

        wide = builder.append_basic_block("wide")
        wide_body = builder.append_basic_block("wide_body")
        narrow = builder.append_basic_block("narrow")
        narrow_body = builder.append_basic_block("narrow_body")
        finish = builder.append_basic_block("finish")
        leave = builder.append_basic_block("leave")
        builder.branch(wide)

        builder.position_at_end(wide)
        following = builder.add(builder.load(coordinate), _WORD(_STRIDE))
        builder.cbranch(builder.icmp_signed("<=", following, count), wide_body, narrow)
        builder.position_at_end(wide_body)
        for offset in range(_STRIDE):
            step(offset)
        builder.store(builder.add(builder.load(coordinate), _WORD(_STRIDE)), coordinate)
        alive = builder.icmp_unsigned("!=", _mask(builder, within()), _WORD(0))
        builder.cbranch(alive, wide, leave)

        builder.position_at_end(narrow)
        more = builder.icmp_signed("<", builder.load(coordinate), count)
        builder.cbranch(more, narrow_body, finish)
        builder.position_at_end(narrow_body)
        step(0)
        builder.store(builder.add(builder.load(coordinate), _WORD(1)), coordinate)
        builder.branch(narrow)

        builder.position_at_end(finish)
        _store(builder, builder.load(total), sums, _WORD(0))
        builder.store(_mask(builder, within()), result)
        builder.branch(leave)
        builder.position_at_end(leave)
        return builder.load(result)

    return codegen


if not config.DISABLE_JIT:

    @intrinsic
    def row_sums(typingctx, heads, first, query, count, sums, limit):
        """Head distances of the 32 rows at lane `first`; mask of those <= `limit`.

        heads uint16[:], query uint16[32 * count] splat, sums uint16[32] overwritten (undefined
        when the mask is 0).
        """
        return types.int64(heads, first, query, count, sums, limit), _accumulate(_row_term, False)

    @intrinsic
    def row_sums_shifted(typingctx, heads, first, query, count, sums, limit, shift):
        """Like `row_sums` on heads >> shift (the query is shifted by the caller)."""
        signature = types.int64(heads, first, query, count, sums, limit, shift)
        return signature, _accumulate(_row_term, True)

    @intrinsic
    def box_sums(typingctx, boxes, first, query, count, sums, limit):
        """Lower bounds of 32 boxes at lane 2 * `first`; mask of those <= `limit`.

        boxes uint16[:] as [coordinate][low, high][32]; sums as in `row_sums`.
        """
        return types.int64(boxes, first, query, count, sums, limit), _accumulate(_box_term, False)

    @intrinsic
    def box_sums_shifted(typingctx, boxes, first, query, count, sums, limit, shift):
        """Like `box_sums` on bounds >> shift."""
        signature = types.int64(boxes, first, query, count, sums, limit, shift)
        return signature, _accumulate(_box_term, True)

    @intrinsic
    def lanes_within(typingctx, sums, first, limit):
        """Mask of the 32 lanes at `first` that are <= `limit`."""

        def codegen(context, builder, signature, args):
            data = _data(context, builder, signature.args[0], args[0])
            ceiling = _splat(builder, builder.trunc(args[2], _LANE))
            lanes = _load(builder, data, args[1])
            return _mask(builder, builder.icmp_unsigned("<=", lanes, ceiling))

        return types.int64(sums, first, limit), codegen

    @intrinsic
    def least_lane(typingctx, sums):
        """First of the 32 lanes that holds their minimum."""

        def codegen(context, builder, signature, args):
            data = _data(context, builder, signature.args[0], args[0])
            lanes = _load(builder, data, _WORD(0))
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(_LANE, [_VECTOR]),
                f"llvm.vector.reduce.umin.v{LANES}i16",
            )  # fmt: skip
            least = _splat(builder, builder.call(function, [lanes]))
            mask = _mask(builder, builder.icmp_unsigned("==", lanes, least))
            return builder.cttz(mask, ir.IntType(1)(1))

        return types.int64(sums), codegen

    @intrinsic
    def merge_sums(typingctx, near, sums, mask):
        """Insert the lanes of `sums` that `mask` names into the ascending near uint16[32].

        One insertion into a sorted vector is new[i] = min(near[i], max(near[i - 1], value)): no
        branch that depends on data.
        """

        def codegen(context, builder, signature, args):
            i32 = ir.IntType(32)
            kept = _data(context, builder, signature.args[0], args[0])
            data = _data(context, builder, signature.args[1], args[1])
            state = cgutils.alloca_once_value(builder, _load(builder, kept, _WORD(0)))
            rest = cgutils.alloca_once_value(builder, args[2])
            behind = ir.Constant(ir.VectorType(i32, LANES), [LANES, *range(LANES - 1)])
            test = builder.append_basic_block("test")
            body = builder.append_basic_block("body")
            finish = builder.append_basic_block("finish")
            builder.branch(test)
            builder.position_at_end(test)
            left = builder.load(rest)
            builder.cbranch(builder.icmp_unsigned("!=", left, _WORD(0)), body, finish)
            builder.position_at_end(body)
            lane = builder.cttz(left, ir.IntType(1)(1))
            builder.store(builder.and_(left, builder.sub(left, _WORD(1))), rest)
            value = _splat(builder, builder.load(builder.gep(data, [lane])))
            now = builder.load(state)
            shifted = builder.shuffle_vector(now, ir.Constant(_VECTOR, None), behind)
            moved = _call(builder, "umax", shifted, value)
            builder.store(_call(builder, "umin", now, moved), state)
            builder.branch(test)
            builder.position_at_end(finish)
            _store(builder, builder.load(state), kept, _WORD(0))
            return context.get_dummy_value()

        return types.void(near, sums, mask), codegen

    @intrinsic
    def lowest_bit(typingctx, mask):
        """Index of the lowest set bit of an int64; 64 for 0."""

        def codegen(context, builder, signature, args):
            return builder.cttz(args[0], ir.IntType(1)(0))

        return types.int64(mask), codegen

    @intrinsic
    def prefetch(typingctx, array, index):
        """Ask for the cache line of element `index`; may do nothing."""

        def codegen(context, builder, signature, args):
            data = _data(context, builder, signature.args[0], args[0])
            place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
            i32 = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [place.type, i32, i32, i32])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [place, i32(0), i32(3), i32(1)])
            return context.get_dummy_value()

        return types.void(array, index), codegen

else:

    def _finish(total, sums, limit):
        """Saturate, store and compare, as the compiled code does."""
        sums[:LANES] = np.minimum(total, SATURATED)
        return sum(1 << lane for lane in range(LANES) if sums[lane] <= limit)

    def row_sums_shifted(heads, first, query, count, sums, limit, shift):
        block = heads[first : first + LANES * count].astype(np.int64) >> shift
        gaps = np.abs(block - query[: LANES * count].astype(np.int64))
        return _finish(gaps.reshape(count, LANES).sum(axis=0), sums, limit)

    def row_sums(heads, first, query, count, sums, limit):
        return row_sums_shifted(heads, first, query, count, sums, limit, 0)

    def box_sums_shifted(boxes, first, query, count, sums, limit, shift):
        block = boxes[2 * first : 2 * (first + LANES * count)].astype(np.int64) >> shift
        block = block.reshape(count, 2, LANES)
        wanted = query[: LANES * count].astype(np.int64).reshape(count, LANES)
        gaps = np.maximum(block[:, 0] - wanted, 0) | np.maximum(wanted - block[:, 1], 0)
        return _finish(gaps.sum(axis=0), sums, limit)

    def box_sums(boxes, first, query, count, sums, limit):
        return box_sums_shifted(boxes, first, query, count, sums, limit, 0)

    def lanes_within(sums, first, limit):
        return sum(1 << lane for lane in range(LANES) if sums[first + lane] <= limit)

    def least_lane(sums):
        return int(np.argmin(sums[:LANES]))

    def merge_sums(near, sums, mask):
        found = [sums[lane] for lane in range(LANES) if mask >> lane & 1]
        near[:LANES] = np.sort(np.concatenate([near[:LANES], np.array(found, np.uint16)]))[:LANES]

    def lowest_bit(mask):
        return (int(mask) & -int(mask)).bit_length() - 1 if mask else LANES

    def prefetch(array, index):
        return None
