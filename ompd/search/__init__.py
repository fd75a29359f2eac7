"""Exact nearest neighbours over limb vectors: table, search, vote, choice of K."""

from ompd.search.choice import choose_k
from ompd.search.engine import check_k, compute
from ompd.search.table import LimbTable
from ompd.search.vote import vote

__all__ = ["LimbTable", "check_k", "choose_k", "compute", "vote"]
