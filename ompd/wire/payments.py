"""Tokens bought, used and given back, keys of programs, and receipts for all that is paid.

Receipts of an authority form one chain: each holds the SHA-256 of the one before. A redemption
names no account, and no receipt names a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import msgspec

from ompd.errors import ContextMismatchError, FramingError
from ompd.wire.canonical import decode, encode
from ompd.wire.fields import Body, Count, Nonce, TableId

#: Most tokens in one order.
MAX_TOKENS = 1024
#: Longest request for an evaluation: 64 tokens, 1024 elements, a key, and the envelope.
MAX_LETTER_BYTES = 64 << 10
POINT_BYTES = 96
TOKEN_BYTES = 128
#: Comes before the first receipt.
BEGINNING = bytes(32)

_RECEIPT_LABEL = b"ompd/payment-receipt/1\x00"
Epoch = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
What = Literal["deposit", "purchase", "redemption", "refund"]


class PaymentReceipt(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ompd-paid-1"
):
    """An entry of an authority's books, as whoever paid gets it.

    Parameters
    ----------
    number : int
        From 1.
    previous : bytes
        SHA-256 of the receipt before; zeros for the first.
    what : {"deposit", "purchase", "redemption", "refund"}
    account : str
        Whose credit changed; empty for a redemption.
    tokens : int
        How many were paid in, bought, used or given back.
    reference : bytes
        Digest of the order or request.
    signature : bytes
        Of the authority, over all of this.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    previous: Digest
    what: What
    account: Annotated[str, msgspec.Meta(max_length=63)]
    tokens: Count
    reference: Digest
    signature: Annotated[bytes, msgspec.Meta(max_length=POINT_BYTES)] = b""

    @property
    def message(self) -> bytes:
        """What is signed."""
        return _RECEIPT_LABEL + encode(msgspec.structs.replace(self, signature=b""))

    def to_bytes(self) -> bytes:
        """Return the canonical encoding."""
        return encode(self)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> PaymentReceipt:
        """Decode a receipt; the signature is not verified.

        Raises
        ------
        FramingError, NonCanonicalError
            If it is not one canonical receipt.
        """
        if type(encoded) is not bytes:
            raise FramingError(f"receipt: expected bytes, got {type(encoded).__name__}")
        return decode(_RECEIPTS, encoded)


_RECEIPTS = msgspec.msgpack.Decoder(PaymentReceipt)


def check_chain(
    receipts: Iterable[bytes], verify: Callable[[bytes, bytes], None]
) -> tuple[int, bytes]:
    """Return number and digest of the last of all receipts; raise if one is missing or wrong.

    Parameters
    ----------
    receipts : iterable of bytes
        All of an authority, in order.
    verify : callable
        Given message and signature; raises if they do not belong together.

    Raises
    ------
    ContextMismatchError
        If a receipt does not follow the one before.
    FrameError, SignatureError
        If one is not of its form, or not signed.
    """
    number, previous = 0, BEGINNING
    for encoded in receipts:
        receipt = PaymentReceipt.from_bytes(encoded)
        if receipt.number != number + 1 or receipt.previous != previous:
            raise ContextMismatchError("receipt: does not follow the one before")
        verify(receipt.message, receipt.signature)
        number, previous = receipt.number, hashlib.sha256(encoded).digest()
    return number, previous


class Purchase(Body, frozen=True, tag="purchase"):
    """User to authority: an order of tokens, paid from the user's credit.

    Parameters
    ----------
    order : bytes
        16 random bytes; the same order is filled once, however often it comes.
    epoch : int
        For which the tokens are.
    points : bytes
        Blinded tokens, 96 bytes each.
    """

    order: Nonce
    epoch: Epoch
    points: Annotated[
        bytes, msgspec.Meta(min_length=POINT_BYTES, max_length=MAX_TOKENS * POINT_BYTES)
    ]

    @property
    def digest(self) -> bytes:
        """What the receipt refers to."""
        return hashlib.sha256(encode(self)).digest()


class Tokens(Body, frozen=True, tag="tokens"):
    """Authority to user: the signed points of an order, and the receipt."""

    order: Nonce
    points: Annotated[bytes, msgspec.Meta(max_length=MAX_TOKENS * POINT_BYTES)]
    receipt: bytes


class Return(Body, frozen=True, tag="return"):
    """User to authority: tokens that were never used, for credit.

    Parameters
    ----------
    order : bytes
        16 random bytes.
    epoch : int
    tokens : bytes
        128 bytes each.
    """

    order: Nonce
    epoch: Epoch
    tokens: Annotated[
        bytes, msgspec.Meta(min_length=TOKEN_BYTES, max_length=MAX_TOKENS * TOKEN_BYTES)
    ]

    @property
    def digest(self) -> bytes:
        """What the tokens are spent on, and the receipt refers to."""
        return hashlib.sha256(encode(self)).digest()


class Returned(Body, frozen=True, tag="returned"):
    """Authority to user: what became of tokens that were to be given back.

    Parameters
    ----------
    order : bytes
    receipt : bytes
        Empty if nothing was credited, since some are spent.
    spent : bytes
        One byte per token then: 1 if it is spent, else 0.
    """

    order: Nonce
    receipt: bytes
    spent: bytes


class Registration(Body, frozen=True, tag="registration"):
    """Company to authority: a program wants its key for an epoch."""

    program: TableId
    epoch: Epoch


class ProgramKey(Body, frozen=True, tag="programkey"):
    """Authority to company: the key of a program for an epoch.

    Parameters
    ----------
    program : bytes
    epoch : int
    seed : bytes
        **Secret**: what the evaluator's key is derived from, of this program and epoch alone.
    tokens : bytes
        Public key of tokens.
    """

    program: TableId
    epoch: Epoch
    seed: Digest
    tokens: Annotated[bytes, msgspec.Meta(min_length=48, max_length=48)]


class AccountRequest(Body, frozen=True):
    """User or company to authority."""

    matter: Purchase | Return | Registration


class AccountAnswer(Body, frozen=True):
    """Authority to whoever asked."""

    matter: Tokens | Returned | ProgramKey


class Evaluation(Body, frozen=True):
    """Somebody to the authority: blinded prefixes of attributes, and a token for each attribute.

    Parameters
    ----------
    program : bytes
    epoch : int
    purchased : int
        Epoch for which the tokens were bought.
    elements : bytes
        32 bytes each; as many for each token as an attribute has bits.
    tokens : bytes
        128 bytes each.
    reply_key : bytes
        What the answer is encrypted to; fresh.
    """

    program: TableId
    epoch: Epoch
    purchased: Epoch
    elements: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32 * 1024)]
    tokens: Annotated[bytes, msgspec.Meta(min_length=TOKEN_BYTES, max_length=64 * TOKEN_BYTES)]
    reply_key: Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096)]

    @property
    def digest(self) -> bytes:
        """What the tokens are spent on: all but the reply key, which another try has anew."""
        return hashlib.sha256(encode(msgspec.structs.replace(self, reply_key=b""))).digest()


class Evaluated(Body, frozen=True):
    """Authority to whoever asked.

    Parameters
    ----------
    receipt : bytes
        Empty if a token is spent on another request; then nothing was evaluated or spent.
    answer : bytes
        Proof and evaluated elements.
    spent : bytes
        One byte per token where the receipt is empty: 1 if it is spent, else 0.
    """

    receipt: bytes
    answer: bytes
    spent: bytes
