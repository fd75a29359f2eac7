"""A program as a cloud keeps it, the card that a person needs for it, and the walk."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import msgspec

from ompd.confidential import Confidential
from ompd.crypto.oprf import Evaluator
from ompd.crypto.symmetric import TAG_BYTES, open_once, seal_once
from ompd.errors import ContextMismatchError, DecryptionError, FramingError, ProgramError
from ompd.monitor.attributes import BITS, Attribute, prefix, prefixes
from ompd.monitor.program import MAX_ADVICE_BYTES, Comparison, Program, check_advice
from ompd.wire import SIGNATURE_BYTES
from ompd.wire.canonical import decode, encode
from ompd.wire.fields import PartyId, TableId
from ompd.wire.payments import Digest, Epoch

_KEY_BYTES = 16
_MARK_BYTES = 16
_ROW_BYTES = _MARK_BYTES + 2 + _KEY_BYTES
_ROWS = BITS + 1
_LEAF, _NODE = 0, 1
#: A node in the clear, of either kind: kind, attribute or length, rows or advice.
_PLAIN_BYTES = 3 + _ROWS * _ROW_BYTES
assert _PLAIN_BYTES >= 3 + MAX_ADVICE_BYTES  # noqa: S101  (a leaf is as long as a node)
NODE_BYTES = _PLAIN_BYTES + TAG_BYTES
#: The number of nodes is padded to a multiple of this.
_STEP = 16
_INPUT_LABEL = b"ompd/monitor/prefix/1\x00"
_KEY_LABEL = b"ompd/monitor/program/1"
_CARD_LABEL = b"ompd/monitor/card/1\x00"
_ROW_PERSON = b"ompd-monitor-row"


class ProgramSecret(Confidential):
    """The function's key of one program and epoch.

    Parameters
    ----------
    seed : bytes
        32 bytes from the authority.
    program : bytes
        Id, 16 bytes.
    epoch : int

    Attributes
    ----------
    evaluator : Evaluator
    """

    __slots__ = ("epoch", "evaluator", "program")

    def __init__(self, seed: bytes, program: bytes, epoch: int) -> None:
        self.program = program
        self.epoch = epoch
        self.evaluator = Evaluator(seed, _KEY_LABEL)


class Card(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="card-1"):
    """What a person needs to use a program, signed by its company. Not for the cloud.

    Attributes
    ----------
    company, authority, cloud : str
        Ids.
    program : bytes
        Id, 16 random bytes.
    epoch : int
    name : str
    attributes : tuple of Attribute
        All that the program may ask for.
    function, tokens : bytes
        Public keys of the program's function and of the authority's tokens.
    root : bytes
        Key of the first node.
    first : int
        Its place.
    digest : bytes
        SHA-256 of the encrypted program.
    signature : bytes
    """

    company: PartyId
    authority: PartyId
    cloud: PartyId
    program: TableId
    epoch: Epoch
    name: str
    attributes: tuple[Attribute, ...]
    function: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    tokens: Annotated[bytes, msgspec.Meta(min_length=48, max_length=48)]
    root: Annotated[bytes, msgspec.Meta(min_length=_KEY_BYTES, max_length=_KEY_BYTES)]
    first: Annotated[int, msgspec.Meta(ge=0, le=65_535)]
    digest: Digest
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)] = b""

    def __repr__(self) -> str:
        return "<Card>"

    @property
    def message(self) -> bytes:
        """What the company signs."""
        return _CARD_LABEL + encode(msgspec.structs.replace(self, signature=b""))

    def to_bytes(self) -> bytes:
        """Return the canonical encoding."""
        return encode(self)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Decode a card; the signature is not verified.

        Raises
        ------
        FramingError, NonCanonicalError
            If it is not one canonical card.
        ProgramError
            If an attribute makes no sense.
        """
        if type(encoded) is not bytes:
            raise FramingError(f"card: expected bytes, got {type(encoded).__name__}")
        card = decode(msgspec.msgpack.Decoder(cls), encoded)
        for attribute in card.attributes:
            attribute.check()
        return card


def function_input(program: bytes, epoch: int, attribute: int, bits: bytes) -> bytes:
    """Return what the function is evaluated on for one prefix of one attribute."""
    place = attribute.to_bytes(2, "big")
    return _INPUT_LABEL + program + epoch.to_bytes(4, "big") + place + bits


def inputs(card: Card, attribute: int, index: int) -> list[bytes]:
    """Return what the function is evaluated on for all prefixes of a value."""
    return [function_input(card.program, card.epoch, attribute, bits) for bits in prefixes(index)]


def encrypt(
    program: Program, secret: ProgramSecret, *, company: str, authority: str, cloud: str,
    tokens: bytes,
) -> tuple[bytes, Card]:  # fmt: skip
    """Encrypt a program for one epoch.

    Parameters
    ----------
    program : Program
    secret : ProgramSecret
    company, authority, cloud : str
        Ids, for the card.
    tokens : bytes
        The authority's public key of tokens.

    Returns
    -------
    content : bytes
        For the cloud: nodes in random order, all of 597 bytes, padded to a multiple of 16.
    card : Card
        Not signed yet.
    """
    count = -(-len(program.nodes) // _STEP) * _STEP
    order = list(range(count))
    secrets.SystemRandom().shuffle(order)
    keys = [secrets.token_bytes(_KEY_BYTES) for _ in program.nodes]
    stored = [secrets.token_bytes(NODE_BYTES) for _ in range(count)]
    evaluated: dict[bytes, bytes] = {}

    def function(attribute: int, bits: bytes) -> bytes:
        message = function_input(secret.program, secret.epoch, attribute, bits)
        if message not in evaluated:
            evaluated[message] = secret.evaluator.output(message)
        return evaluated[message]

    for number, node in enumerate(program.nodes):
        place = order[number]
        if isinstance(node, str):
            text = node.encode()
            plain = bytes([_LEAF]) + len(text).to_bytes(2, "big") + text
        else:
            rows = []
            for bits, is_above in _leaving(node):
                target = node.otherwise if is_above else node.then
                content = order[target].to_bytes(2, "big") + keys[target]
                rows.append(_row(function(node.attribute, bits), place, content))
            secrets.SystemRandom().shuffle(rows)
            plain = bytes([_NODE]) + node.attribute.to_bytes(2, "big") + b"".join(rows)
        bound = _bound(secret.program, secret.epoch, place)
        stored[place] = seal_once(keys[number], plain.ljust(_PLAIN_BYTES, b"\0"), bound)
    content = b"".join(stored)
    return content, Card(
        company, authority, cloud, secret.program, secret.epoch, program.name, program.attributes,
        secret.evaluator.public, tokens, keys[0], order[0], hashlib.sha256(content).digest(),
    )  # fmt: skip


def walk(
    card: Card, content: bytes, outputs: Mapping[int, Sequence[bytes]]
) -> tuple[str | None, int]:
    """Walk as far as is known.

    Parameters
    ----------
    card : Card
    content : bytes
        The encrypted program, whose digest the card has.
    outputs : mapping of int to sequence of bytes
        For attributes by place: the function of all 16 prefixes of the person's value.

    Returns
    -------
    advice : str or None
        None if an attribute is missing on the way.
    attribute : int
        The place of that one; -1 with an advice.

    Raises
    ------
    ContextMismatchError
        If the content is another than the card's.
    ProgramError
        If the company's program is damaged: a node does not open, has no row or is met twice.
    """
    if hashlib.sha256(content).digest() != card.digest or len(content) % NODE_BYTES:
        raise ContextMismatchError("program: is another one than the card's")
    place, key = card.first, card.root
    for _ in range(len(content) // NODE_BYTES):
        plain = _opened(card, content, place, key)
        number = int.from_bytes(plain[1:3], "big")
        if plain[0] == _LEAF:
            return _text(plain[3 : 3 + number]), -1
        if number >= len(card.attributes):
            raise ProgramError("program: asks for an attribute that its card does not have")
        if number not in outputs:
            return None, number
        place, key = _next(plain[3:], place, outputs[number])
    raise ProgramError("program: a walk does not end")


def _leaving(node: Comparison) -> list[tuple[bytes, bool]]:
    """Return the prefixes at which values leave a threshold's path, and whether upwards."""
    found = []
    for length in range(1, BITS + 1):
        last = 1 << (BITS - length)
        found.append((prefix(node.threshold ^ last, length), not node.threshold & last))
    return [*found, (prefix(node.threshold, BITS), False)]


def _row(output: bytes, place: int, content: bytes) -> bytes:
    mark, pad = _mark_and_pad(output, place)
    return mark + bytes(a ^ b for a, b in zip(content, pad, strict=True))


def _mark_and_pad(output: bytes, place: int) -> tuple[bytes, bytes]:
    drawn = hashlib.blake2b(
        place.to_bytes(2, "big"), key=output, digest_size=_ROW_BYTES, person=_ROW_PERSON
    ).digest()
    return drawn[:_MARK_BYTES], drawn[_MARK_BYTES:]


def _next(rows: bytes, place: int, outputs: Sequence[bytes]) -> tuple[int, bytes]:
    found = {
        rows[start : start + _MARK_BYTES]: rows[start + _MARK_BYTES : start + _ROW_BYTES]
        for start in range(0, _ROWS * _ROW_BYTES, _ROW_BYTES)
    }
    for output in outputs:
        mark, pad = _mark_and_pad(output, place)
        if mark in found:
            plain = bytes(a ^ b for a, b in zip(found[mark], pad, strict=True))
            return int.from_bytes(plain[:2], "big"), plain[2:]
    raise ProgramError("program: a node has no row for a value")


def _opened(card: Card, content: bytes, place: int, key: bytes) -> bytes:
    sealed = content[place * NODE_BYTES : (place + 1) * NODE_BYTES]
    try:
        return open_once(key, sealed, _bound(card.program, card.epoch, place))
    except DecryptionError:
        pass
    raise ProgramError("program: a node does not open")


def _text(encoded: bytes) -> str:
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        text = "\0"
    # A company's own program need not have passed the checks of a company.
    check_advice(text)
    return text


def _bound(program: bytes, epoch: int, place: int) -> bytes:
    return program + epoch.to_bytes(4, "big") + place.to_bytes(2, "big")
