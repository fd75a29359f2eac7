"""Readers of a hospital's own files as targets; see `targets`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ompd.datasets import _blocks, load
from ompd.datasets._table import domain_faults, read_table
from ompd.errors import OmpdError, SchemaError
from ompd.schema import Feature, Schema, TableForm

FILE = Schema(
    (
        Feature("age", "ordinal", 0, 120, unit="years"),
        Feature("krea", "numeric", -1, 1e6, missing="median", about="a value"),
        Feature("sex", "nominal", 0, 1, levels=("f", "m"), missing="level"),
        Feature("seen", "numeric", 0, 1e5, since="2000-01-01", missing="median"),
    ),
    ("no", "yes"),
    TableForm(
        label="y", id="id", separator=";", decimal=",", marks={"krea": ["-9"]}, texts={"2": "yes"}
    ),
)


def schema_toml(data: bytes) -> None:
    """What is read is written so that it is read again."""
    decoded = Schema.from_toml(data)
    try:
        text = decoded.to_toml()
    except SchemaError:  # texts that UTF-8 cannot write come from escapes only
        return
    assert Schema.from_toml(text) == decoded


def table_text(data: bytes) -> None:
    """Any file in the form of a schema, and a proposal for it; both readers say the same."""
    outcomes = []
    for size in (0, 1 << 40):
        usual, _blocks.FAST_BYTES = _blocks.FAST_BYTES, size
        try:
            table = read_table(data, FILE, "x", lenient=True)
            values = np.nan_to_num(table.values, nan=-77.0).tolist()
            ids = None if table.ids is None else table.ids.tolist()
            outcomes.append((values, table.codes.tolist(), ids, table.faults))
            assert all(len(fault) == 5 for fault in domain_faults(table))
        except OmpdError as error:
            outcomes.append((type(error), str(error)))
        finally:
            _blocks.FAST_BYTES = usual
    assert outcomes[0] == outcomes[1]
    read_table(data, FILE, "x")


def table_proposal(data: bytes) -> None:
    """Any file gets a proposal that reads it, or is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own"
        path.write_bytes(data)
        proposal = Schema.infer(path)
        again = Schema.from_toml(proposal.to_toml())
        assert again.plain == proposal.plain
        load(path, again, errors="collect")


TARGETS = [
    ("schema-toml", schema_toml),
    ("table-text", table_text),
    ("table-proposal", table_proposal),
]

ROWS = "id;age;krea;sex;seen;y\np1;40;1,5;f;2000-02-01;no\np2;50;?;m;31;2\np3;60;-9;;;yes\n"
ARFF = "@relation r\n@attribute a real\n@attribute b {x,'y z'}\n@attribute class {n,y}\n@data\n"
SEEDS = {
    "schema-toml": FILE.to_toml().encode(),
    "table-text": ROWS.encode(),
    "table-proposal": (ARFF + "1,x,n\n2,'y z',y\n3,?,n\n5,x,y\n").encode(),
}
