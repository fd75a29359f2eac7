"""Fixtures shared by the tests of `ompd.crypto`."""

from __future__ import annotations

import pytest

from ompd.crypto import SignatureBackend, backend


@pytest.fixture(scope="session", params=["pyblst", "py_ecc"])
def scheme(request: pytest.FixtureRequest) -> SignatureBackend:
    """Each signature backend in turn."""
    return backend(request.param)


@pytest.fixture(scope="session")
def both() -> tuple[SignatureBackend, SignatureBackend]:
    """The two backends, for comparisons."""
    return backend("pyblst"), backend("py_ecc")
