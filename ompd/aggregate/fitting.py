"""Which parameters hold the result of a function of many contributors."""

from __future__ import annotations

import math

from ompd.aggregate.evaluator import FLOOD_BITS
from ompd.aggregate.functions import Function
from ompd.aggregate.noise import PARTS, Noise, both
from ompd.errors import ParameterError
from ompd.params import AGGREGATE_SETS, AggregateSet


def parameters_for(function: Function, length: int, bound: int, most: int) -> AggregateSet:
    """Return the smallest named set under which the result of `most` contributors opens.

    Parameters
    ----------
    function : Function
    length, bound : int
        Values of a contribution, and largest absolute value of one.
    most : int
        Contributors.

    Raises
    ------
    ParameterError
        If there is none.
    """
    for each in AGGREGATE_SETS:
        if fits(each, function, length, bound, most):
            return each
    raise ParameterError("length, bound, most: expected less; no parameter set holds the result")


def fits(parameters: AggregateSet, function: Function, length: int, bound: int, most: int) -> bool:
    """Tell whether the result of so many contributors is exact under a parameter set."""
    return (
        parameters.packing == function.packing
        and parameters.depth >= function.depth
        and parameters.degree >= length
        and parameters.largest_bound >= function.largest(bound, most)
        and (not function.pooled or _opens(parameters, function, length, bound, most))
    )


def _opens(
    parameters: AggregateSet, function: Function, length: int, bound: int, most: int
) -> bool:
    """Follow the noise of what `evaluate` does, which rounds up at each level of its additions."""
    noises, level = Noise(parameters), len(parameters.primes)
    noise = noises.fresh(bound, length, secretly=False)
    if function.depth:
        lower = noises.best_level((noise, level), (noise, level))
        noise = noises.at(noise, level, lower)
        noise = noises.relinearised(noises.multiplied(noise, noise, lower), lower)
        level = lower
    noise += math.ceil(math.log2(most) * PARTS) + most.bit_length() + 2
    for lower in range(1, level + 1):
        low = noises.at(noise, level, lower)
        flooded = noises.flooded(low, noises.flood_bits(low, FLOOD_BITS))
        if noises.opens(both(flooded, PARTS), lower):
            return True
    return False
