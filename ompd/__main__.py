"""``python -m ompd`` is the same as ``ompd``."""

from ompd.commands.app import app

app(prog_name="ompd")
