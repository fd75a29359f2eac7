"""Exact sums and products of encrypted integers: BGV on our own kernels.

Whoever holds the secret key of `keygen` learns results; patients `encrypt` under the public one; an
`Evaluator` adds and multiplies, and `Evaluator.finish` makes results that tell nothing else.
`decrypt` returns the exact integers or raises `Bottom`, and never anything wrong.

>>> secret, public = keygen(depth=1, bound=1000)
>>> ev = Evaluator(public)
>>> product = ev.multiply(encrypt(public, [1, 2], bound=2), encrypt(public, [3, 4], bound=4))
>>> decrypt(secret, ev.finish(product))
array([ 3, 10,  8])

Source: Brakerski, Gentry and Vaikuntanathan, Fully homomorphic encryption without bootstrapping,
2012; in residues as in Gentry, Halevi and Smart, 2012.
"""

from ompd.aggregate.batches import mapped
from ompd.aggregate.ciphertext import Ciphertext
from ompd.aggregate.context import Context
from ompd.aggregate.covering import covered
from ompd.aggregate.encryption import decrypt, encrypt, encrypt_secretly, residues
from ompd.aggregate.evaluator import FLOOD_BITS, Evaluator
from ompd.aggregate.keys import PublicKey, SecretKey, keygen
from ompd.aggregate.warmup import warmup_aggregate

__all__ = [
    "FLOOD_BITS",
    "Ciphertext",
    "Context",
    "Evaluator",
    "PublicKey",
    "SecretKey",
    "covered",
    "decrypt",
    "encrypt",
    "encrypt_secretly",
    "keygen",
    "mapped",
    "residues",
    "warmup_aggregate",
]
