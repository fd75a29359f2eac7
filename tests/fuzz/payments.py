"""What is decoded of records, grants, programs and tokens, and who decodes it."""

from __future__ import annotations

import atexit
import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import msgspec

from ompd.crypto import EnvelopeKey, Identity, SigningKey, encrypt
from ompd.monitor import Attribute, Card, Program
from ompd.monitor.letters import REQUEST_LABEL
from ompd.roles import Authority, Cloud, Subscriber
from ompd.roles.sharing import Notice
from ompd.share import Grant, Scope, SharingKey, Token, blind, check_capsule, epoch_at, seal
from ompd.stores import Keeper
from ompd.wire import (
    KIND_OF,
    AccountAnswer,
    AccountRequest,
    Body,
    Header,
    KeepingAnswer,
    KeepingRequest,
    decode_body,
    encode_body,
    encode_signed_part,
)
from ompd.wire.canonical import decode, encode
from ompd.wire.keeping import RecordAnswer, RecordUpload, record_statement
from ompd.wire.payments import Evaluated, Evaluation, PaymentReceipt, Purchase, Tokens

NOW = 1_800_000_000.0
EPOCH = epoch_at(NOW)
RECORD = bytes(range(16))
SCOPE = Scope("alice", "diary", EPOCH)
_NOTICES = msgspec.msgpack.Decoder(Notice)
BODIES = (AccountRequest, AccountAnswer, KeepingRequest, KeepingAnswer, Evaluation, Evaluated)


def identity(name: str, secret: int) -> Identity:
    return Identity(name, SigningKey(secret), EnvelopeKey(b"\1" + secret.to_bytes(32, "big")))


ALICE, BELL, CLOUD, TA = (
    identity(name, 201 + k) for k, name in enumerate(("alice", "bell", "cloud", "ta"))
)
KEY = SharingKey(bytes(range(32)))
SEALED = seal(KEY.scope(SCOPE).public, SCOPE, RECORD, b"rate 71")


class Parties:
    """A person, a cloud and an authority on files that end with the process."""

    def __init__(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="ompd-fuzz-")
        atexit.register(folder.cleanup)
        place = Path(folder.name)

        def clock() -> float:
            return NOW

        self.cloud = Cloud(CLOUD, keeper=Keeper(place / "keeper"), clock=clock)
        self.authority = Authority(TA, till=place / "till", clock=clock)
        self.bell = Subscriber(BELL, wallet=place / "wallet", sharing=KEY, clock=clock)
        for party in (self.cloud, self.authority, self.bell):
            for other, role in (
                (ALICE, "user"),
                (BELL, "user"),
                (CLOUD, "cloud"),
                (TA, "authority"),
            ):
                if other.id != party.id:
                    party.meet(other.public, role)
        self.authority.till.deposit("alice", b"p" * 16, 1 << 30)
        self._sent = 0

    def frame(self, recipient: Identity, body: type[Body], plaintext: bytes) -> bytes:
        """Return any plaintext, rightly encrypted and signed by Alice."""
        self._sent += 1
        kind = KIND_OF[body]
        nonce = self._sent.to_bytes(16, "big")
        # Each later than the one before, so that none is refused for that.
        sent = int(NOW * 1000) + self._sent // 100
        header = Header(1, kind, "alice", recipient.id, nonce, sent, 0)
        letter = encrypt(recipient.public.envelope_key, plaintext, header.envelope_info())
        signed, message = encode_signed_part(header, letter)
        return signed + ALICE.signing_key.sign(message)


@lru_cache(maxsize=1)
def parties() -> Parties:
    return Parties()


# --- decoders


def body_of(body: type[Body]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        decoded = decode_body(body, data)
        assert encode_body(decoded, len(data)) == data
        assert repr(decoded) == f"<{body.__name__}>"

    return target


def receipt(data: bytes) -> None:
    assert PaymentReceipt.from_bytes(data).to_bytes() == data


def card(data: bytes) -> None:
    decoded = Card.from_bytes(data)
    assert decoded.to_bytes() == data
    for attribute in decoded.attributes:
        assert attribute.index(attribute.high) == attribute.last


def program(data: bytes) -> None:
    decoded = Program.from_json(data)
    decoded.advise({attribute.name: attribute.low for attribute in decoded.attributes})


def grant(data: bytes) -> None:
    assert Grant.from_bytes(data, SCOPE).to_bytes() == data


def capsule(data: bytes) -> None:
    check_capsule(data, SCOPE, RECORD)


def token(data: bytes) -> None:
    assert Token.from_bytes(data).to_bytes() == data


# --- parties


def lying_owner(data: bytes) -> None:
    """To the cloud."""
    world = parties()
    assert world.cloud.keeping is not None
    world.cloud.keeping.answer(world.frame(CLOUD, KeepingRequest, data))


def lying_payer(data: bytes) -> None:
    """To the authority, under a name."""
    world = parties()
    world.authority.serve(world.frame(TA, AccountRequest, data))


def lying_nobody(data: bytes) -> None:
    """To the authority, under none."""
    parties().authority.evaluate(encrypt(TA.public.envelope_key, data, REQUEST_LABEL))


def lying_notice(data: bytes) -> None:
    """To the recipient of a grant, signed by its owner whatever it says."""
    decoded = decode(_NOTICES, data)
    signed = msgspec.structs.replace(decoded, signature=ALICE.signing_key.sign(decoded.message))
    parties().bell.records.accept(encode(signed))


def _notice() -> Notice:
    made = Grant.make(KEY.scope(SCOPE), KEY.public)
    return Notice("alice", "bell", "diary", EPOCH, KEY.scope(SCOPE).public, made.point)


_PROGRAM = {
    "name": "p",
    "attributes": [{"name": "rate", "low": 20, "high": 300, "step": 0.5, "unit": "1/min"}],
    "root": "r",
    "nodes": {
        "r": {"attribute": "rate", "at_most": 100.5, "then": "a", "else": "b"},
        "a": {"advice": "calm"},
        "b": {"advice": "rest"},
    },
}
_CARD = Card(
    "acme", "ta", "cloud", RECORD, EPOCH, "p", (Attribute("rate", 20.0, 300.0),), bytes(32),
    bytes(48), bytes(16), 3, bytes(32), bytes(96),
)  # fmt: skip
_UPLOAD = RecordUpload(
    "diary", EPOCH, RECORD, SEALED.capsule, SEALED.ciphertext,
    ALICE.signing_key.sign(
        record_statement("alice", "diary", EPOCH, RECORD, SEALED.capsule, SEALED.ciphertext)
    ),
)  # fmt: skip
_PURCHASE = AccountRequest(Purchase(RECORD, EPOCH, blind(b"purpose").point))
_EVALUATION = Evaluation(RECORD, EPOCH, EPOCH, bytes(32 * 16), bytes(128), bytes(33))

TARGETS: list[tuple[str, Callable[[bytes], None]]] = [
    *((f"body-{body.__name__.lower()}", body_of(body)) for body in BODIES),
    ("payment-receipt", receipt),
    ("card", card),
    ("program", program),
    ("grant", grant),
    ("capsule", capsule),
    ("token", token),
    ("lying-owner", lying_owner),
    ("lying-payer", lying_payer),
    ("lying-nobody", lying_nobody),
    ("lying-notice", lying_notice),
]
SEEDS = {
    "body-accountrequest": encode_body(_PURCHASE),
    "body-accountanswer": encode_body(AccountAnswer(Tokens(RECORD, bytes(96), b"receipt"))),
    "body-keepingrequest": encode_body(KeepingRequest(_UPLOAD)),
    "body-keepinganswer": encode_body(
        KeepingAnswer(RecordAnswer(bytes(112), bytes(23), bytes(96), bytes(48), bytes(112)))
    ),
    "body-evaluation": encode_body(_EVALUATION),
    "body-evaluated": encode_body(Evaluated(b"receipt", bytes(64 + 512), b"")),
    "payment-receipt": PaymentReceipt(
        1, bytes(32), "purchase", "alice", 3, hashlib.sha256(b"").digest(), bytes(96)
    ).to_bytes(),
    "card": _CARD.to_bytes(),
    "program": json.dumps(_PROGRAM).encode(),
    "grant": Grant.make(KEY.scope(SCOPE), KEY.public).to_bytes(),
    "capsule": SEALED.capsule,
    "token": bytes(128),
    "lying-owner": encode_body(KeepingRequest(_UPLOAD)),
    "lying-payer": encode_body(_PURCHASE),
    "lying-nobody": encode_body(_EVALUATION),
    "lying-notice": encode(_notice()),
}
