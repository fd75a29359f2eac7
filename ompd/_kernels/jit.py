"""How every kernel is compiled."""

from numba import njit


def kernel(**options):
    """Compile lazily, keep the result on disk, release the interpreter lock while running.

    Where no folder can be written to, as in a read-only container, the kernel is compiled anew in
    every process.
    """

    def decorate(function):
        try:
            return njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate
