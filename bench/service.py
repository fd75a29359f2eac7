"""What the servers cost over the library, and how they do beside renewals, uploads and crowds.

python -m bench.service [--part library]... [--rows 100000] [--queries 3000] [--json]

Two servers, their signature processes and the clients that ask share the machine's cores; nothing
leaves the loopback interface. Every figure is bounded in time. On a machine that is not idle, take
one part at a time.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.servers import DISEASE, Servers, ask, one_by_one, records
from ompd.roles import User, introduce
from ompd.service import logs
from ompd.service.config import CloudConfig, HospitalConfig, read_config
from ompd.service.parties import open_cloud_server, open_hospital
from ompd.service.setup import Ports, set_up
from ompd.wire import Kind
from ompd.wire.frames import Header, encode_signed_part

#: What a forged body says that it has.
_FORGED = 2 << 30


@contextlib.contextmanager
def in_process(folder, rows, users):
    """The same parties with the same durable state, from files of `ompd init`, in this process."""
    folder.parent.mkdir(exist_ok=True)
    set_up(folder, profile="paper", ports=Ports(0, 0, 0, 0))
    with contextlib.ExitStack() as stack:
        config = read_config(folder / "hospital.toml", HospitalConfig)
        hospital = stack.enter_context(open_hospital(config))
        cloud, _ = stack.enter_context(
            open_cloud_server(read_config(folder / "cloud.toml", CloudConfig))
        )
        crowd = [User.create(f"user-{number}", fallback=True) for number in range(users)]
        for user in crowd:
            introduce(user, hospital)
        data = records(rows)
        upload = hospital.publish(DISEASE, data, cloud="cloud", k=9)
        hospital.deliver(upload, cloud.store)

        def answered(count, first):
            """Seconds of each of so many queries, all in one batch."""
            queries = [
                crowd[(first + i) % users].ask(
                    hospital.id, DISEASE, data.features[(first + i) % rows]
                )
                for i in range(count)
            ]
            begin = time.perf_counter()
            made = hospital.forward_batch(queries)
            assert not made.refused
            reports = [hospital.report_batch(cloud.answer(job.frame)) for job in made.jobs]
            taken = time.perf_counter() - begin
            assert sum(map(len, reports)) == count
            return taken / count

        yield answered


def over_http(servers, queries, clients, first=0):
    """Throughput, delays, mean batch and certified share of a load, after a small one."""
    ask(servers.hospital.url, servers.questions(2 * clients, first), clients)
    questions = servers.questions(queries, first + 2 * clients)
    before, used = servers.hospital.metrics(), _cpu(servers)
    load = ask(servers.hospital.url, questions, clients)
    after = servers.hospital.metrics()
    used = [(end - begin) / queries * 1e3 for begin, end in zip(used, _cpu(servers), strict=True)]

    def grew(name):
        return after[name] - before[name]

    diagnoses = load.read()
    assert len(diagnoses) == queries, f"{load.wrong} wrong answers"
    return {
        "clients": clients,
        "queries_per_second": load.per_second,
        "p50_ms": load.quantile(0.5),
        "p99_ms": load.quantile(0.99),
        "mean_batch": grew("ompd_batch_queries_sum") / grew("ompd_batch_queries_count"),
        "certified": statistics.mean(each.certified for each in diagnoses),
        "put_off": load.put_off,
        "wrong": load.wrong,
        "hospital_cpu_ms": used[0],
        "cloud_cpu_ms": used[1],
        "renewals": grew('ompd_renewals_total{outcome="done"}'),
    }


def _cpu(servers):
    return servers.hospital.cpu(), servers.cloud.cpu()


def signers(folder, queries, clients, counts=(0, 1, 2)):
    """The same load with several numbers of signature processes."""
    found = {}
    for count in counts:
        place = folder / f"signers-{count}"
        with Servers(place, rows=1000, signers=count, users=100) as servers:
            found[count] = over_http(servers, queries, clients)
    return found


def profiles(folder, rows, queries, clients=64):
    """Sealed against paper."""
    found = {}
    for profile in ("paper", "sealed"):
        with Servers(folder / profile, rows=rows, profile=profile, users=100) as servers:
            found[profile] = over_http(servers, queries, clients)
    return found


def against_library(folder, queries, clients, turns):
    """HTTP in turn with the library at the batch size that HTTP has, and one client alone.

    One client is a plain connection of the standard library, which takes 0.1 ms of each query.
    """
    rows, users = 1000, 100
    part = max(clients, queries // turns)
    found = []
    with (
        Servers(folder / "http", rows=rows, users=users) as servers,
        in_process(folder / "library" / "parties", rows, users) as library,
    ):
        library(8, 0)
        first = 0
        for _ in range(turns):
            many = over_http(servers, part, clients, first)
            first += part + 2 * clients
            batch = max(1, round(many["mean_batch"]))
            taken = [library(batch, batch * turn) for turn in range(max(3, part // batch))]
            # Not at once, for either of them: nobody asks without a pause.
            alone = [one_by_one(servers.hospital.url, servers.questions(20, first), 0.005)]
            first += 20
            alone.append([])
            for turn in range(20):
                time.sleep(0.005)
                alone[1].append(library(1, turn) * 1e3)
            found.append(
                many
                | {
                    "library_queries_per_second": 1 / statistics.median(taken),
                    "ratio": many["queries_per_second"] * statistics.median(taken),
                    "one_client_ms": statistics.median(alone[0]),
                    "library_one_ms": statistics.median(alone[1]),
                    "one_client_extra_ms": statistics.median(alone[0])
                    - statistics.median(alone[1]),
                }
            )
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def beside(folder, rows, seconds, clients=8, pause=0.02):
    """Delays of a light load alone, beside renewals and beside an upload; memory of the upload.

    The table is a sealed one, of so many rows that a window lasts for some dozens of queries.
    """
    found = {}
    with Servers(folder, rows=rows, profile="sealed", users=100) as servers:
        asked = 0

        def light(most=None):
            nonlocal asked
            # As many as there can be: a client has to wait between two.
            questions = servers.questions(most or int(seconds * clients / pause), asked)
            asked += len(questions)
            return ask(servers.hospital.url, questions, clients, pause=pause, seconds=seconds)

        light(2 * clients)
        # So few that the window lasts.
        found["idle_p99_ms"] = light(servers.hospital.status()["tables"][0]["left"] // 4).quantile(
            0.99
        )
        renewals = 'ompd_renewals_total{outcome="done"}'
        before = servers.hospital.metrics()[renewals]
        found["renewal_p99_ms"] = light().quantile(0.99)
        found["renewals"] = servers.hospital.metrics()[renewals] - before

        memory = {name: getattr(servers, name).watch_memory() for name in ("hospital", "cloud")}
        upload = servers.outsource("other")
        found["upload_p99_ms"] = light().quantile(0.99)
        upload.wait()
        found |= {f"upload_{name}_mib": grown() for name, grown in memory.items()}
    return found


def forged(folder):
    """MiB that a hospital's frame of 2 GiB costs the cloud: a header, a length, and no more."""
    with Servers(folder, rows=1000, users=1) as servers:
        header = Header(
            1, Kind.PAPER_UPLOAD, "hospital", "cloud", bytes(16), int(time.time() * 1000), 0
        )
        start, _ = encode_signed_part(header, bytes(64))
        url = urlsplit(servers.cloud.url)
        grown = servers.cloud.watch_memory()
        replies = set()
        for sender in (b"hospital", b"stranger"):
            with socket.create_connection((url.hostname, url.port)) as line:
                head = f"POST /v1/frames HTTP/1.1\r\nhost: x\r\ncontent-length: {_FORGED}\r\n\r\n"
                line.sendall(head.encode() + start.replace(b"hospital", sender))
                with contextlib.suppress(OSError):
                    for _ in range(64):
                        line.sendall(bytes(1 << 20))
                with contextlib.suppress(OSError):
                    replies.add(line.recv(4096))
        return {"forged_mib": grown(), "replies": len(replies)}


def crowd(folder, clients, seconds):
    """So many clients at once, with one question each and then more for some time."""
    with Servers(folder, rows=1000, signers=2, users=100) as servers:
        url = servers.hospital.url
        at_once = ask(url, servers.questions(clients), clients)
        count = int(at_once.per_second * seconds)
        lasting = ask(url, servers.questions(count, clients), 64, seconds=seconds)
        return {
            "clients": clients,
            "answered": len(at_once.answers),
            "put_off": at_once.put_off,
            "wrong": at_once.wrong,
            "p99_ms": at_once.quantile(0.99),
            "lasting_answered": len(lasting.answers),
            "lasting_wrong": lasting.wrong,
        }


class Part(StrEnum):
    """What is measured."""

    SIGNERS = "signers"
    LIBRARY = "library"
    PROFILES = "profiles"
    BESIDE = "beside"
    FORGED = "forged"
    CROWD = "crowd"


def measure(parts, rows=100_000, queries=3000, clients=600, seconds=10, turns=10):
    """All figures of some parts."""
    logs.configure()
    with tempfile.TemporaryDirectory(prefix="ompd-bench-") as name:
        folder = Path(name)
        calls = {
            Part.SIGNERS: lambda: signers(folder / "signers", queries, clients),
            Part.LIBRARY: lambda: against_library(folder, queries, 64, turns),
            Part.PROFILES: lambda: profiles(folder / "profiles", rows, queries),
            Part.BESIDE: lambda: beside(folder / "beside", rows, seconds),
            Part.FORGED: lambda: forged(folder / "forged"),
            Part.CROWD: lambda: crowd(folder / "crowd", 1000, 6 * seconds),
        }
        return {part.value: calls[part]() for part in parts}


@pytest.mark.benchmark(group="service")
def test_service(benchmark, tmp_path):
    """A few queries over HTTP against the library, and a forged body."""
    found = benchmark.pedantic(against_library, (tmp_path, 40, 8, 1), rounds=1)
    assert found["wrong"] == 0
    assert found["ratio"] > 0
    assert forged(tmp_path / "forged")["replies"] == 1


def main(
    part: Annotated[list[Part] | None, typer.Option(help="What to measure; else all.")] = None,
    rows: Annotated[int, typer.Option(help="Records of the large tables.")] = 100_000,
    queries: Annotated[int, typer.Option(help="Queries of every load.")] = 3000,
    clients: Annotated[int, typer.Option(help="Clients against signature processes.")] = 600,
    seconds: Annotated[int, typer.Option(help="Of each light load; a sixth of the last.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the servers."""
    found = measure(part or list(Part), rows, queries, clients, seconds)
    if as_json:
        print(json.dumps(found))
        return
    console = Console()
    table = Table(title="Loads over HTTP", title_justify="left")
    columns = ("queries_per_second", "p50_ms", "p99_ms", "mean_batch", "certified", "put_off")
    for name in ("load", *columns):
        table.add_column(name.replace("_", " "), justify="right" if name != "load" else "left")
    loads = {f"paper, {count} signers": each for count, each in found.get("signers", {}).items()}
    loads |= {f"{name}, {rows:,} rows": each for name, each in found.get("profiles", {}).items()}
    if "library" in found:
        loads["in turn with the library"] = found["library"]
    for name, each in loads.items():
        table.add_row(
            f"{name}, {each['clients']} clients", *(f"{each[column]:.4g}" for column in columns)
        )
    if loads:
        console.print(table)
    for each in ("library", "beside", "forged", "crowd"):
        for name, figure in found.get(each, {}).items():
            console.print(f"{each} {name.replace('_', ' ')}: {figure:.4g}")


if __name__ == "__main__":
    typer.run(main)
