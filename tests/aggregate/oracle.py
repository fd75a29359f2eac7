"""Plain polynomials and slots, in Python integers."""

from __future__ import annotations


def convolved(a, b):
    """Product of two polynomials."""
    out = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return out


def paired(a, b):
    """Both lists, the shorter with zeros behind it."""
    n = max(len(a), len(b))
    return a + [0] * (n - len(a)), b + [0] * (n - len(b))


def added(a, b):
    return [x + y for x, y in zip(*paired(a, b), strict=True)]


def subtracted(a, b):
    return [x - y for x, y in zip(*paired(a, b), strict=True)]


def slotwise(a, b):
    return [x * y for x, y in zip(*paired(a, b), strict=True)]


def product(a, b, packing):
    return convolved(a, b) if packing == "coefficients" else slotwise(a, b)


def negacyclic(a, b, p):
    """Product of two polynomials modulo X^n + 1 and p."""
    n = len(a)
    out = [0] * n
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            sign = 1 if i + j < n else -1
            out[(i + j) % n] += sign * x * y
    return [value % p for value in out]


def residue_at(coefficients, root, p):
    """Value of a polynomial at a root."""
    value = 0
    for each in reversed(coefficients):
        value = (value * root + each) % p
    return value
