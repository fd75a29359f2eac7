"""What is decided about a table before it is trained."""

from __future__ import annotations

from ompd.datasets import Dataset
from ompd.errors import ParameterError
from ompd.params import METHODS
from ompd.roles.intake import check_size
from ompd.roles.retrieval import Retrieval
from ompd.roles.training import Plan
from ompd.search import check_k
from ompd.search.calibration import check_priors
from ompd.search.decision import check_decision, default_decision
from ompd.wire import MAX_K


def plan_of(
    records: Dataset,
    profile: type[Retrieval],
    method: str,
    k: int | None,
    priors: str,
    decision: str | None,
    epsilon: float | None,
    noise_key: bytes,
) -> Plan:
    """Check what is decided about a table, and that it could be sent.

    Raises
    ------
    ParameterError, NeighborsError, TooLargeError
        As `Hospital.publish`.
    """
    if method not in METHODS:
        raise ParameterError(f"method: expected one of {', '.join(METHODS)}")
    if k is not None:
        k = check_k(k, min(len(records), MAX_K))
    check_size(records, profile, method, k)
    return Plan(
        profile=profile.profile,
        method=method,
        k=k,
        priors=check_priors(priors),
        decision=check_decision(
            default_decision(profile.profile, method) if decision is None else decision
        ),
        epsilon=epsilon,
        noise_key=noise_key,
    )
