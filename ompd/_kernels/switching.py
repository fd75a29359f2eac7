"""Division of transformed residues by one prime, and with it modulus and key switching."""

from collections import namedtuple

from ompd._kernels.jit import kernel
from ompd._kernels.residues import product, reduced, scaled
from ompd._kernels.transform import forward, inverse

#: Constants of divisions: the plaintext modulus t; factor float64[K], for each prime that may be
#: divided by, 1 / (t N) modulo it; inverses float64[K, K], of the row's prime modulo the column's.
Division = namedtuple("Division", "t factor inverses")


@kernel(_nrt=False)
def divide(values, special, count, division, ring, out, scratch, added):
    """Divide by a prime what is known modulo it and modulo `count` others, and keep it modulo t.

    Of values float64[>= count, N], transformed, the row for the divisor, whose prime is number
    `special`, is values[count]. The multiple of t that makes them divisible is subtracted first.
    Quotients go to out float64[count, N], or are added to it. scratch float64[3, N] is overwritten.
    """
    n = values.shape[1]
    t = division.t
    x, y, scrap = scratch[0], scratch[1], scratch[2]
    inverse(values[count], x, scrap, ring, special, division.factor[special])
    # Times t it is what to subtract; the transform is linear, and residues of t x come from it.
    for row in range(count):
        p = ring.primes[row]
        pinv = 1.0 / p
        t_over = t / p
        forward(x, y, scrap, ring, row)
        w = division.inverses[special, row]
        w_over = w / p
        given, found = values[row], out[row]
        if not added:
            for i in range(n):
                found[i] = 0.0
        for i in range(n):
            rest = given[i] - scaled(y[i], t, t_over, p)
            found[i] = reduced(found[i] + scaled(rest, w, w_over, p), p, pinv)


@kernel(_nrt=False)
def drop(ciphertext, division, ring, out, scratch):
    """Switch float64[2, L, N] to one prime less, out float64[2, L - 1, N]."""
    count = out.shape[1]
    for part in range(2):
        divide(ciphertext[part], count, count, division, ring, out[part], scratch, False)


@kernel(_nrt=False)
def relinearise(wide, key, division, ring, out, digits, sums, scratch):
    """Make two components of three: wide float64[3, L, N] to out float64[2, L, N].

    key float64[D >= L, 2, K, N] encrypts P s^2, digit by digit, P the last prime. digits
    float64[L, N], sums float64[2, L + 1, N] and scratch float64[3, N] are overwritten.
    """
    count = wide.shape[1]
    n = wide.shape[2]
    last = ring.primes.shape[0] - 1
    x, scrap = scratch[0], scratch[1]
    for digit in range(count):
        inverse(wide[2, digit], digits[digit], scrap, ring, digit, ring.n_inverse[digit])
    for place in range(count + 1):
        row = place if place < count else last
        p = ring.primes[row]
        pinv = 1.0 / p
        total0, total1 = sums[0, place], sums[1, place]
        for i in range(n):
            total0[i] = total1[i] = 0.0
        for digit in range(count):
            if digit == row:
                y = wide[2, digit]
            else:
                forward(digits[digit], x, scrap, ring, row)
                y = x
            b, a = key[digit, 0, row], key[digit, 1, row]
            # There are at most eight terms, and each is at most 3 p / 4.
            for i in range(n):
                total0[i] += product(y[i], b[i], p, pinv)
                total1[i] += product(y[i], a[i], p, pinv)
        for i in range(n):
            total0[i] = reduced(total0[i], p, pinv)
            total1[i] = reduced(total1[i], p, pinv)
    for part in range(2):
        for row in range(count):
            given, found = wide[part, row], out[part, row]
            for i in range(n):
                found[i] = given[i]
        divide(sums[part], last, count, division, ring, out[part], scratch, True)
