"""Everything that decodes a stranger's bytes, as functions from bytes to nothing.

An input is one byte that picks the target, then the target's bytes. A target may raise nothing
but `OmpdError`, and what it accepts must encode to the same bytes again. The parties have fixed
keys and a frozen clock, so that a frame kept in the corpus is authentic in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import msgspec
import numpy as np

import ompd
from ompd.crypto import (
    EnvelopeKey,
    Identity,
    Prekeys,
    PublicIdentity,
    SigningKey,
    backend,
    check_envelope_key,
    encrypt,
    suite_of,
)
from ompd.errors import OmpdError
from ompd.schema import Schema
from ompd.wire import (
    KIND_OF,
    Body,
    CatalogueFrame,
    Frame,
    HardenedChange,
    HardenedJob,
    HardenedUpload,
    Header,
    Kind,
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
    Verdict,
    Withdrawal,
    decode_body,
    encode_body,
    encode_catalogue,
    encode_signed_part,
    pack_limbs,
    unpack_limbs,
)
from ompd.wire.frames import SIGNING_LABEL
from tests.fuzz import payments, tables
from tests.roles.conftest import shelf_of
from tests.vectors.catalogues import ENTRIES
from tests.vectors.catalogues import crafted as crafted_catalogue
from tests.vectors.catalogues import plain as plain_entry

NOW = 1_800_000_000.0
#: Uses after which the parties are made anew, since tables and replays they remember add up.
LIFETIME = 200
MODULI = (3, 1000, 2**64 - 59, 2**127 + 45, 2**512 - 569)
SCHEMA = Schema(
    tuple(ompd.Feature(f"f{j}", "ordinal", 0, 12) for j in range(3)), ("no", "yes", "perhaps")
)
SCHEME = backend()
#: Bodies that came after the first corpus.
LATER = (Receipt, HardenedUpload, HardenedJob, SealedUpload, SealedJob, SealedAnswer)
CHANGES = (PaperChange, HardenedChange, Withdrawal)
PAPER = PaperUpload(
    b"s" * 16, 1, (1000003).to_bytes(3, "little"), 2, 1, 2, 1, 6, 0,
    bytes([0, 0, 1, 0] * 3), b"".join(n.to_bytes(8, "little") for n in range(12)),
)  # fmt: skip
HARDENED = HardenedUpload(b"r" * 16, 1, 2, 2, 1, 2, 0, bytes([0, 0, 1, 0]), bytes(range(32)))
SEALED = SealedUpload(b"b" * 16, 1, 64, 2, 2, 1, 0, bytes(256))


def identity(name: str, secret: int) -> Identity:
    return Identity(name, SigningKey(secret), EnvelopeKey(b"\1" + secret.to_bytes(32, "big")))


ALICE, MARY, CLOUD = identity("alice", 101), identity("st-mary", 102), identity("cloud", 103)


def introduced(party: ompd.roles.Party) -> None:
    """Meet the others, without short-lived keys, which differ from run to run."""
    for other, role in ((ALICE, "user"), (MARY, "hospital"), (CLOUD, "cloud")):
        if other.id != party.id:
            party.meet(other.public, role)


class World:
    """Three parties, one published table and one open question at each station."""

    def __init__(self) -> None:
        def clock() -> float:
            return NOW

        self.hospital = ompd.Hospital(MARY, profile="paper", clock=clock)
        self.cloud = ompd.Cloud(CLOUD, clock=clock)
        self.user = ompd.User(ALICE, clock=clock, fallback=True)
        for party in (self.hospital, self.cloud, self.user):
            introduced(party)
        rng = np.random.default_rng(0)
        labels = np.arange(40) % 3
        values = np.clip(np.rint(rng.normal(labels[:, None] * 3 + 3, 1.5, (40, 3))), 0, 12)
        self.data = data = SimpleNamespace(schema=SCHEMA, features=values, labels=labels)
        upload = self.hospital.publish("flu", data, cloud="cloud", k=3, advice={"yes": "rest"})
        (self.upload,) = upload
        self.hospital.deliver(upload, self.cloud.store)
        body = opened(self.upload, Kind.PAPER_UPLOAD, CLOUD, PaperUpload)
        self.table = body
        self.upload_private()
        self.sequence = 0
        self.ask()

    def upload_private(self) -> None:
        """Store a small table of each private profile, which lying jobs can name."""
        key = CLOUD.public.envelope_key
        for number, body in enumerate((HARDENED, SEALED)):
            kind = KIND_OF[type(body)]
            plain = encode_body(body)
            nonce = bytes([number]) * 16
            self.cloud.store(crafted(MARY, "cloud", kind, plain, key, nonce, 0))

    def ask(self) -> None:
        """Open a question: the user waits for a report, the hospital for a verdict."""
        self.query = self.user.ask("st-mary", "flu", [[1, 2, 3], [4, 5, 6]])
        self.job = self.hospital.forward(self.query)

    def frames(self) -> tuple[bytes, ...]:
        """Return the real frames of the open question."""
        verdict = self.cloud.answer(self.job)
        return self.upload, self.query, self.job, verdict, self.hospital.report(verdict)

    def nonce(self) -> bytes:
        """Return a nonce that no header had: an upload that is known is not read again."""
        return self.unused().to_bytes(16, "big")

    def unused(self) -> int:
        """Return a number that no header had."""
        self.sequence += 1
        return self.sequence


_world: list[World] = []
_uses = 0


def world() -> World:
    global _uses  # noqa: PLW0603
    _uses += 1
    if not _world or _uses % LIFETIME == 0:
        _world[:] = [World()]
    return _world[0]


def opened(frame: bytes, kind: Kind, owner: Identity, body: type) -> object:
    """Return the body of a frame as its recipient sees it."""
    decoded = Frame.decode(frame, kind)
    plain = owner.envelope_key.decrypt(decoded.ciphertext, decoded.header.envelope_info())
    return decode_body(body, plain)


def crafted(
    sender: Identity,
    recipient: str,
    kind: Kind,
    plaintext: bytes,
    key: bytes,
    nonce: bytes,
    sequence: int,
) -> bytes:
    """Return any plaintext, rightly encrypted and signed: a registered peer may lie."""
    header = Header(1, kind, sender.id, recipient, nonce, int(NOW * 1000), sequence)
    signed, message = encode_signed_part(header, encrypt(key, plaintext, header.envelope_info()))
    return signed + sender.signing_key.sign(message)


# --- decoders ------------------------------------------------------------------------------------


def frame_of(kind: Kind) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        frame = Frame.decode(data, kind)
        signed, message = encode_signed_part(frame.header, frame.ciphertext)
        assert signed + frame.signature == data
        assert message == frame.signed_message

    return target


def body_of(body: type) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        decoded = decode_body(body, data)
        assert encode_body(decoded, len(data)) == data
        assert repr(decoded) == f"<{body.__name__}>"

    return target


def integers(data: bytes) -> None:
    modulus = MODULI[data[0] % len(MODULI)] if data else 3
    count, least = (data[1] % 8, data[1] >> 7) if len(data) > 1 else (0, 0)
    limbs = unpack_limbs(data[2:], modulus, count, least=least)
    values = [int.from_bytes(row.astype("<u8").tobytes(), "little") for row in limbs]
    assert all(least <= value < modulus for value in values)
    assert pack_limbs(limbs, modulus) == data[2:]


def public_identity(data: bytes) -> None:
    decoded = PublicIdentity.from_bytes(data)
    assert decoded.to_bytes() == data
    decoded.verify()


def schema(data: bytes) -> None:
    decoded = Schema.from_json(data)
    assert Schema.from_json(decoded.to_json()) == decoded


def schema_text(data: bytes) -> None:
    # Bytes that are no UTF-8 become lone surrogates, which a str may hold and a file may not.
    Schema.from_json(data.decode("utf-8", "surrogateescape"))


def envelope_private(data: bytes) -> None:
    key = EnvelopeKey.from_bytes(data)
    assert key.to_bytes() == data
    assert suite_of(key.public_bytes) == key.suite


def envelope_public(data: bytes) -> None:
    check_envelope_key(data)
    encrypt(data, b"content", b"")


def signing_private(data: bytes) -> None:
    assert SigningKey.from_bytes(data).to_bytes() == data


def points(data: bytes) -> None:
    """A key, a signature and a message; one at a time and in a batch."""
    item = (data[:48], data[144:], data[48:144])
    expected = None
    try:
        SCHEME.verify(*item)
    except OmpdError as error:
        expected = error
    (verdict,) = SCHEME.verify_many([item])
    assert (type(verdict), str(verdict)) == (type(expected), str(expected))


def ciphertext(data: bytes) -> None:
    ALICE.envelope_key.decrypt(data, b"header")


# --- parties, with bytes off the network ---------------------------------------------------------


def receives(who: str, how: str) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        parties = world()
        getattr(getattr(parties, who), how)(data)
        if how in {"report", "report_batch", "read"}:
            parties.ask()

    return target


def forward_batch(data: bytes) -> None:
    """A stranger's frame between two good ones, which must still be served."""
    parties = world()
    good = [parties.user.ask("st-mary", "flu", [1, 2, 3]) for _ in range(2)]
    batch = parties.hospital.forward_batch([good[0], data, good[1]])
    assert set(batch.refused) <= {1}
    for error in batch.refused.values():
        raise error


# --- parties, with an authentic frame of a lying peer --------------------------------------------


def lying_user(data: bytes) -> None:
    parties = world()
    key = MARY.public.envelope_key
    frame = crafted(ALICE, "st-mary", Kind.QUERY, data, key, b"u" * 16, parties.unused())
    parties.hospital.forward(frame)


def lying_hospital_job(data: bytes) -> None:
    parties = world()
    # The table's random id replaces a mark, or no input of a corpus could ever name the table.
    data = data.replace(b"T" * 16, parties.table.table_id)
    key = CLOUD.public.envelope_key
    frame = crafted(MARY, "cloud", Kind.PAPER_JOB, data, key, b"j" * 16, parties.unused())
    parties.cloud.answer(frame)


def lying_hospital_table(data: bytes) -> None:
    parties = world()
    key = CLOUD.public.envelope_key
    frame = crafted(MARY, "cloud", Kind.PAPER_UPLOAD, data, key, parties.nonce(), 0)
    parties.cloud.store(frame)


def lying_hospital(body: type) -> Callable[[bytes], None]:
    """Tables and jobs of the private profiles; a good table is stored first."""

    def receive(data: bytes) -> None:
        parties = world()
        key = CLOUD.public.envelope_key
        kind = KIND_OF[body]
        frame = crafted(MARY, "cloud", kind, data, key, parties.nonce(), 0)
        if body in (HardenedUpload, SealedUpload):
            parties.cloud.store(frame)
        else:
            parties.cloud.answer(frame)

    return receive


def lying_hospital_change(body: type, base: Body) -> Callable[[bytes], None]:
    """Changes and the end of a table, which is stored first."""

    def receive(data: bytes) -> None:
        parties = world()
        key = CLOUD.public.envelope_key
        table_id = parties.nonce()
        plain = encode_body(msgspec.structs.replace(base, table_id=table_id))
        stored = crafted(MARY, "cloud", KIND_OF[type(base)], plain, key, parties.nonce(), 0)
        parties.cloud.store(stored)
        data = data.replace(b"T" * 16, table_id)
        frame = crafted(MARY, "cloud", KIND_OF[body], data, key, parties.nonce(), 0)
        try:
            parties.cloud.store(frame)
        finally:
            # Or a hospital would have too many tables after a while.
            plain = encode_body(Withdrawal(table_id, 2**62))
            parties.cloud.store(
                crafted(MARY, "cloud", Kind.WITHDRAWAL, plain, key, parties.nonce(), 0)
            )

    return receive


def lying_cloud_receipt(data: bytes) -> None:
    parties = world()
    # Every input meets an upload that waits.
    parties.hospital.publish("gout", parties.data, cloud="cloud")
    ref = shelf_of(parties.hospital).waiting["gout"].published.ref
    data = data.replace(b"T" * 16, ref.table_id)
    key = MARY.public.envelope_key
    frame = crafted(CLOUD, "st-mary", Kind.RECEIPT, data, key, b"c" * 16, parties.unused())
    parties.hospital.confirm(frame)


def lying_cloud(data: bytes) -> None:
    parties = world()
    data = data.replace(b"T" * 16, parties.table.table_id)
    asked = Frame.decode(parties.job, Kind.PAPER_JOB).header
    key = MARY.public.envelope_key
    frame = crafted(CLOUD, "st-mary", Kind.VERDICT, data, key, asked.nonce, asked.sequence)
    parties.hospital.report(frame)
    parties.ask()


def lying_hospital_report(data: bytes) -> None:
    parties = world()
    asked = Frame.decode(parties.query, Kind.QUERY).header
    key = opened(parties.query, Kind.QUERY, MARY, Query).reply_key
    frame = crafted(MARY, "alice", Kind.REPORT, data, key, asked.nonce, asked.sequence)
    parties.user.read(frame)
    parties.ask()


def lying_header(data: bytes) -> None:
    """Any signed part under a good signature, given to every station."""
    parties = world()
    for sender, station in (
        (ALICE, parties.hospital.forward),
        (MARY, parties.cloud.answer),
        (MARY, parties.cloud.store),
        (CLOUD, parties.hospital.report),
        (MARY, parties.user.read),
    ):
        frame = data + sender.signing_key.sign(SIGNING_LABEL + data)
        try:
            station(frame)
        except OmpdError:
            continue


def catalogue(data: bytes) -> None:
    frame = CatalogueFrame.decode(data)
    head = frame.hospital, frame.made_at, frame.valid_until
    signed, message = encode_catalogue(*head, list(frame.entries()))
    assert signed + frame.signature == data
    assert message == frame.signed_message


def lying_hospital_catalogue(data: bytes) -> None:
    """Any content of a catalogue under a good signature, then a question by what it says."""
    # One who knows no other catalogue.
    user = ompd.User(ALICE, clock=lambda: NOW, fallback=True)
    introduced(user)
    key = MARY.signing_key
    frame = crafted_catalogue(key, data, hospital="st-mary", made_at=int(NOW * 1000))
    assert user.learn(frame) == "st-mary"
    for disease, listing in user.diseases("st-mary").items():
        user.ask("st-mary", disease, listing.schema.low)


#: The first byte of an input is a place in this list: append only, or the corpus loses its sense.
TARGETS: list[tuple[str, Callable[[bytes], None]]] = [
    *(
        (f"frame-{kind.name.lower()}", frame_of(kind))
        for kind in (
            Kind.PAPER_UPLOAD,
            Kind.QUERY,
            Kind.PAPER_JOB,
            Kind.VERDICT,
            Kind.REPORT,
            Kind.REFUSAL,
        )
    ),
    *(
        (f"body-{body.__name__.lower()}", body_of(body))
        for body in (PaperUpload, Query, PaperJob, Verdict, Report, Refusal)
    ),
    ("integers", integers),
    ("public-identity", public_identity),
    ("schema", schema),
    ("schema-text", schema_text),
    ("envelope-private", envelope_private),
    ("envelope-public", envelope_public),
    ("signing-private", signing_private),
    ("points", points),
    ("ciphertext", ciphertext),
    ("hospital-forward", receives("hospital", "forward")),
    ("cloud-answer", receives("cloud", "answer")),
    ("cloud-store", receives("cloud", "store")),
    ("hospital-report", receives("hospital", "report")),
    ("user-read", receives("user", "read")),
    ("lying-user", lying_user),
    ("lying-hospital-job", lying_hospital_job),
    ("lying-hospital-table", lying_hospital_table),
    ("lying-cloud", lying_cloud),
    ("lying-hospital-report", lying_hospital_report),
    ("lying-header", lying_header),
    ("hospital-forward-batch", forward_batch),
    ("hospital-report-batch", receives("hospital", "report_batch")),
    ("hospital-refuse", receives("hospital", "refuse")),
    ("cloud-refuse", receives("cloud", "refuse")),
    *((f"body-{body.__name__.lower()}", body_of(body)) for body in LATER),
    *(
        (f"lying-hospital-{body.__name__.lower()}", lying_hospital(body))
        for body in (HardenedUpload, HardenedJob, SealedUpload, SealedJob)
    ),
    ("lying-cloud-receipt", lying_cloud_receipt),
    ("hospital-confirm", receives("hospital", "confirm")),
    ("public-identity-prekey", public_identity),
    ("catalogue", catalogue),
    ("lying-hospital-catalogue", lying_hospital_catalogue),
    *tables.TARGETS,
    *((f"body-{body.__name__.lower()}", body_of(body)) for body in CHANGES),
    *(
        (f"lying-hospital-{body.__name__.lower()}", lying_hospital_change(body, base))
        for body, base in zip(CHANGES, (PAPER, HARDENED, HARDENED), strict=True)
    ),
    *payments.TARGETS,
]
NAMES = [name for name, _ in TARGETS]


def feed(data: bytes) -> bool:
    """Run one input. Returns whether it was accepted; what is no `OmpdError` escapes."""
    if not data:
        return False
    name, target = TARGETS[data[0] % len(TARGETS)]
    try:
        target(data[1:])
    except OmpdError as error:
        check(error, name)
        return False
    return True


def check(error: OmpdError, name: str) -> None:
    """An error must also be a builtin one, and may not quote what was received."""
    assert isinstance(error, ValueError | LookupError), f"{name}: {type(error).__name__}"
    shown = None if error.__suppress_context__ else error.__context__
    assert error.__cause__ is None, f"{name}: cause {type(error.__cause__).__name__}"
    assert shown is None or isinstance(shown, OmpdError), f"{name}: {type(shown).__name__}"


def seeds() -> dict[str, bytes]:
    """Valid inputs of all targets, by a name for their file."""
    parties = World()
    _, query, job, verdict, report = parties.frames()
    table = parties.table
    mark = b"T" * 16
    limbs = 8
    modulus = int.from_bytes(table.modulus, "little")
    width = len(table.modulus)
    small = PaperUpload(
        b"s" * 16, 1, (1000003).to_bytes(3, "little"), 2, 1, 2, 0, 6, 0,
        bytes([0, 0, 1, 0] * 3), b"".join(n.to_bytes(8, "little") for n in range(12)),
    )  # fmt: skip
    bodies = {
        "paperupload": small,
        "query": Query(
            "flu", 1, np.array([1.0, 2, 3]).tobytes(), ALICE.public.envelope_key, "paper"
        ),
        "paperjob": PaperJob(mark, 1, 1, bytes(width * 5), (1).to_bytes(width, "little")),
        "verdict": Verdict(mark, 1, 3, b"\1\0\0\0", bytes([1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0])),
        "report": Report(
            3,
            ("no", "yes"),
            (("no", ""), ("yes", "rest")),
            b"\1\0\0\0",
            bytes([1, 0, 2, 0, 3, 0, 0, 0]),
            bytes(32),
            b"\1\0",
            bytes(4),
            "paper",
            "evidence",
        ),
        "receipt": Receipt(mark, 1, 3, 40),
        "hardenedupload": msgspec.structs.replace(HARDENED, version=2),
        "hardenedjob": HardenedJob(b"r" * 16, 1, 1, bytes(16)),
        "sealedupload": msgspec.structs.replace(SEALED, version=2),
        "sealedjob": SealedJob(b"b" * 16, 1, False, bytes(4)),
        "sealedanswer": SealedAnswer(b"b" * 16, 1, bytes(64)),
        "paperchange": PaperChange(
            mark, 2, 1, 6, bytes(4), bytes([1, 0, 0, 0]), bytes([1, 0]), bytes(2), bytes(16)
        ),
        "hardenedchange": HardenedChange(
            mark, 2, 1, 2, bytes(4), bytes([1, 0, 0, 0]), bytes([1, 0]), bytes(2), bytes(16)
        ),
        "withdrawal": Withdrawal(mark, 2),
        "refusal": Refusal(),
    }
    assert modulus.bit_length() == 64 * limbs
    plain = {name: encode_body(body) for name, body in bodies.items()}
    # A real table's frame is long; a short one under the same keys serves as well.
    key = CLOUD.public.envelope_key
    upload = crafted(MARY, "cloud", Kind.PAPER_UPLOAD, plain["paperupload"], key, b"t" * 16, 0)
    key = ALICE.public.envelope_key
    refusal = crafted(MARY, "alice", Kind.REFUSAL, plain["refusal"], key, b"r" * 16, 0)
    frames = {
        "paper_upload": upload,
        "query": query,
        "paper_job": job,
        "verdict": verdict,
        "report": report,
    }
    frames["refusal"] = refusal
    key = MARY.public.envelope_key
    receipt = crafted(CLOUD, "st-mary", Kind.RECEIPT, plain["receipt"], key, b"c" * 16, 0)
    signature = ALICE.signing_key.sign(b"message")
    listed = [plain_entry(entry) for entry in sorted(ENTRIES, key=lambda entry: entry.disease)]
    made = {f"frame-{name}": data for name, data in frames.items()}
    made |= {f"body-{name}": data for name, data in plain.items()}
    made |= {
        "integers": b"\x01\x02" + bytes([1, 0, 0xE7, 3]),
        "public-identity": ALICE.public.to_bytes(),
        "public-identity-prekey": MARY.public.with_prekey(
            Prekeys(MARY, clock=lambda: NOW).rotate()
        ).to_bytes(),
        "schema": SCHEMA.to_json(),
        "schema-text": SCHEMA.to_json(),
        "envelope-private": ALICE.envelope_key.to_bytes(),
        "envelope-public": ALICE.public.envelope_key,
        "signing-private": ALICE.signing_key.to_bytes(),
        "points": ALICE.public.signing_key + signature + b"message",
        "ciphertext": encrypt(ALICE.public.envelope_key, b"content", b"header"),
        "hospital-forward": frames["query"],
        "cloud-answer": frames["paper_job"],
        "cloud-store": frames["paper_upload"],
        "hospital-report": frames["verdict"],
        "user-read": frames["report"],
        "hospital-forward-batch": frames["query"],
        "hospital-report-batch": frames["verdict"],
        "hospital-refuse": frames["query"],
        "cloud-refuse": frames["paper_job"],
        "lying-user": plain["query"],
        "lying-hospital-job": plain["paperjob"],
        "lying-hospital-table": plain["paperupload"],
        "lying-cloud": plain["verdict"],
        "lying-hospital-report": plain["report"],
        "lying-header": frames["query"][:-96],
        "lying-hospital-hardenedupload": plain["hardenedupload"],
        "lying-hospital-hardenedjob": plain["hardenedjob"],
        "lying-hospital-sealedupload": plain["sealedupload"],
        "lying-hospital-sealedjob": plain["sealedjob"],
        "lying-hospital-paperchange": plain["paperchange"],
        "lying-hospital-hardenedchange": plain["hardenedchange"],
        "lying-hospital-withdrawal": plain["withdrawal"],
        "lying-cloud-receipt": plain["receipt"],
        "hospital-confirm": receipt,
        **tables.SEEDS,
        **payments.SEEDS,
        "catalogue": crafted_catalogue(
            MARY.signing_key, listed, hospital="st-mary", made_at=int(NOW * 1000)
        ),
        "lying-hospital-catalogue": msgspec.msgpack.encode(listed),
    }
    return {f"seed-{name}": bytes([NAMES.index(name)]) + data for name, data in made.items()}
