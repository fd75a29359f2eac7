"""Residues as they travel: from 0 up to below the prime, in as many bits as the prime has."""

import numpy as np

from ompd._kernels.jit import kernel

_ZERO, _EIGHT, _OCTET = np.uint64(0), np.uint64(8), np.uint64(0xFF)


@kernel(_nrt=False)
def pack(residues, prime, bits, out):
    """Residues float64[N], at most (p + 1) / 2, into out uint8[N * bits / 8], lowest bits first.

    bits is at most 56; N is a multiple of 8.
    """
    kept = _ZERO
    held = 0
    place = 0
    for i in range(residues.shape[0]):
        value = residues[i]
        if value < 0.0:
            value += prime
        kept |= np.uint64(np.int64(value)) << np.uint64(held)
        held += bits
        while held >= 8:
            out[place] = kept & _OCTET
            place += 1
            kept >>= _EIGHT
            held -= 8


@kernel(_nrt=False)
def unpack(octets, prime, bits, out):
    """Mirror of `pack`; whether all of them are below the prime."""
    kept = _ZERO
    held = 0
    place = 0
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    half = prime * 0.5
    good = True
    for i in range(out.shape[0]):
        while held < bits:
            kept |= np.uint64(octets[place]) << np.uint64(held)
            place += 1
            held += 8
        value = np.float64(kept & mask)
        kept >>= np.uint64(bits)
        held -= bits
        good = good and value < prime
        out[i] = value - prime if value > half else value
    return good
