"""Parquet and Arrow files, in batches, bounded, and only the columns that are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ompd.errors import BackendUnavailableError, DatasetError, OmpdError

#: Bounds on what a file may unfold to, whatever its size on disk.
MOST_ROWS = 1 << 27
MOST_CELLS = 1 << 30
MOST_BYTES = 8 << 30
BATCH_ROWS = 1 << 16

#: Chooses columns among all names.
Wanted = Callable[[list[str]], list[str]]

MAGIC = {b"PAR1": "parquet", b"ARRO": "arrow"}


def batches(path: Path, form: str, wanted: Wanted) -> Iterator[Any]:
    """Yield Arrow tables of the columns that `wanted` chooses among all names.

    Raises
    ------
    DatasetError
        If the file is damaged or too large when unfolded.
    BackendUnavailableError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        pa = None
    if pa is None:
        raise BackendUnavailableError(f"{path.name}: needs pyarrow; install ompd[arrow]")
    source = _parquet(pa, path, wanted) if form == "parquet" else _arrow(pa, path, wanted)
    while True:
        failed = False
        frame = None
        try:
            frame = next(source, None)
        except OmpdError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError):
            failed = True
        # Outside, since what Arrow says may quote the file.
        if failed:
            raise DatasetError(f"{path.name}: damaged, or not of the form that it says")
        if frame is None:
            return
        yield frame


def _parquet(pa: Any, path: Path, wanted: Wanted) -> Iterator[Any]:
    import pyarrow.parquet as pq

    shape = pq.read_schema(path)
    names = _plain(pa, shape, path, wanted)
    # Text stays a dictionary: a page of a few bytes may say one long text a million times.
    texts = [name for name in names if _is_text(pa, shape.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        data = file.metadata
        _check_size(path, data.num_rows, len(names))
        groups = (data.row_group(group) for group in range(data.num_row_groups))
        if sum(group.total_byte_size for group in groups) > MOST_BYTES:
            raise DatasetError(f"{path.name}: unfolds to more than {MOST_BYTES} bytes")
        for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            batch.validate(full=True)
            yield pa.Table.from_batches([batch])


def _arrow(pa: Any, path: Path, wanted: Wanted) -> Iterator[Any]:
    from pyarrow import ipc

    with pa.OSFile(str(path)) as stream, ipc.open_file(stream) as file:
        names = _plain(pa, file.schema, path, wanted)
        rows = 0
        for place in range(file.num_record_batches):
            batch = file.get_batch(place)
            rows += batch.num_rows
            _check_size(path, rows, len(names))
            # Offsets that point elsewhere would be followed.
            batch.validate(full=True)
            yield pa.Table.from_batches([batch]).select(names)


def _plain(pa: Any, shape: Any, path: Path, wanted: Wanted) -> list[str]:
    """Return the wanted names after a look at their types."""
    if len(set(shape.names)) != len(shape.names):
        raise DatasetError(f"{path.name}: expected different names of columns")
    names: list[str] = wanted(list(shape.names))
    for name in names:
        kind = shape.field(name).type
        if pa.types.is_nested(kind):
            raise DatasetError(f"{path.name}, column {name!r}: expected plain values")
    return names


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_size(path: Path, rows: int, columns: int) -> None:
    if rows > MOST_ROWS or rows * columns > MOST_CELLS:
        raise DatasetError(f"{path.name}: expected at most {MOST_ROWS} rows and {MOST_CELLS} cells")
