"""Where a correlation keeps its numbers, and how large they get.

A course x of F concepts and T days is the polynomial with x_f(t) at coefficient f B + t, a template
y of L days with weights w the one with w_f y_f(t) at (F-1-f) B + L-1-t. In their product, the
coefficient (F-1) B + L-1 + τ is R(τ), the sum over f and t of w_f x_f(t + τ) y_f(t), for all lags
τ from -(L-1) to T-1: other pairs of concepts fall into other blocks of B coefficients, also where
the ring of degree 64 B turns them around. The energies e(t), sums over f of w_f x_f(t)², times L
ones give their sums E(τ) over the days under the template, at coefficient L-1 + τ.

Source: PPDM1, with one multiplication in place of one per lag; ours.
"""

from __future__ import annotations

#: Most concepts, the largest weight of one, most days, and what a day's count stops at.
MAX_CONCEPTS = 64
MAX_WEIGHT = 8
MAX_DAYS = 60
MAX_COUNT = 15
#: Coefficients between concepts: all lags of one, and a few to spare.
BLOCK = 128
#: Degree of the ring that has room for it all.
DEGREE = MAX_CONCEPTS * BLOCK
#: Largest energy of a day, and the largest correlation or energy of a window.
MAX_ENERGY = MAX_CONCEPTS * MAX_WEIGHT * MAX_COUNT**2
MAX_SUM = MAX_DAYS * MAX_ENERGY


def lags_of(days: int, template_days: int) -> range:
    """All lags at which a template overlaps a course; 0 has their first days together."""
    return range(1 - template_days, days)


def product_place(concepts: int, template_days: int, lag: int) -> int:
    """Coefficient of R at a lag."""
    return (concepts - 1) * BLOCK + template_days - 1 + lag


def energy_place(template_days: int, lag: int) -> int:
    """Coefficient of E at a lag."""
    return template_days - 1 + lag
