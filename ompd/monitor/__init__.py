"""Decision programs of a company, encrypted in a cloud, walked by a person, and paid per use.

    Program (JSON) -> encrypt -> content, Card        company, with the program's key of an epoch
    Card, content, values -> walk                     person, who buys each attribute's prefixes
    Counter                                           authority: sells tokens, evaluates for them

A node compares one attribute with a threshold of 16 bits. It is stored as 17 rows, one for each
prefix at which a value can leave the threshold's path, and one for the threshold itself. A row can
be found and opened with the function VOPRF(program's key, attribute and prefix) alone. A person has
the authority evaluate all 16 prefixes of a value, blinded, for one token: exactly one of them, or
the last, has a row in each node on that attribute.

The authority sees neither values nor the program, the cloud neither as well; the program is
downloaded whole, so that nobody sees which nodes are read. The person sees the nodes on the way.
What a threshold is protected by is its price; see ompd/SECURITY.md.
"""

from __future__ import annotations

from ompd.monitor.attributes import BITS, Attribute
from ompd.monitor.counter import Counter
from ompd.monitor.encrypted import Card, ProgramSecret, encrypt, walk
from ompd.monitor.program import Program
from ompd.monitor.purse import Purse

__all__ = [
    "BITS",
    "Attribute",
    "Card",
    "Counter",
    "Program",
    "ProgramSecret",
    "Purse",
    "encrypt",
    "walk",
]
