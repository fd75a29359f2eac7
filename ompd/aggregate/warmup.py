"""Compilation of all kernels of aggregates."""

from __future__ import annotations

from ompd.aggregate.ciphertext import Ciphertext
from ompd.aggregate.encryption import decrypt, encrypt, encrypt_secretly
from ompd.aggregate.evaluator import Evaluator
from ompd.aggregate.keys import SecretKey
from ompd.params import AggregateSet

#: Far too small to be secure, and quickly computed with.
TINY = AggregateSet(
    "tiny",
    64,
    257,
    "slots",
    (68719474049, 70368743700737, 70368743602049, 70368743075713),
    17592186037249,
    1,
    "Warm-up and tests",
)


def warmup_aggregate() -> None:
    """Compile every kernel of this package, or load it."""
    secret = SecretKey.generated(TINY)
    public = secret.public
    evaluator = Evaluator(public)
    a = encrypt(public, [1, 2], bound=2)
    b = encrypt_secretly(secret, [1, 2], bound=2)
    product = evaluator.subtract(evaluator.multiply(a, b), evaluator.add(a, b))
    product = evaluator.add_plain(evaluator.multiply_plain(product, [1], bound=1), [1], bound=1)
    sent = evaluator.finish(product).to_bytes()
    decrypt(secret, Ciphertext.from_bytes(sent, public.context))
