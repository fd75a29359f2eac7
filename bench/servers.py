"""A hospital and a cloud as real servers on this machine, for benchmarks; loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
import numpy as np

from bench.data import population
from ompd.crypto import Identity
from ompd.crypto.identity_files import load_identity
from ompd.datasets import Dataset
from ompd.roles import User
from ompd.service.running import FILE
from ompd.service.setup import Ports, set_up
from ompd.stores.registry import Registry

#: The name of the built-in WBC table, since names have lengths.
DISEASE = "breast-cancer-cytology"
#: Seconds after which something that should have happened is taken for broken.
_PATIENCE = 300.0


def records(rows, seed=1):
    """A WBC-like table, with jitter so that few rows are equal."""
    people = population("wbc")
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(people.rows), rows)
    schema = people.encoder.schema
    values = people.rows[picked] + people.jitter * rng.uniform(-1, 1, (rows, 9))
    labels = schema.names(people.labels[picked])
    return Dataset.from_arrays(schema, np.clip(values, schema.low, schema.high), labels)


class Server:
    """One process, and what it takes of the machine."""

    def __init__(self, folder, role):
        self.config = folder / f"{role}.toml"
        self.state = folder / role / "state"
        self._log = folder / f"{role}.log"
        self._role = role

    def start(self):
        """Start it; returns once it serves."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ompd", "serve", self._role, "--config", str(self.config)],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _PATIENCE
        while not (self.state / FILE).exists():
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < end, "a server does not start"
            time.sleep(0.05)
        running = msgspec.json.decode((self.state / FILE).read_bytes())
        self.url, self._metrics = running["service"], running["metrics"]

    def end(self):
        """End it."""
        if hasattr(self, "process"):
            self.process.terminate()
            self.process.wait()

    def metrics(self):
        """All series by their names with labels."""
        text = httpx.get(f"{self._metrics}/metrics").text
        found = re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    def status(self):
        """What the server tells of itself."""
        return httpx.get(f"{self._metrics}/status").json()

    def _processes(self):
        """The server's process and those it started."""
        pids = [self.process.pid]
        for pid in pids:
            # Each thread has children of its own.
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += [int(each) for each in children.read_text().split()]
        return pids

    def cpu(self):
        """Seconds of processor time that all its processes have taken."""
        ticks = 0
        for pid in self._processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _memory(self, name):
        """MiB of the server's own process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) / 1024

    def watch_memory(self):
        """Forget the peak until now; returns a function for MiB by which it grew since."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        before = self._memory("VmRSS")
        return lambda: self._memory("VmHWM") - before


class Servers(contextlib.ExitStack):
    """Both servers with one table, and users that the hospital knows.

    Parameters
    ----------
    folder : Path
        Empty or missing.
    rows : int
        Of the table.
    profile : str
    signers, users : int
    """

    def __init__(self, folder, *, rows, profile="paper", signers=0, users=100):
        super().__init__()
        self._folder = folder
        folder.parent.mkdir(exist_ok=True)
        set_up(folder, profile=profile, ports=Ports(0, 0, 0, 0))
        self.hospital, self.cloud = Server(folder, "hospital"), Server(folder, "cloud")
        self._signers = signers
        password = (folder / "hospital" / "password").read_text().strip()
        public = load_identity(folder / "hospital" / "identity", password).public
        self.users = []
        with Registry(folder / "hospital" / "registry.db") as registry:
            for number in range(users):
                user = User(Identity.generate(f"user-{number}"), fallback=True)
                user.meet(public, "hospital")
                registry.admit(user.public, "user")
                self.users.append(user)
        data = records(rows)
        self.features = data.features
        self._table, self._schema = folder / "table.csv", folder / "table.toml"
        names = [feature.name for feature in data.schema.features]
        with self._table.open("w") as file:
            print(*names, "label", sep=",", file=file)
            for row, label in zip(data.features.tolist(), data.labels.tolist(), strict=True):
                print(*row, data.schema.classes[label], sep=",", file=file)
        self._schema.write_text(data.schema.to_toml())

    def __enter__(self):
        super().__enter__()
        self.callback(self.hospital.end)
        self.callback(self.cloud.end)
        self.cloud.start()
        config = self.hospital.config
        text = config.read_text().replace("http://127.0.0.1:0", self.cloud.url)
        config.write_text(text.replace("signers = 2", f"signers = {self._signers}"))
        self.hospital.start()
        end = time.monotonic() + _PATIENCE
        while httpx.get(f"{self.hospital.url}/health/ready").status_code != 200:
            assert time.monotonic() < end, "the hospital does not get ready"
            time.sleep(0.05)
        self.outsource().wait()
        return self

    def outsource(self, disease=DISEASE):
        """Begin to publish the table; returns the process that waits for it."""
        log = self.enter_context((self._folder / "outsource.log").open("ab"))
        command = ["outsource", str(self._table), "--schema", str(self._schema), "--k", "9"]
        return subprocess.Popen(
            [sys.executable, "-m", "ompd", *command, "--disease", disease,
             "--config", str(self.hospital.config)],
            stdout=log,
            stderr=log,
        )  # fmt: skip

    def questions(self, count, first=0):
        """Frames of as many users as there are, made before any clock runs."""
        pairs = []
        for number in range(first, first + count):
            user = self.users[number % len(self.users)]
            features = self.features[number % len(self.features)]
            pairs.append((user, user.ask("hospital", DISEASE, features)))
        return pairs


@dataclass
class Load:
    """What came of a load.

    Attributes
    ----------
    seconds : float
        From the first question to the last answer.
    latencies : list of float
        Milliseconds of those that were answered, in order of their answers.
    answers : list of tuple
        Users and their reports.
    put_off : int
        How often "busy" was the answer; the same frame was sent again.
    wrong : int
        Other answers, and connections that broke.
    """

    seconds: float = 0.0
    latencies: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    put_off: int = 0
    wrong: int = 0

    @property
    def per_second(self):
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share):
        """Milliseconds that this share of the answers took at most."""
        return float(np.quantile(self.latencies, share))

    def read(self):
        """All reports as their users read them."""
        return [user.read(report)[0] for user, report in self.answers]


def ask(url, questions, clients, *, pause=0.0, seconds=None):
    """Send frames over as many keep-alive connections as there are clients, each in turn.

    Parameters
    ----------
    url : str
    questions : list of tuple
    clients : int
    pause : float
        Seconds that a client waits between two questions.
    seconds : float, optional
        After which no client asks any more.
    """
    return asyncio.run(_ask(url, questions, clients, pause, seconds))


def one_by_one(url, questions, pause):
    """Milliseconds of frames that one plain connection asks one after the other, with pauses."""
    where = urlsplit(url)
    taken = []
    with contextlib.closing(HTTPConnection(where.hostname, where.port)) as line:
        for _, frame in questions:
            time.sleep(pause)
            begin = time.perf_counter()
            line.request("POST", "/v1/frames", frame)
            answer = line.getresponse()
            answer.read()
            taken.append((time.perf_counter() - begin) * 1e3)
            assert answer.status == 200, answer.status
    return taken


async def _ask(url, questions, clients, pause, seconds):
    load = Load()
    waiting = list(reversed(questions))
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def one(user, frame):
            begin = time.perf_counter()
            while True:
                try:
                    async with session.post(f"{url}/v1/frames", data=frame) as response:
                        body = await response.read()
                except aiohttp.ClientError:
                    load.wrong += 1
                    return
                if response.status == 200:
                    load.latencies.append((time.perf_counter() - begin) * 1e3)
                    load.answers.append((user, body))
                    return
                if response.status != 503:
                    load.wrong += 1
                    return
                load.put_off += 1
                await asyncio.sleep(float(response.headers["retry-after"]))

        async def client():
            while waiting and (seconds is None or time.perf_counter() - start < seconds):
                await one(*waiting.pop())
                await asyncio.sleep(pause)

        start = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        load.seconds = time.perf_counter() - start
    return load
