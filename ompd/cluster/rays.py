"""Workers as actors of a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from typing import Any, Self

from ompd.cluster.probe import difference, installed
from ompd.cluster.worker import Worker
from ompd.errors import BackendUnavailableError, ClusterError, UnreachableError

#: Where actors are found by `ompd cluster status`.
NAMESPACE = "ompd"
#: Calls that an actor takes at a time; a search holds up no question how it does.
_AT_ONCE = 8
#: Seconds for a node to tell what it has installed, or for an actor to start, which may compile.
_STARTING = 300.0
#: Seconds for a connection to its address.
_LISTENING = 10.0
#: Part of a node's memory, as Ray counts it, that tables may take.
_SHARE = 0.8


def ray_module() -> Any:
    """Return Ray, with token authentication on.

    Raises
    ------
    BackendUnavailableError
        If it is not installed.
    ClusterError
        If token authentication was switched off.
    """
    if "ray" not in sys.modules:
        # It is read when Ray is imported; by default, Ray uses a token where there is one.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        raise ClusterError("RAY_AUTH_MODE: expected token: else whoever reaches it runs code there")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise BackendUnavailableError("ray: needs more: pip install 'ompd[cluster]'") from None
    return ray


def connect(address: str | None) -> Any:
    """Connect this process to a cluster, and check that its nodes fit.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of its head, or "auto" for the cluster of this machine. By default
        the one that this process is connected to, else one of its own here.

    Returns
    -------
    module
        Ray.

    Raises
    ------
    BackendUnavailableError, ClusterError
    """
    ray = ray_module()
    if not ray.is_initialized():
        if address not in (None, "auto"):
            _check_address(str(address))
        problem = ""
        try:
            ray.init(
                address=address,
                namespace=NAMESPACE,
                include_dashboard=None if address else False,
                configure_logging=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises what it likes
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
        if problem:
            raise ClusterError(f"ray: cannot connect: {problem}")
    check_nodes(ray)
    return ray


def _check_address(address: str) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise ClusterError("address: expected auto, or HOST:PORT of the cluster's head")
    problem = ""
    try:
        socket.create_connection((host, int(port)), timeout=_LISTENING).close()
    except OSError as error:
        problem = error.strerror or type(error).__name__
    if problem:
        raise ClusterError(f"address: nobody answers there ({problem})")


def nodes(ray: Any) -> list[dict[str, Any]]:
    """Return the nodes that are there and have processors."""
    return [each for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU", 0) >= 1]


def check_nodes(ray: Any) -> dict[str, dict[str, str]]:
    """Return what each node has installed, by its id.

    Raises
    ------
    ClusterError
        If one has other versions than this process, or lets others than token holders in.
    """
    here = installed()
    # As code: the node may not have this package.
    module = sys.modules[installed.__module__]
    ray.cloudpickle.register_pickle_by_value(module)
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(installed)
        calls = {each["NodeID"]: ask.options(**_on(ray, each)).remote() for each in nodes(ray)}
    finally:
        ray.cloudpickle.unregister_pickle_by_value(module)
    if not calls:
        raise ClusterError("cluster: there is no node with a processor")
    found = {}
    for node, call in calls.items():
        problem = ""
        try:
            found[node] = ray.get(call, timeout=_STARTING)
        except Exception as error:  # Ray raises what it likes
            problem = type(error).__name__
        if problem and node not in {each["NodeID"] for each in nodes(ray)}:
            # It left meanwhile.
            continue
        if problem:
            raise ClusterError(f"node {node[:8]}: does not answer ({problem})")
        problem = difference(here, found[node])
        if problem:
            raise ClusterError(f"node {node[:8]}: {problem}; install the same there")
        if found[node]["token"].lower() != "token":
            raise ClusterError(f"node {node[:8]}: started without RAY_AUTH_MODE=token")
    return found


def _on(ray: Any, node: dict[str, Any]) -> dict[str, Any]:
    strategies = ray.util.scheduling_strategies
    return {
        "scheduling_strategy": strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    }


class RayHands:
    """Starts and calls workers as actors; see `Hands`.

    Parameters
    ----------
    ray : module
        Connected.
    workers, threads : int
    memory : int, optional
        Bytes that a worker may have.
    """

    def __init__(self, ray: Any, workers: int, threads: int, memory: int | None) -> None:
        self._ray = ray
        self.workers = workers
        self.threads = threads
        self.memory = memory
        self._actor = ray.remote(Worker)

    @classmethod
    def connect(cls, address: str | None, workers: int | None, threads: int | None) -> Self:
        """Connect, check all nodes, and choose what is left open.

        Raises
        ------
        BackendUnavailableError, ClusterError
        """
        ray = connect(address)
        found = nodes(ray)
        processors = [int(each["Resources"]["CPU"]) for each in found]
        if workers is None:
            workers = len(found) if len(found) > 1 else min(2, processors[0])
        each = -(-workers // len(found))
        threads = threads or max(1, min(processors) // each)
        room = sum(count // threads for count in processors)
        if room < workers:
            raise ClusterError(
                f"cluster: has room for {room} workers of {threads} threads, not for {workers}"
            )
        least = min(each["Resources"].get("memory", 0) for each in found)
        return cls(ray, workers, threads, int(_SHARE * least / each) or None)

    def start(self) -> Any:
        """Start a worker on the node that has most room."""
        actor = self._actor.options(
            num_cpus=self.threads,
            max_restarts=0,
            max_concurrency=_AT_ONCE,
            scheduling_strategy="SPREAD",
            name=f"worker-{secrets.token_hex(4)}",
            namespace=NAMESPACE,
        ).remote(self.threads)
        # Ray raises what it likes.
        with contextlib.suppress(Exception):
            self._ray.get(actor.status.remote(), timeout=_STARTING)
            return actor
        self.stop(actor)
        raise UnreachableError("worker: did not start")

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Begin a call."""
        problem = ""
        try:
            return getattr(worker, method).remote(*arguments)
        except Exception as error:  # Ray raises what it likes
            problem = type(error).__name__
        raise UnreachableError(f"worker: cannot be asked ({problem})")

    def wait(self, calls: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return calls that are over."""
        over: list[Any] = self._ray.wait(list(calls), num_returns=1, timeout=seconds)[0]
        return over

    def result(self, call: Any) -> Any:
        """Return the result of a call that is over."""
        problem = ""
        try:
            return self._ray.get(call)
        except Exception as error:  # Ray raises what it likes
            problem = type(error).__name__
        raise UnreachableError(f"worker: gave no answer ({problem})")

    def stop(self, worker: Any) -> None:
        """End a worker."""
        # It may be gone, and so may the cluster.
        with contextlib.suppress(Exception):
            self._ray.kill(worker)

    def __repr__(self) -> str:
        return f"<RayHands for {self.workers} workers>"


def actors(ray: Any) -> list[dict[str, Any]]:
    """Return what the workers of all clouds on a cluster say of themselves."""
    calls = []
    for each in ray.util.list_named_actors(all_namespaces=True):
        if each["namespace"] == NAMESPACE and each["name"].startswith("worker-"):
            # It may have ended meanwhile.
            with contextlib.suppress(ValueError):
                calls.append(ray.get_actor(each["name"], NAMESPACE).status.remote())
    told = []
    for call in calls:
        with contextlib.suppress(Exception):
            told.append(ray.get(call, timeout=_STARTING))
    return told
