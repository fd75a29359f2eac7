"""A table larger than memory: blinding into a mapped file, opening, searching.

python -m bench.storage [--rows 1000000] [--folder DIR] [--json]
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.data import population
from ompd.blind import PADDING, PaperKey, blind_table
from ompd.params import PAPER
from ompd.search import compute
from ompd.stores import TableFolder


def write(path, rows, progress=None):
    """Draw, encode and blind a population block by block straight into the mapped file."""
    people = population("wbc")
    key = PaperKey.generate(PAPER, 9 + PADDING, people.encoder.largest)

    def fill(part, first):
        sums, _ = people.draw(len(part), seed=first)
        blind_table(key, sums, out=part)

    labels = np.arange(rows, dtype=np.int64) % 2
    shape = (rows, 9 + PADDING, PAPER.limbs)
    return TableFolder.create(path, shape, labels, 2, fill, progress=progress)


class PeakMemory:
    """Growth of the process's own memory; pages of mapped files do not count (Linux)."""

    def __enter__(self):
        """Start sampling."""
        self._first = self._most = self._own()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *error):
        """Stop sampling."""
        self._done.set()
        self._thread.join()

    @property
    def growth(self):
        """Bytes between the start and the peak."""
        return self._most - self._first

    def _sample(self):
        while not self._done.wait(0.01):
            self._most = max(self._most, self._own())

    @staticmethod
    def _own():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        return 0


@pytest.mark.benchmark(group="open 20 000 x 9")
@pytest.mark.parametrize("verify", [True, False])
def test_open(benchmark, tmp_path, verify):
    """A stored index is read, not built."""
    write(tmp_path / "t", 20_000)
    folder = benchmark(TableFolder.open, tmp_path / "t", verify=verify)
    _, rows = compute(folder.table, folder.table.limbs[:5].copy(), 1)
    assert rows[:, 0].tolist() == list(range(5))


def main(
    rows: Annotated[int, typer.Option(help="Instances.")] = 1_000_000,
    folder: Annotated[Path | None, typer.Option(help="Where to write; deleted after.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time a table on disk."""
    with tempfile.TemporaryDirectory(dir=folder) as room, Progress(transient=True) as bar:
        path = Path(room) / "table"
        task = bar.add_task("blind and index", total=1.0)
        write(Path(room) / "warm", 2000)
        start = time.perf_counter()
        with PeakMemory() as memory:
            write(path, rows, lambda share: bar.update(task, completed=share))
        written = time.perf_counter()
        quick = TableFolder.open(path, verify=False)
        opened = time.perf_counter()
        TableFolder.open(path)
        verified = time.perf_counter()
        extra = quick.table.limbs[:1000].copy()
        start_append = time.perf_counter()
        quick.append(extra, np.zeros(1000, dtype=np.int64))
        appended = time.perf_counter()
        quick.remove(np.arange(1000, dtype=np.int64))
        removed = time.perf_counter()
        size = sum(file.stat().st_size for file in path.iterdir())
        result = {
            "rows": rows,
            "write_seconds": written - start,
            "open_seconds": opened - written,
            "open_verified_seconds": verified - opened,
            "append_1000_seconds": appended - start_append,
            "remove_1000_seconds": removed - appended,
            "bytes_on_disk": size,
            "resident_bytes_per_row": quick.table.index.nbytes / rows,
            "peak_memory_while_writing_mib": memory.growth / 2**20,
        }
    if as_json:
        print(json.dumps(result))
        return
    table = Table(title=f"A table of {rows:,} x 9 features on disk", show_header=False)
    for name, value in result.items():
        table.add_row(name.replace("_", " "), f"{value:,.2f}" if value % 1 else f"{value:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
