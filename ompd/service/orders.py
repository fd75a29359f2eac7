"""What commands of a hospital's owner have its server do, or do themselves where none runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from ompd.errors import ConfigError, OmpdError, UnreachableError
from ompd.service.acquaintance import meet_again
from ompd.service.config import CloudConfig, HospitalConfig, read_config
from ompd.service.crew import Crew
from ompd.service.journal import Journal
from ompd.service.link import Link
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.service.parties import open_hospital_server
from ompd.service.running import Running, find
from ompd.service.uploading import Order, Outsourced, Progress, Uploading

#: Seconds to connect, and between two lines of a server that trains.
_TIMEOUT = httpx.Timeout(None, connect=2.0)


class OrderError(OmpdError, RuntimeError):
    """The hospital's server could not carry out an order; it says why."""


class _Line(msgspec.Struct, frozen=True):
    stage: str = ""
    share: float = 0.0
    error: str = ""
    done: Outsourced | None = None


def outsource(config: HospitalConfig, order: Order, progress: Progress) -> Outsourced:
    """Publish a table: by the hospital's server if it runs, else by this process.

    Parameters
    ----------
    config : HospitalConfig
    order : Order
        Its paths are absolute: the server may be in another folder.
    progress : callable

    Raises
    ------
    OrderError
        If the server refuses the order.
    OmpdError
        As `Uploading.outsource`; `StoreError` if another process uses the state and is no server.
    """
    found = find(config.state)
    if found is not None:
        with contextlib.suppress(httpx.ConnectError):
            return _ordered(found, order, progress)
    # Nobody answers there: none runs, or it was killed.
    return asyncio.run(_alone(config, order, progress))


def status(config: HospitalConfig | CloudConfig) -> Mapping[str, Any]:
    """Return what a running server says of itself.

    Raises
    ------
    UnreachableError
        If none runs.
    """
    found = find(config.state)
    if found is not None:
        with contextlib.suppress(httpx.TransportError, ValueError):
            answer = httpx.get(found.metrics + "/status", timeout=5.0, trust_env=False)
            told: dict[str, Any] = msgspec.json.decode(answer.content, type=dict)
            return told
    raise UnreachableError("server: none of this configuration runs")


def _ordered(found: Running, order: Order, progress: Progress) -> Outsourced:
    lines = msgspec.json.Decoder(_Line)
    with httpx.Client(base_url=found.metrics, timeout=_TIMEOUT, trust_env=False) as http:
        headers = {"authorization": f"Bearer {found.token}"}
        content = msgspec.json.encode(order)
        try:
            with http.stream("POST", "/outsource", content=content, headers=headers) as answer:
                if answer.status_code != 200:
                    raise OrderError("server: does not take this order")
                for text in answer.iter_lines():
                    line = lines.decode(text)
                    if line.done is not None:
                        return line.done
                    if line.error:
                        raise OrderError(line.error)
                    progress(line.stage, line.share)
        except httpx.ConnectError:
            raise
        except (httpx.TransportError, ValueError):
            pass
    raise OrderError("server: was lost before it was done; `ompd status` tells whether it goes on")


async def _alone(config: HospitalConfig, order: Order, progress: Progress) -> Outsourced:
    # One table needs no other processes for its few signatures.
    with open_hospital_server(msgspec.structs.replace(config, signers=0)) as (hospital, audit):
        journal = Journal(Metrics(), audit, logger(config.id))
        crew = Crew("outsource", 2)
        try:
            async with Link(config.clouds, config.connect) as link:
                if order.cloud is not None:
                    link.check(order.cloud)
                    identity = await link.identity(order.cloud)
                    meet_again(hospital.directory, order.cloud, identity)
                    await link.introduce(order.cloud, hospital.public.to_bytes())
                return await Uploading(hospital, link, crew, journal).outsource(order, progress)
        finally:
            crew.close()


def server_config(path: Path) -> HospitalConfig | CloudConfig:
    """Read the configuration of a server of either sort.

    Raises
    ------
    ConfigError
        If it is none.
    """
    try:
        return read_config(path, HospitalConfig)
    except ConfigError as hospital:
        try:
            return read_config(path, CloudConfig)
        except ConfigError:
            # What is missing of a hospital tells more.
            raise hospital from None
