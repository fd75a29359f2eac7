"""A hospital and a cloud as real processes, with proxies between them and their users."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx
import msgspec

import ompd
from ompd.crypto import Identity
from ompd.crypto.identity_files import load_identity
from ompd.errors import NoAnswerError, RefusedError
from ompd.service.parties import AUDIT_FOLDER
from ompd.service.running import FILE
from ompd.service.setup import Ports, set_up
from ompd.stores.audit_check import log_files, verify
from ompd.stores.registry import Registry
from tests.service.proxy import Proxy

#: Seconds after which a server that should do something is taken for dead.
PATIENCE = 60.0
#: Seconds for which a user tries to get an answer: longer than a hospital waits for a cloud.
PERSISTENCE = 150.0


def until(true, what, seconds=PATIENCE):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Server:
    """One party's process, and the proxy before it, whose address stays the same."""

    def __init__(self, folder, role):
        self.role = role
        self.config = folder / f"{role}.toml"
        self.state = folder / role / "state"
        self.log = folder / f"{role}.log"
        self.proxy = Proxy()
        self.process = None
        self.running = None

    def start(self):
        """Start it and wait until it serves."""
        self.begin()
        until(self._is_up, f"{self.role} serves")

    def begin(self):
        """Start it; returns its process."""
        if (self.state / FILE).exists():
            # Of a process that was killed.
            (self.state / FILE).unlink()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ompd", "serve", self.role, "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        return self.process

    def _is_up(self):
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            self.running = msgspec.json.decode((self.state / FILE).read_bytes())
            url = urlsplit(self.running["service"])
            self.proxy.target = url.hostname, url.port
            return True
        return False

    def kill(self):
        """End it as a power failure would."""
        self.proxy.target = None
        self.process.kill()
        self.process.wait()

    def stop(self):
        """End it as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.log.read_text()[-2000:]
        self.proxy.target = None

    def lives(self):
        return self.process.poll() is None

    def get(self, path):
        return httpx.get(self.running["service"] + path, timeout=PATIENCE)

    def metric(self, name):
        """Sum of the series of a name that begins so."""
        text = httpx.get(self.running["metrics"] + "/metrics", timeout=PATIENCE).text
        found = re.findall(rf"^{re.escape(name)}\S* (\S+)$", text, re.MULTILINE)
        assert found, name
        return sum(map(float, found))

    def status(self):
        return httpx.get(self.running["metrics"] + "/status", timeout=PATIENCE).json()

    def limit_files(self, size):
        """Let no file grow above so many bytes, as a full disk does."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))


class Rig(contextlib.ExitStack):
    """All of it; processes and proxies end with the block.

    Parameters
    ----------
    folder : Path
    profile : str
    users : int
    """

    def __init__(self, folder, *, profile="paper", users=1):
        super().__init__()
        self.folder = folder / "parties"
        # Cheap passwords: they are not what is tested.
        set_up(self.folder, profile=profile, ports=Ports(0, 0, 0, 0), _n=2)
        self.hospital = Server(self.folder, "hospital")
        self.cloud = Server(self.folder, "cloud")
        self.keys = {role: self._public(role).signing_key for role in ("hospital", "cloud")}
        self.users = []
        #: Frames that each user has made.
        self.asked = Counter()
        with Registry(self.folder / "hospital" / "registry.db") as registry:
            for number in range(users):
                user = ompd.User(Identity.generate(f"user-{number}"), fallback=True)
                registry.admit(user.public, "user")
                user.meet(self._public("hospital"), "hospital")
                self.users.append(user)

    def _public(self, role):
        home = self.folder / role
        return load_identity(home / "identity", (home / "password").read_text().strip()).public

    def __enter__(self):
        super().__enter__()
        for server in (self.hospital, self.cloud):
            self.enter_context(server.proxy)
        self.callback(self._end)
        config = self.hospital.config
        text = config.read_text().replace("http://127.0.0.1:0", self.cloud.proxy.url)
        config.write_text(text.replace("signers = 2", "signers = 0"))
        self.cloud.start()
        self.hospital.start()
        until(lambda: self.hospital.get("/health/ready").status_code == 200, "ready")
        return self

    def _end(self):
        for server in (self.hospital, self.cloud):
            if server.process is not None:
                server.process.kill()
                server.process.wait()

    @property
    def servers(self):
        return {"hospital": self.hospital, "cloud": self.cloud}

    def outsource(self, table, schema, disease="flu", k=3):
        """Publish a file or a built-in table by the running hospital, as `ompd outsource` does.

        Returns the last of what it tells; nothing where it was killed meanwhile.
        """
        order = {
            "table": str(table),
            "schema": None if schema is None else str(schema),
            "disease": disease,
            "cloud": "cloud",
        }
        running = self.hospital.running
        told = {}
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.stream(
                "POST",
                running["metrics"] + "/outsource",
                json=order | {"k": k},
                headers={"authorization": f"Bearer {running['token']}"},
                timeout=PATIENCE,
            ) as answer,
        ):
            assert answer.status_code == 200, answer.status_code
            for line in answer.iter_lines():
                told = json.loads(line)
        return told

    def audit(self, role="hospital"):
        """Verify the chain of an audit log; returns its events, which come soon after answers."""
        events = self._audit(role)
        while True:
            time.sleep(0.3)
            before, events = events, self._audit(role)
            if len(events) == len(before):
                return events

    def _audit(self, role):
        server = self.servers[role]
        registry = self.keys[role]
        verify(server.state / AUDIT_FOLDER, lambda _: [registry])
        lines = [
            json.loads(line)
            for file in log_files(server.state / AUDIT_FOLDER)
            for line in file.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]
        return [line for line in lines if line["line"] == "event"]


class Asker:
    """A user who sends the same frame until there is an answer, and asks anew after a refusal."""

    def __init__(self, rig, number=0, disease="flu"):
        self.rig = rig
        self.user = rig.users[number]
        self.disease = disease
        self.refused = 0
        #: Frames and their answers.
        self.answered = []
        self.http = rig.enter_context(httpx.Client(base_url=rig.hospital.proxy.url, timeout=30))

    def send(self, frame):
        """Return the answer to a frame, however often it takes."""
        end = time.monotonic() + PERSISTENCE
        last = ""
        while True:
            assert time.monotonic() < end, f"a user never got an answer; the last was {last}"
            try:
                answer = self.http.post("/v1/frames", content=frame)
                if answer.status_code == 200:
                    return answer.content
                assert answer.status_code == 503, answer.status_code
                last = "busy"
                time.sleep(min(float(answer.headers["retry-after"]), 0.2))
            except httpx.TransportError as error:
                last = type(error).__name__
            time.sleep(0.02)

    def ask(self, features):
        """Return the diagnosis of one row."""
        while True:
            frame = self.user.ask("hospital", self.disease, features)
            self.rig.asked[self.user.id] += 1
            report = self.send(frame)
            try:
                diagnosis = self.user.read(report)[0]
            except (RefusedError, NoAnswerError):
                # Claimed by a process that was killed, or its cloud was away for too long.
                self.refused += 1
                assert self.refused < 1000
                continue
            self.answered.append((frame, report))
            return diagnosis
