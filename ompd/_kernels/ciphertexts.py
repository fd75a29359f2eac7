"""Sums and products of ciphertexts: transformed residues float64[2, L, N], at most (p + 1) / 2."""

from ompd._kernels.jit import kernel
from ompd._kernels.residues import product, reduced, scaled
from ompd._kernels.transform import forward, inverse

# Loops run over rows taken out of their arrays: with three indices the compiler cannot tell that
# arrays do not overlap, and works element by element, four times as long.


@kernel(_nrt=False)
def add(a, b, out, ring):
    """Row by row a + b, float64[R, L, N]; out may be a or b."""
    for part in range(a.shape[0]):
        for row in range(a.shape[1]):
            p = ring.primes[row]
            pinv = 1.0 / p
            x, y, z = a[part, row], b[part, row], out[part, row]
            for i in range(z.shape[0]):
                z[i] = reduced(x[i] + y[i], p, pinv)


@kernel(_nrt=False)
def subtract(a, b, out, ring):
    """Row by row a - b, float64[R, L, N]; out may be a or b."""
    for part in range(a.shape[0]):
        for row in range(a.shape[1]):
            p = ring.primes[row]
            pinv = 1.0 / p
            x, y, z = a[part, row], b[part, row], out[part, row]
            for i in range(z.shape[0]):
                z[i] = reduced(x[i] - y[i], p, pinv)


@kernel(_nrt=False)
def multiply_rows(a, b, out, ring):
    """Each a[part] times b: float64[R, L, N] and float64[>= L, N]."""
    for part in range(a.shape[0]):
        for row in range(a.shape[1]):
            p = ring.primes[row]
            pinv = 1.0 / p
            x, y, z = a[part, row], b[row], out[part, row]
            for i in range(z.shape[0]):
                z[i] = reduced(product(x[i], y[i], p, pinv), p, pinv)


@kernel(_nrt=False)
def tensor(a, b, out, ring, first):
    """Products of two ciphertexts into out float64[3, L, N]; added to it unless `first`."""
    for row in range(a.shape[1]):
        p = ring.primes[row]
        pinv = 1.0 / p
        a0, a1, b0, b1 = a[0, row], a[1, row], b[0, row], b[1, row]
        r0, r1, r2 = out[0, row], out[1, row], out[2, row]
        if first:
            for i in range(r0.shape[0]):
                r0[i] = r1[i] = r2[i] = 0.0
        for i in range(r0.shape[0]):
            x0, x1, y0, y1 = a0[i], a1[i], b0[i], b1[i]
            middle = product(x0, y1, p, pinv) + product(x1, y0, p, pinv)
            r0[i] = reduced(r0[i] + product(x0, y0, p, pinv), p, pinv)
            r1[i] = reduced(r1[i] + middle, p, pinv)
            r2[i] = reduced(r2[i] + product(x1, y1, p, pinv), p, pinv)


@kernel(_nrt=False)
def encrypt(message, error, mask, key, out, scratch, ring):
    """Public encryption into out float64[2, L, N]: key[0] mask + message, key[1] mask + error.

    message, error and mask are integers float64[N] below 2^50, key float64[2, K, N]; scratch
    float64[2, N] is overwritten.
    """
    for row in range(out.shape[1]):
        p = ring.primes[row]
        pinv = 1.0 / p
        u, b, a = scratch[0], key[0, row], key[1, row]
        c0, c1 = out[0, row], out[1, row]
        forward(mask, u, scratch[1], ring, row)
        forward(message, c0, scratch[1], ring, row)
        forward(error, c1, scratch[1], ring, row)
        for i in range(u.shape[0]):
            c0[i] = reduced(c0[i] + product(u[i], b[i], p, pinv), p, pinv)
            c1[i] = reduced(c1[i] + product(u[i], a[i], p, pinv), p, pinv)


@kernel(_nrt=False)
def encrypt_secretly(message, uniform, secret, out, scratch, ring):
    """Secret encryption into out float64[L, N]: message - uniform secret.

    message float64[N] below 2^50 with its error, uniform and secret float64[>= L, N] transformed.
    """
    for row in range(out.shape[0]):
        p = ring.primes[row]
        pinv = 1.0 / p
        x, a, s = out[row], uniform[row], secret[row]
        forward(message, x, scratch, ring, row)
        for i in range(x.shape[0]):
            x[i] = reduced(x[i] - product(a[i], s[i], p, pinv), p, pinv)


@kernel(_nrt=False)
def phase(ciphertext, secret, out, scratch, ring):
    """What c0 + c1 s is modulo the first prime, as integers out float64[N] around zero.

    scratch float64[3, N] is overwritten.
    """
    p = ring.primes[0]
    pinv = 1.0 / p
    x, c0, c1, s = scratch[0], ciphertext[0, 0], ciphertext[1, 0], secret[0]
    for i in range(out.shape[0]):
        x[i] = reduced(c0[i] + product(c1[i], s[i], p, pinv), p, pinv)
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
        x, top = scratch[0], limbs[last]
        for i in range(n):
            x[i] = top[i]
        for place in range(last - 1, -1, -1):
            limb = limbs[place]
            for i in range(n):
                x[i] = reduced(scaled(x[i], step, step_over, p) + limb[i], p, pinv)
        for i in range(n):
            x[i] = scaled(x[i], factor, factor_over, p)
        y, z = scratch[1], out[row]
        forward(x, y, scratch[2], ring, row)
        for i in range(n):
            z[i] = reduced(z[i] + y[i], p, pinv)
