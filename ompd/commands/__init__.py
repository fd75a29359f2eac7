"""All of `ompd ...`, one file per command."""
