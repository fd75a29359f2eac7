"""64 x 64 -> 128 bit arithmetic, which Numba itself does not offer."""

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

if numba.config.DISABLE_JIT:

    def mul_add(a, b, c, d):
        """Return (low, high) of a*b + c + d; the interpreted twin of the intrinsic."""
        total = int(a) * int(b) + int(c) + int(d)
        return np.uint64(total & 0xFFFFFFFFFFFFFFFF), np.uint64(total >> 64)

else:

    @intrinsic
    def mul_add(typing_context, a, b, c, d):
        """Return (low, high) of a*b + c + d for uint64 operands; the sum never exceeds 128 bits."""
        if any(operand != types.uint64 for operand in (a, b, c, d)):
            return None
        signature = types.UniTuple(types.uint64, 2)(
            types.uint64, types.uint64, types.uint64, types.uint64
        )

        def codegen(context, builder, signature, operands):
            from llvmlite import ir

            wide = ir.IntType(128)
            a, b, c, d = (builder.zext(operand, wide) for operand in operands)
            total = builder.add(builder.add(builder.mul(a, b), c), d)
            low = builder.trunc(total, ir.IntType(64))
            high = builder.trunc(builder.lshr(total, ir.Constant(wide, 64)), ir.IntType(64))
            return context.make_tuple(builder, signature.return_type, (low, high))

        return signature, codegen
