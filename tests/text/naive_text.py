"""Correlations in plain integers, one lag after the other."""

from __future__ import annotations

import math


def correlations(course, template, weights):
    """R, E and rho by lag; lists of rows of counts."""
    days, template_days = len(course[0]), len(template[0])
    whole = sum(w * y * y for w, row in zip(weights, template, strict=True) for y in row)
    found = {}
    for lag in range(1 - template_days, days):
        r = e = 0
        for weight, xs, ys in zip(weights, course, template, strict=True):
            for t, y in enumerate(ys):
                if 0 <= t + lag < days:
                    x = xs[t + lag]
                    r += weight * x * y
                    e += weight * x * x
        found[lag] = r, e, r / math.sqrt(e * whole) if e else 0.0
    return found
