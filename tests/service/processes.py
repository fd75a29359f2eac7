"""Servers as processes of their own, which a test may kill."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import urllib.request

from ompd.service.setup import Ports, set_up
from tests.places import ROOT

_SERVE = """
import sys
from pathlib import Path
from ompd.service.cloud_server import serve_cloud
from ompd.service.config import CloudConfig, read_config
from ompd.service import logs
logs.configure()
config = read_config(sys.argv[1], CloudConfig)
serve_cloud(config, lambda addresses: print(addresses.service, addresses.metrics, flush=True))
"""


def made(folder, **options):
    """A configuration of all parties in a folder, on any free ports."""
    set_up(folder, ports=Ports(0, 0, 0, 0), _n=16, **options)
    return folder


class CloudProcess:
    """The cloud of a configuration."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(folder / "cloud.toml")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        assert line, self.process.wait(60)
        self.url, self.metrics = line.split()

    def status(self):
        with urllib.request.urlopen(self.metrics + "/status", timeout=30) as response:  # noqa: S310
            return json.load(response)

    def highest(self):
        """Most bytes of memory that it had at any time."""
        with open(f"/proc/{self.process.pid}/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["VmHWM"].split()[0]) << 10

    def kill(self):
        self.process.kill()
        self._end()

    def stop(self):
        """End it as systemd does; returns its status."""
        self.process.send_signal(signal.SIGTERM)
        return self._end()

    def _end(self):
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@contextlib.contextmanager
def cloud_process(folder):
    """Run the cloud of a configuration, and end it whatever happens."""
    cloud = CloudProcess(folder)
    try:
        yield cloud
    finally:
        if cloud.process.poll() is None:
            cloud.stop()
        elif not cloud.process.stdout.closed:
            cloud.process.stdout.close()
