"""Sums and products of ciphertexts: transformed residues float64[2, L, N], at most (p + 1) / 2."""

from ompd._kernels.jit import kernel
from ompd._kernels.residues import product, reduced, scaled
from ompd._kernels.transform import forward, inverse


@kernel(_nrt=False)
def add(a, b, out, ring):
    """Row by row a + b, float64[R, L, N]; out may be a or b."""
    for part in range(a.shape[0]):
        for row in range(a.shape[1]):
            p = ring.primes[row]
            pinv = 1.0 / p
            for i in range(a.shape[2]):
                out[part, row, i] = reduced(a[part, row, i] + b[part, row, i], p, pinv)


@kernel(_nrt=False)
def subtract(a, b, out, ring):
    """Row by row a - b, float64[R, L, N]; out may be a or b."""
    for part in range(a.shape[0]):
        for row in range(a.shape[1]):
            p = ring.primes[row]
            pinv = 1.0 / p
            for i in range(a.shape[2]):
                out[part, row, i] = reduced(a[part, row, i] - b[part, row, i], p, pinv)


@kernel(_nrt=False)
def multiply_rows(a, b, out, ring):
    """Each a[part] times b: float64[R, L, N] and float64[>= L, N]."""
    for part in range(a.shape[0]):
        for row in range(a.shape[1]):
            p = ring.primes[row]
            pinv = 1.0 / p
            for i in range(a.shape[2]):
                out[part, row, i] = reduced(product(a[part, row, i], b[row, i], p, pinv), p, pinv)


@kernel(_nrt=False)
def tensor(a, b, out, ring, first):
    """Products of two ciphertexts into out float64[3, L, N]; added to it unless `first`."""
    for row in range(a.shape[1]):
        p = ring.primes[row]
        pinv = 1.0 / p
        for i in range(a.shape[2]):
            a0, a1 = a[0, row, i], a[1, row, i]
            b0, b1 = b[0, row, i], b[1, row, i]
            r0 = product(a0, b0, p, pinv)
            r1 = product(a0, b1, p, pinv) + product(a1, b0, p, pinv)
            r2 = product(a1, b1, p, pinv)
            if not first:
                r0 += out[0, row, i]
                r1 += out[1, row, i]
                r2 += out[2, row, i]
            out[0, row, i] = reduced(r0, p, pinv)
            out[1, row, i] = reduced(r1, p, pinv)
            out[2, row, i] = reduced(r2, p, pinv)


@kernel(_nrt=False)
def encrypt(message, error, mask, key, out, scratch, ring):
    """Public encryption into out float64[2, L, N]: key[0] mask + message, key[1] mask + error.

    message, error and mask are integers float64[N] below 2^50, key float64[2, K, N]; scratch
    float64[2, N] is overwritten.
    """
    n = message.shape[0]
    for row in range(out.shape[1]):
        p = ring.primes[row]
        pinv = 1.0 / p
        u = scratch[0]
        forward(mask, u, scratch[1], ring, row)
        forward(message, out[0, row], scratch[1], ring, row)
        forward(error, out[1, row], scratch[1], ring, row)
        for i in range(n):
            first = out[0, row, i] + product(u[i], key[0, row, i], p, pinv)
            second = out[1, row, i] + product(u[i], key[1, row, i], p, pinv)
            out[0, row, i] = reduced(first, p, pinv)
            out[1, row, i] = reduced(second, p, pinv)


@kernel(_nrt=False)
def encrypt_secretly(message, uniform, secret, out, scratch, ring):
    """Secret encryption into out float64[L, N]: message - uniform secret.

    message float64[N] below 2^50 with its error, uniform and secret float64[>= L, N] transformed.
    """
    n = message.shape[0]
    for row in range(out.shape[0]):
        p = ring.primes[row]
        pinv = 1.0 / p
        x = out[row]
        forward(message, x, scratch, ring, row)
        for i in range(n):
            x[i] = reduced(x[i] - product(uniform[row, i], secret[row, i], p, pinv), p, pinv)


@kernel(_nrt=False)
def phase(ciphertext, secret, out, scratch, ring):
    """What c0 + c1 s is modulo the first prime, as integers out float64[N] around zero.

    scratch float64[3, N] is overwritten.
    """
    p = ring.primes[0]
    pinv = 1.0 / p
    x = scratch[0]
    for i in range(out.shape[0]):
        masked = product(ciphertext[1, 0, i], secret[0, i], p, pinv)
        x[i] = reduced(ciphertext[0, 0, i] + masked, p, pinv)
    inverse(x, out, scratch[1], ring, 0, ring.n_inverse[0])


@kernel(_nrt=False)
def remainders(values, t):
    """Replace float64[N] below 2^52 by what they are modulo t, from -t / 2 up to below t / 2."""
    tinv = 1.0 / t
    for i in range(values.shape[0]):
        found = reduced(values[i], t, tinv)
        values[i] = found - t if found + found >= t else found


@kernel(_nrt=False)
def add_wide(limbs, multiple, out, scratch, ring):
    """Add multiple * sum of limbs[j] 2^(40 j) to transformed out float64[L, N].

    limbs float64[J, N] below 2^40 in absolute value; scratch float64[3, N] is overwritten.
    """
    n = limbs.shape[1]
    last = limbs.shape[0] - 1
    for row in range(out.shape[0]):
        p = ring.primes[row]
        pinv = 1.0 / p
        step = reduced(1099511627776.0, p, pinv)
        step_over = step / p
        factor = reduced(multiple, p, pinv)
        factor_over = factor / p
        x = scratch[0]
        for i in range(n):
            x[i] = limbs[last, i]
        for limb in range(last - 1, -1, -1):
            for i in range(n):
                x[i] = reduced(scaled(x[i], step, step_over, p) + limbs[limb, i], p, pinv)
        for i in range(n):
            x[i] = scaled(x[i], factor, factor_over, p)
        y = scratch[1]
        forward(x, y, scratch[2], ring, row)
        for i in range(n):
            out[row, i] = reduced(out[row, i] + y[i], p, pinv)
