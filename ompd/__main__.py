"""``python -m ompd`` is the same as ``ompd``."""

from ompd.cli import app

app(prog_name="ompd")
