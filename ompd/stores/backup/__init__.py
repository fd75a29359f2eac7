"""Backups of what a party keeps on disk: one file, signed, checked as a whole before it is used."""

from ompd.stores.backup.manifest import Manifest
from ompd.stores.backup.reading import Backup
from ompd.stores.backup.writing import back_up

__all__ = ["Backup", "Manifest", "back_up"]
