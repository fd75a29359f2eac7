"""The libraries of the extra `care`, loaded when they are first needed."""

from __future__ import annotations

from functools import cache
from typing import Any

from ompd.errors import BackendUnavailableError

#: What a message says to do.
INSTALL = "pip install 'ompd[care]'"


@cache
def model_of(kind: str) -> Any:
    """Return the class of fhir.resources for a kind of resource of FHIR R4B.

    Raises
    ------
    BackendUnavailableError
        Without fhir.resources.
    """
    try:
        from fhir.resources.R4B import get_fhir_model_class
    except ImportError:
        raise BackendUnavailableError(f"records need fhir.resources: {INSTALL}") from None
    return get_fhir_model_class(kind)


@cache
def unit_parser() -> Any:
    """Return the parser of UCUM.

    Raises
    ------
    BackendUnavailableError
        Without ucumvert.
    """
    try:
        from ucumvert import get_ucum_parser
    except ImportError:
        raise BackendUnavailableError(f"units need ucumvert and pint: {INSTALL}") from None
    return get_ucum_parser()


@cache
def unit_registry() -> Any:
    """Return pint's registry with the units of UCUM.

    Raises
    ------
    BackendUnavailableError
        Without ucumvert.
    """
    unit_parser()
    from ucumvert import PintUcumRegistry

    return PintUcumRegistry()
