"""`ompd portal` as a process of its own, which a test may kill."""

from __future__ import annotations

import os
import queue
import re
import resource
import signal
import subprocess
import sys
import threading

_ADDRESS = re.compile(r"open once: (http://127\.0\.0\.1:\d+/enter\?key=\S+)\n")
#: Seconds after which a process that should say something is taken for dead.
PATIENCE = 90.0


def password_file(folder):
    """A file with a password."""
    path = folder / "password"
    if not path.exists():
        path.touch(0o600)
        path.write_text("correct horse battery\n")
    return path


class PortalProcess:
    """The pages of a record; ended with the block.

    Parameters
    ----------
    folder : Path or None
        Of the record.
    *options : str
        Of `ompd portal`.
    at : Path, optional
        Where the process keeps its log; by default beside the record.
    """

    def __init__(self, folder, *options, at=None):
        at = folder.parent if at is None else at
        secret = password_file(at)
        command = [sys.executable, "-m", "ompd", "portal", *map(str, options)]
        command += [] if folder is None else [str(folder)]
        self.log = at / "portal.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--password-file", str(secret)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(at)},
            )
        self._addresses = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self._next()
        self.origin = self.address.rpartition("/enter")[0]

    def _read(self):
        for line in self.process.stdout:
            if found := _ADDRESS.fullmatch(line):
                self._addresses.put(found[1])
        self._addresses.put(None)

    def _next(self):
        address = self._addresses.get(timeout=PATIENCE)
        assert address is not None, self.log.read_text()[-2000:]
        return address

    def renew(self):
        """Wait for the address that is shown after one was used."""
        self.address = self._next()

    def limit_files(self, size):
        """Let no file grow above so many bytes, as a full disk does."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def kill(self):
        """End it as a power failure would."""
        self.process.kill()
        self._end()

    def stop(self):
        """End it as Ctrl-C does; returns its status."""
        self.process.send_signal(signal.SIGTERM)
        return self._end()

    def wait(self):
        """Wait until it ends by itself; returns its status."""
        return self._end()

    def _end(self):
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.kill()
