"""Residues in float64: exact products and reductions modulo primes below 2^49.

A residue is any integer congruent to it, held in a float64; all values here stay below 2^52, so
that sums and differences are exact. A product a * w is split without loss into h = round(a * w)
and fma(a, w, -h). With a quotient q that is right to within less than 1, h - q * p is an integer
below 2^53 and comes out of one more fused multiply-add without rounding. Processors without that
instruction are slow and right. With ``NUMBA_DISABLE_JIT=1`` Python's integers take over.
"""

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from ompd._kernels.jit import kernel

_DOUBLE = ir.DoubleType()


def _call(builder, name, *operands):
    kind = ir.FunctionType(_DOUBLE, [_DOUBLE] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.f64")
    return builder.call(function, operands)


if not config.DISABLE_JIT:

    @intrinsic
    def fma(typingctx, a, b, c):
        """The float64 a * b + c, rounded once."""

        def codegen(context, builder, signature, args):
            return _call(builder, "fma", *args)

        return types.float64(types.float64, types.float64, types.float64), codegen

    @intrinsic
    def rint(typingctx, a):
        """The nearest integer, even at ties."""

        def codegen(context, builder, signature, args):
            return _call(builder, "rint", *args)

        return types.float64(types.float64), codegen

else:

    def fma(a, b, c):
        return float(int(a) * int(b) + int(c))

    def rint(a):
        return float(round(float(a)))


@kernel(_nrt=False, forceinline=True)
def reduced(a, p, pinv):
    """The residue of a, |a| < 2^52, that is at most (p + 1) / 2 in absolute value; pinv = 1 / p."""
    return fma(-rint(a * pinv), p, a)


@kernel(_nrt=False, forceinline=True)
def scaled(a, w, wp, p):
    """A residue of a * w, wp = w / p: at most (1/2 + |a / p| / 16) p if |w| <= p / 2 + 1.

    |a| < 2^52 and |a * w / p| < 2^50.
    """
    h = a * w
    return fma(-rint(a * wp), p, h) + fma(a, w, -h)


@kernel(_nrt=False, forceinline=True)
def product(a, b, p, pinv):
    """A residue of a * b, pinv = 1 / p: at most (1/2 + 3 |a / p| / 32) p if |b| <= p / 2 + 1.

    |a| < 2^52 and |a * b / p| < 2^51.
    """
    h = a * b
    return fma(-rint(h * pinv), p, h) + fma(a, b, -h)
