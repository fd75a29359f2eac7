"""Small keys, far from secure and quickly made, of both packings; one of full size."""

from __future__ import annotations

import pytest

from ompd.aggregate import keygen
from ompd.aggregate.keys import SecretKey
from ompd.aggregate.warmup import TINY
from ompd.params import AggregateSet

TINY_COEFFICIENTS = AggregateSet(
    "tiny coefficients",
    64,
    1 << 16,
    "coefficients",
    (1099511623297, 17592182833153, 17592182243329, 17592181260289),
    4398046510721,
    1,
)
TINY_SETS = {"coefficients": TINY_COEFFICIENTS, "slots": TINY}


@pytest.fixture(scope="session", params=["coefficients", "slots"])
def tiny(request):
    return SecretKey.generated(TINY_SETS[request.param])


@pytest.fixture(scope="session")
def tinies():
    return {packing: SecretKey.generated(each) for packing, each in TINY_SETS.items()}


@pytest.fixture(scope="session")
def full():
    return keygen()[0]
