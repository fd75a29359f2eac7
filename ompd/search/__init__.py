"""Exact nearest neighbours over limb vectors: index, search, vote, choice of K, leave-one-out.

`LimbTable` holds instances and their index, `compute` searches, `vote` decides; `classify` does
both at once for blinded queries, `ballots` also counts the votes. Everything here checks its
arguments; the kernels below do not.
"""

from ompd.search.choice import choose_k
from ompd.search.engine import check_k, compute
from ompd.search.index import Index, build_index
from ompd.search.left_out import HELD_OUT, LeftOut, leave_one_out, spread
from ompd.search.relief import nearest_hit_miss
from ompd.search.room import MemoryRoom, Room, spare_rows
from ompd.search.table import LimbTable, limbs_of
from ompd.search.verdicts import ballots, classify
from ompd.search.vote import tally, vote
from ompd.search.words import WordTable

__all__ = [
    "HELD_OUT",
    "Index",
    "LeftOut",
    "LimbTable",
    "MemoryRoom",
    "Room",
    "WordTable",
    "ballots",
    "build_index",
    "check_k",
    "choose_k",
    "classify",
    "compute",
    "leave_one_out",
    "limbs_of",
    "nearest_hit_miss",
    "spare_rows",
    "spread",
    "tally",
    "vote",
]
