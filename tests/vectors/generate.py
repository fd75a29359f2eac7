"""Write the known-answer files beside this script.

python tests/vectors/generate.py

Bodies and signatures are deterministic. Envelopes are not, so running this again gives other
frames with the same meaning; keep the files unless the protocol changes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec

from ompd.crypto import EnvelopeKey, Identity, SigningKey, encrypt
from ompd.roles import Party
from ompd.wire import (
    KIND_OF,
    OUTDATED,
    PROTOCOL_VERSION,
    SPENT,
    UNENROLLED,
    AccountAnswer,
    AccountRequest,
    AggregateRequest,
    AggregateResult,
    BlindKey,
    BlindKeyReceipt,
    BlindQuery,
    BlindReport,
    Collection,
    CollectionReceipt,
    Contribution,
    HardenedChange,
    HardenedJob,
    HardenedUpload,
    Header,
    ImageCandidates,
    ImageFeatures,
    ImageKey,
    ImageMaterial,
    ImagePoints,
    ImagePoses,
    ImageRequest,
    ImageRound,
    ImageSeed,
    ImageSums,
    ImageTicket,
    Invitation,
    KeepingAnswer,
    KeepingRequest,
    Kind,
    MaskedImage,
    MatchCount,
    MatchKey,
    MatchRequest,
    MatchRound,
    MatchTicket,
    PaperChange,
    PaperJob,
    PaperUpload,
    Query,
    Receipt,
    Refusal,
    Report,
    SealedAnswer,
    SealedJob,
    SealedUpload,
    Templates,
    Terms,
    Verdict,
    Withdrawal,
    encode_body,
    encode_catalogue,
    encode_signed_part,
    form_of,
)
from ompd.wire.keeping import (
    GrantRemoval,
    GrantUpload,
    Kept,
    OutsourcingUpload,
    ProgramAnswer,
    ProgramRequest,
    ProgramUpload,
    RecordAnswer,
    RecordList,
    RecordNames,
    RecordRemoval,
    RecordRequest,
    RecordUpload,
)
from ompd.wire.payments import (
    ProgramKey,
    Purchase,
    Registration,
    Return,
    Returned,
    Tokens,
)
from tests.roles.conftest import post_of
from tests.vectors import catalogues

HERE = Path(__file__).parent
NOW = 1_800_000_000.0
TABLE = bytes(range(16))
NONCE = bytes(range(16, 32))

TERMS = Terms(
    TABLE, "physician", "cloud", "weekly steps", "sum", 5, 1000, 7, 2**20, bytes(range(32))
)

BODIES = {
    "paper upload": PaperUpload(
        TABLE, 3, b"\x01\x02", 3, 1, 2, 9, 2, 0, b"\x00\x00\x01\x00", bytes(48)
    ),
    "paper upload, cloud chooses k": PaperUpload(
        TABLE, 1, b"\xfd", 2, 1, 1, 0, 1, 0, b"\x00\x00", bytes(16)
    ),
    "query": Query("heart disease", 2, bytes(range(32)), b"\x01" + bytes(range(32)), "sealed"),
    "query, known schema": Query(
        "heart disease", 1, bytes(8), b"\x01" * 33, "paper", bytes(range(16))
    ),
    "query, long name": Query("é" * 200, 1, bytes(8), b"\x01" * 33),
    "paper job": PaperJob(TABLE, 3, 1, bytes(range(64)), b"\x07" * 64),
    "verdict": Verdict(TABLE, 3, 9, b"\x01\x00", b"\x02\x00\x07\x00"),
    "verdict, batch": Verdict(TABLE, 2**40, 31, bytes(600), bytes(1800)),
    "report": Report(
        9,
        ("benign", "malignant"),
        (("benign", ""), ("malignant", "see a doctor")),
        b"\x01\x00\x00\x00",
        bytes([2, 0, 7, 0, 9, 0, 0, 0]),
        bytes(32),
        b"\x00\x01",
        b"\x00\x00\x05\x00",
        "sealed",
        "evidence",
    ),
    "receipt": Receipt(TABLE, 3, 9, 2),
    "receipt, of a piece": Receipt(TABLE, 3, 0, 2**32),
    "receipt, of a removal": Receipt(TABLE, 3, 9, 2, 2**41),
    "hardened upload": HardenedUpload(
        TABLE, 3, 2, 2, 9, 2, 0, b"\x00\x00\x01\x00", bytes(range(32))
    ),
    "hardened upload, a piece": HardenedUpload(
        TABLE, 3, 2, 2, 9, 2**32, 70_000, b"\x00\x00\x01\x00", bytes(range(32))
    ),
    "hardened job": HardenedJob(TABLE, 3, 1, b"\xff" * 16),
    "sealed upload": SealedUpload(TABLE, 3, 64, 2, 2, 1, 0, bytes(range(256))),
    "sealed upload, whole": SealedUpload(TABLE, 3, 256, 1, 1, 0, 0, bytes(256)),
    "sealed job": SealedJob(TABLE, 3, False, bytes(range(4))),
    "sealed job, new window": SealedJob(TABLE, 3, True, b""),
    "sealed answer": SealedAnswer(TABLE, 3, bytes(range(64))),
    "paper change": PaperChange(
        TABLE,
        4,
        3,
        2,
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00",
        b"\x01\x00",
        b"\x00\x00",
        bytes(24),
    ),
    "hardened change": HardenedChange(TABLE, 4, 3, 2, b"", b"", b"", b"\x01\x00", bytes(range(16))),
    "withdrawal": Withdrawal(TABLE, 5),
    "receipt of a change": Receipt(TABLE, 4, 9, 3, 1_800_000_120_000),
    "collection": Collection(TERMS, bytes(range(48))),
    "invitation": Invitation(TERMS, bytes(range(40))),
    "contribution": Contribution(TABLE, TERMS.digest(), (bytes(range(20)),)),
    "contribution, two parts": Contribution(TABLE, TERMS.digest(), (bytes(300), b"\x01")),
    "collection receipt": CollectionReceipt(TABLE),
    "aggregate request": AggregateRequest(TABLE, "", ()),
    "aggregate request, of one": AggregateRequest(TABLE, "patient", (bytes(range(9)),)),
    "aggregate result": AggregateResult(TABLE, 5, (bytes(range(30)),)),
    "account request": AccountRequest(Purchase(NONCE, 837, bytes(range(192)))),
    "account request, giving back": AccountRequest(Return(NONCE, 0, bytes(range(128)))),
    "account request, a program's key": AccountRequest(Registration(TABLE, 2**31 - 1)),
    "account answer": AccountAnswer(Tokens(NONCE, bytes(range(192)), b"receipt")),
    "account answer, given back": AccountAnswer(Returned(NONCE, b"", b"\x01\x00")),
    "account answer, a program's key": AccountAnswer(
        ProgramKey(TABLE, 837, bytes(range(32)), bytes(range(48)))
    ),
    "keeping request": KeepingRequest(
        RecordUpload("cardio", 837, TABLE, bytes(range(112)), bytes(range(40)), bytes(range(96)))
    ),
    "keeping request, a removal": KeepingRequest(RecordRemoval("cardio", 837, TABLE)),
    "keeping request, a grant": KeepingRequest(
        GrantUpload("cardio", 837, "bell", bytes(range(128)))
    ),
    "keeping request, a revocation": KeepingRequest(GrantRemoval("cardio", 837, "bell")),
    "keeping request, outsourcing": KeepingRequest(
        OutsourcingUpload("cardio", 837, bytes(range(32)))
    ),
    "keeping request, a list": KeepingRequest(RecordList("alice", "cardio", 837)),
    "keeping request, a record": KeepingRequest(RecordRequest("alice", "cardio", 837, TABLE)),
    "keeping request, a program": KeepingRequest(ProgramUpload(TABLE, 837, bytes(range(100)))),
    "keeping request, for a program": KeepingRequest(ProgramRequest(TABLE, 837)),
    "keeping answer": KeepingAnswer(
        RecordAnswer(bytes(range(112)), bytes(40), bytes(96), bytes(48), bytes(range(112)))
    ),
    "keeping answer, done": KeepingAnswer(Kept()),
    "keeping answer, names": KeepingAnswer(RecordNames(TABLE * 2)),
    "keeping answer, a program": KeepingAnswer(ProgramAnswer(TABLE, 837, bytes(range(100)))),
    "blind key": BlindKey(bytes(range(64))),
    "blind key receipt": BlindKeyReceipt(bytes(range(32))),
    "blind query": BlindQuery("flu", TABLE, 2, bytes(range(32)), bytes(range(64)), b"\x01" * 33),
    "blind report": BlindReport(
        TABLE, (("benign", ""), ("malignant", "see a doctor")), bytes(range(64))
    ),
    "image key": ImageKey(
        40,
        44,
        8,
        False,
        "other-cloud",
        "patient",
        "physician",
        bytes(range(16)),
        7_000_000,
        "extract",
    ),
    "image material": ImageMaterial(8 << 20, bytes(range(40))),
    "image ticket": ImageTicket(
        40, 44, 16, "cloud", "other-cloud", "patient", "physician", "hidden"
    ),
    "image request": ImageRequest(40, 44, 16, "hidden", True),
    "image seed": ImageSeed(bytes(range(16))),
    "masked image": MaskedImage(bytes(range(64))),
    "image round": ImageRound(3, bytes(range(40))),
    "image candidates": ImageCandidates(bytes(range(8)), bytes(range(250)) * 4),
    "image points": ImagePoints(bytes(range(8)), bytes(range(8))),
    "image poses": ImagePoses(bytes(range(8)), bytes(range(32))),
    "image sums": ImageSums(False, bytes(range(144))),
    "image features": ImageFeatures(bytes(range(8)), bytes(range(256)) * 4),
    "image sums, descriptors": ImageSums(True, bytes(range(128)) * 4),
    "match key": MatchKey(
        150, 130, 8, False, "other-cloud", "patient", "physician", bytes(range(16)), 7_000_000
    ),
    "match ticket": MatchTicket(150, 0, 16, "cloud", "other-cloud", "patient", "physician"),
    "templates": Templates(bytes(range(128)) * 4),
    "match request": MatchRequest(TABLE, bytes(range(16))),
    "match round": MatchRound(14, TABLE, bytes(range(16)), bytes(range(40))),
    "match count": MatchCount(2**32 - 1),
    "refusal": Refusal(),
    "refusal, key not enrolled": Refusal(UNENROLLED),
    "refusal, all answers had": Refusal(SPENT),
    "refusal, other schema": Refusal(OUTDATED),
}


def secret(name: str) -> bytes:
    """32 bytes that depend on a name only. For test keys, never for real ones."""
    return hashlib.sha256(b"ompd test vector " + name.encode()).digest()


def identity(name: str) -> Identity:
    """A test party with fixed keys."""
    signing = (int.from_bytes(secret(name + " sign"), "big") >> 2).to_bytes(32, "big")
    return Identity(
        name, SigningKey.from_bytes(signing), EnvelopeKey(b"\x01" + secret(name + " open"))
    )


def parties() -> dict[str, Party]:
    """All roles, and Mallory, whom nobody knows."""
    people = {name: Party(identity(name), clock=lambda: NOW) for name in NAMES}
    for party in people.values():
        for other in people.values():
            if other is not party and other.id != "mallory":
                party.meet(other.public, ROLES.get(other.id, other.id))
    return people


NAMES = (
    "alice", "hospital", "cloud", "mallory", "patient", "physician", "authority", "other-cloud",
)  # fmt: skip
#: Others have the name of their role.
ROLES = {"alice": "user", "other-cloud": "cloud"}
ROUTES = {
    Kind.PAPER_UPLOAD: ("hospital", "cloud"),
    Kind.QUERY: ("alice", "hospital"),
    Kind.PAPER_JOB: ("hospital", "cloud"),
    Kind.VERDICT: ("cloud", "hospital"),
    Kind.REPORT: ("hospital", "alice"),
    Kind.REFUSAL: ("hospital", "alice"),
    Kind.RECEIPT: ("cloud", "hospital"),
    Kind.HARDENED_UPLOAD: ("hospital", "cloud"),
    Kind.HARDENED_JOB: ("hospital", "cloud"),
    Kind.SEALED_UPLOAD: ("hospital", "cloud"),
    Kind.SEALED_JOB: ("hospital", "cloud"),
    Kind.SEALED_ANSWER: ("cloud", "hospital"),
    Kind.PAPER_CHANGE: ("hospital", "cloud"),
    Kind.HARDENED_CHANGE: ("hospital", "cloud"),
    Kind.WITHDRAWAL: ("hospital", "cloud"),
    Kind.BLIND_KEY: ("alice", "hospital"),
    Kind.BLIND_KEY_RECEIPT: ("hospital", "alice"),
    Kind.BLIND_QUERY: ("alice", "hospital"),
    Kind.BLIND_REPORT: ("hospital", "alice"),
    Kind.COLLECTION: ("physician", "cloud"),
    Kind.INVITATION: ("physician", "patient"),
    Kind.CONTRIBUTION: ("patient", "cloud"),
    Kind.COLLECTION_RECEIPT: ("cloud", "physician"),
    Kind.AGGREGATE_REQUEST: ("physician", "cloud"),
    Kind.AGGREGATE_RESULT: ("cloud", "physician"),
    Kind.ACCOUNT_REQUEST: ("alice", "authority"),
    Kind.ACCOUNT_ANSWER: ("authority", "alice"),
    Kind.KEEPING_REQUEST: ("alice", "cloud"),
    Kind.KEEPING_ANSWER: ("cloud", "alice"),
    Kind.IMAGE_KEY: ("authority", "cloud"),
    Kind.IMAGE_MATERIAL: ("authority", "cloud"),
    Kind.IMAGE_TICKET: ("authority", "patient"),
    Kind.IMAGE_REQUEST: ("patient", "cloud"),
    Kind.IMAGE_SEED: ("cloud", "patient"),
    Kind.MASKED_IMAGE: ("patient", "cloud"),
    Kind.IMAGE_ROUND: ("cloud", "other-cloud"),
    Kind.IMAGE_CANDIDATES: ("cloud", "physician"),
    Kind.IMAGE_POINTS: ("physician", "cloud"),
    Kind.IMAGE_POSES: ("physician", "cloud"),
    Kind.IMAGE_SUMS: ("cloud", "physician"),
    Kind.IMAGE_FEATURES: ("cloud", "physician"),
    Kind.MATCH_KEY: ("authority", "cloud"),
    Kind.MATCH_TICKET: ("authority", "physician"),
    Kind.TEMPLATES: ("physician", "cloud"),
    Kind.MATCH_REQUEST: ("physician", "cloud"),
    Kind.MATCH_ROUND: ("cloud", "other-cloud"),
    Kind.MATCH_COUNT: ("cloud", "physician"),
}


#: Kinds that may be as old as a day.
LASTING = {
    Kind.PAPER_UPLOAD, Kind.HARDENED_UPLOAD, Kind.SEALED_UPLOAD, Kind.RECEIPT, Kind.PAPER_CHANGE,
    Kind.HARDENED_CHANGE, Kind.WITHDRAWAL, Kind.INVITATION,
}  # fmt: skip


def header(kind: Kind, **changes: object) -> Header:
    """The header that all vectors start from."""
    sender, recipient = ROUTES[kind]
    return msgspec.structs.replace(
        Header(PROTOCOL_VERSION, kind, sender, recipient, NONCE, int(NOW * 1000), 5), **changes
    )


def frame(people, head, plaintext, *, signer=None, info=None, encrypt_to=None) -> bytes:
    """Encrypt, encode and sign."""
    recipient = people[encrypt_to or ROUTES[head.kind][1]]
    ciphertext = encrypt(
        recipient.public.envelope_key, plaintext, head.envelope_info() if info is None else info
    )
    signed, message = encode_signed_part(head, ciphertext)
    key = post_of(people[signer or head.sender]).identity.signing_key
    return signed + key.sign(message)


def failures(people):
    """Frames that a receiver must refuse, with the error that each must get."""
    for name, body in BODIES.items():
        kind = KIND_OF[type(body)]
        if "," in name:
            continue
        head = header(kind)
        plaintext = encode_body(body)
        good = frame(people, head, plaintext)

        def make(error, why, data, kind=kind, name=name):
            return {
                "name": f"{name}: {why}",
                "kind": kind.name,
                "error": error,
                "frame": data.hex(),
            }

        yield make("FramingError", "empty", b"")
        yield make("FramingError", "signature alone", good[-96:])
        yield make("FramingError", "cut in the header", good[:20] + good[-96:])
        yield make("FramingError", "last byte missing", good[:-1])
        yield make(
            "FramingError", "byte in front of the signature", good[:-96] + b"\0" + good[-96:]
        )
        other = Kind.PAPER_JOB if kind == Kind.QUERY else Kind.QUERY
        wrong = msgspec.structs.replace(head, kind=other)
        yield make("FramingError", "another kind", frame(people, wrong, plaintext))
        newer = msgspec.structs.replace(head, version=2)
        yield make("VersionError", "newer protocol", frame(people, newer, plaintext))
        signed = good[:-96]
        place = signed.index(NONCE) - 2
        assert signed[place] == 0xC4
        longer = signed[:place] + b"\xc5\x00\x10" + signed[place + 2 :]
        key = post_of(people[head.sender]).identity.signing_key
        yield make(
            "NonCanonicalError", "length in two bytes",
            longer + key.sign(b"ompd frame v1\x00" + longer),
        )  # fmt: skip
        oldest = 86_400_000 if kind in LASTING else 120_000
        for why, error, changes in (
            ("another recipient", "WrongRecipientError", {"recipient": "mallory"}),
            ("own message", "ReflectionError", {"sender": head.recipient}),
            ("stranger", "UnknownKeyError", {"sender": "mallory"}),
            ("too old", "ExpiredError", {"timestamp": int(NOW * 1000) - oldest - 1}),
            ("from the future", "ExpiredError", {"timestamp": int(NOW * 1000) + 120_001}),
        ):
            changed = msgspec.structs.replace(head, **changes)
            yield make(error, why, frame(people, changed, plaintext))
        yield make(
            "SignatureError", "signed by another", frame(people, head, plaintext, signer="mallory")
        )
        flipped = bytearray(good)
        flipped[len(good) - 100] ^= 1
        yield make("SignatureError", "ciphertext changed", bytes(flipped))
        infinity = good[:-96] + b"\xc0" + bytes(95)
        yield make("SignatureError", "signature at infinity", infinity)
        yield make(
            "DecryptionError",
            "sealed to another key",
            frame(people, head, plaintext, encrypt_to="mallory"),
        )
        yield make(
            "DecryptionError",
            "sealed for another header",
            frame(people, head, plaintext, info=b""),
        )
        yield make("FramingError", "no end mark", frame(people, head, plaintext.rstrip(b"\0")[:-1]))
        yield make(
            "FramingError", "filling that is not zero", frame(people, head, plaintext + b"\1")
        )
        yield make(
            "FramingError",
            "body cut",
            frame(people, head, plaintext[: len(plaintext) // 2] + b"\x80"),
        )
        yield make("FramingError", "field too many", frame(people, head, widened(plaintext)))


def widened(plaintext: bytes) -> bytes:
    """The same body with one more field."""
    fields = msgspec.msgpack.decode(plaintext[:-1])
    return msgspec.msgpack.encode([*fields, 0]) + b"\x80"


def main() -> None:
    """Write all files."""
    people = parties()
    bodies = [
        {
            "name": name,
            "type": type(body).__name__,
            "fields": json.loads(msgspec.json.encode(msgspec.to_builtins(body))),
            "bytes": encode_body(body).hex(),
        }
        for name, body in BODIES.items()
    ]
    good = [
        {
            "name": name,
            "kind": KIND_OF[type(body)].name,
            "bytes": encode_body(body).hex(),
            "frame": frame(people, header(KIND_OF[type(body)]), encode_body(body)).hex(),
        }
        for name, body in BODIES.items()
    ]
    keys = {
        name: {
            "sign": post_of(party).identity.signing_key.to_bytes().hex(),
            "open": post_of(party).identity.envelope_key.to_bytes().hex(),
            "public": party.public.to_bytes().hex(),
        }
        for name, party in people.items()
    }
    about = "Made by generate.py beside this file. The keys are for tests only."

    def key_of(name):
        return post_of(people[name]).identity.signing_key

    now = int(NOW * 1000)
    signed, message = encode_catalogue("hospital", now, now + catalogues.DAY, catalogues.ENTRIES)
    listed = [
        {
            "name": "good",
            "form": form_of(catalogues.SCHEMA).hex(),
            "fields": json.loads(msgspec.json.encode(msgspec.to_builtins(catalogues.ENTRIES))),
            "catalogue": (signed + key_of("hospital").sign(message)).hex(),
        },
        *(
            {"name": name, "error": error, "catalogue": data.hex()}
            for name, error, data in catalogues.failures(people, key_of, now)
        ),
    ]
    for name, content in (
        ("identities", {"about": about, "now": NOW, "parties": keys}),
        ("bodies", {"about": about, "vectors": bodies}),
        ("frames", {"about": about, "vectors": good}),
        ("catalogues", {"about": about, "vectors": listed}),
        ("failures", {"about": about, "vectors": list(failures(people))}),
    ):
        (HERE / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
