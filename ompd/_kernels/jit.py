"""How every kernel is compiled."""

from numba import config, njit

from ompd._kernels.cache import KernelCache


def kernel(**options):
    """Compile lazily, keep the result on disk, release the interpreter lock while running."""

    def decorate(function):
        compiled = njit(nogil=True, **options)(function)
        if not config.DISABLE_JIT:
            # What ``cache=True`` sets, but for the class.
            compiled._cache = KernelCache(function)
        return compiled

    return decorate
