"""What the servers cost over the library, and how they do beside renewals, uploads and crowds.

python -m bench.service [--rows 100000] [--queries 3000] [--json]

Two servers, their signature processes and the clients that ask share the machine's cores; nothing
leaves the loopback interface. Every figure is bounded in time.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.servers import DISEASE, Servers, ask, records
from ompd.roles import Cloud, Hospital, User, introduce
from ompd.roles.party import FRESHNESS_WINDOW
from ompd.stores import DurableReplayGuard, FolderTables
from ompd.wire import Kind
from ompd.wire.frames import Header, encode_signed_part

#: What a forged body says that it has.
_FORGED = 2 << 30


@contextlib.contextmanager
def in_process(folder, rows, profile, users):
    """The same three parties with the same durable state, in this process."""
    with contextlib.ExitStack() as stack:

        def guard(name):
            made = DurableReplayGuard(folder / name, FRESHNESS_WINDOW)
            stack.callback(made.close)
            return made

        tables = FolderTables(folder / "tables")
        stack.callback(tables.close)
        hospital = Hospital.create(
            "hospital", profile=profile, state=folder / "state", replays=guard("hospital")
        )
        stack.callback(hospital.close)
        cloud = Cloud.create("cloud", tables=tables, replays=guard("cloud"))
        stack.callback(cloud.close)
        introduce(hospital, cloud)
        crowd = []
        for number in range(users):
            crowd.append(User.create(f"user-{number}"))
            introduce(crowd[-1], hospital)
        data = records(rows)
        upload = hospital.publish(DISEASE, data, cloud="cloud", k=9)
        hospital.deliver(upload, cloud.store)
        yield hospital, cloud, crowd, data.features


def library(folder, rows, profile, users, batch, rounds):
    """Queries per second of the library at a batch size, and median milliseconds of one alone."""
    with in_process(folder, rows, profile, users) as (hospital, cloud, crowd, features):

        def answered(count, first):
            queries = [
                crowd[(first + i) % users].ask("hospital", DISEASE, features[(first + i) % rows])
                for i in range(count)
            ]
            begin = time.perf_counter()
            made = hospital.forward_batch(queries)
            assert not made.refused
            reports = [hospital.report_batch(cloud.answer(job.frame)) for job in made.jobs]
            taken = time.perf_counter() - begin
            assert sum(map(len, reports)) == count
            while hospital.due():
                hospital.renewed(cloud.answer(hospital.renew(DISEASE)))
            return taken

        answered(batch, 0)
        many = [answered(batch, turn * batch) for turn in range(1, rounds + 1)]
        alone = [answered(1, turn) for turn in range(30)]
    return batch / statistics.median(many), statistics.median(alone[5:]) * 1e3


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


def against_library(folder, queries, clients, rounds):
    """HTTP against the library at the batch size that HTTP had, and one client alone."""
    rows, users = 1000, 100
    with Servers(folder / "http", rows=rows, users=users) as servers:
        many = over_http(servers, queries, clients)
        one = over_http(servers, min(queries, 200), 1, first=queries + 2 * clients)
    batch = max(1, round(many["mean_batch"]))
    (folder / "library").mkdir()
    throughput, alone = library(folder / "library", rows, "paper", users, batch, rounds)
    return {
        "http": many,
        "library_queries_per_second": throughput,
        "ratio": many["queries_per_second"] / throughput,
        "one_client_ms": one["p50_ms"],
        "library_one_ms": alone,
        "one_client_extra_ms": one["p50_ms"] - alone,
    }


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


def measure(rows=100_000, queries=3000, clients=600, seconds=10, rounds=3):
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="ompd-bench-") as name:
        folder = Path(name)
        return {
            "signers": signers(folder / "signers", queries, clients),
            "library": against_library(folder, queries, 64, rounds),
            "profiles": profiles(folder / "profiles", rows, queries),
            "beside": beside(folder / "beside", rows, seconds),
            "forged": forged(folder / "forged"),
            "crowd": crowd(folder / "crowd", 1000, 6 * seconds),
        }


@pytest.mark.benchmark(group="service")
def test_service(benchmark, tmp_path):
    """A few queries over HTTP against the library, and a forged body."""
    found = benchmark.pedantic(against_library, (tmp_path, 40, 8, 1), rounds=1)
    assert found["http"]["wrong"] == 0
    assert found["ratio"] > 0
    assert forged(tmp_path / "forged")["replies"] == 1


def main(
    rows: Annotated[int, typer.Option(help="Records of the large tables.")] = 100_000,
    queries: Annotated[int, typer.Option(help="Queries of every load.")] = 3000,
    clients: Annotated[int, typer.Option(help="Clients against signature processes.")] = 600,
    seconds: Annotated[int, typer.Option(help="Of each light load; a sixth of the last.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the servers."""
    found = measure(rows, queries, clients, seconds)
    if as_json:
        print(json.dumps(found))
        return
    console = Console()
    table = Table(title="Loads over HTTP", title_justify="left")
    columns = ("queries_per_second", "p50_ms", "p99_ms", "mean_batch", "certified", "put_off")
    for name in ("load", *columns):
        table.add_column(name.replace("_", " "), justify="right" if name != "load" else "left")
    loads = {f"paper, {count} signers": each for count, each in found["signers"].items()}
    loads |= {f"{name}, {rows:,} rows": each for name, each in found["profiles"].items()}
    loads["paper, no signers"] = found["library"]["http"]
    for name, each in loads.items():
        table.add_row(
            f"{name}, {each['clients']} clients", *(f"{each[column]:.4g}" for column in columns)
        )
    console.print(table)
    for part in ("library", "beside", "forged", "crowd"):
        for name, figure in found[part].items():
            if not isinstance(figure, dict):
                console.print(f"{part} {name.replace('_', ' ')}: {figure:.4g}")


if __name__ == "__main__":
    typer.run(main)
