from __future__ import annotations

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import (
    FrameError,
    FramingError,
    NonCanonicalError,
    ParameterError,
    RangeError,
    TooLargeError,
    VersionError,
)
from ompd.params import ROLES
from ompd.wire import (
    CAPS,
    HEAD_BYTES,
    KIND_OF,
    SIGNATURE_BYTES,
    AggregateRequest,
    AggregateResult,
    Collection,
    CollectionReceipt,
    Contribution,
    Frame,
    HardenedJob,
    HardenedUpload,
    Header,
    Invitation,
    Kind,
    PaperJob,
    PaperUpload,
    Query,
    Receipt,
    Refusal,
    Report,
    SealedAnswer,
    SealedJob,
    SealedUpload,
    Terms,
    Verdict,
    check_text,
    decode_body,
    encode_body,
    encode_signed_part,
    pack_limbs,
    peek,
    unpack_limbs,
)

TABLE = b"t" * 16
TERMS = Terms(TABLE, "dr-lee", "cloud", "weekly steps", "sum", 5, 1000, 7, 2**20, b"h" * 32)
BODIES = {
    PaperUpload: PaperUpload(TABLE, 1, b"\x01\x02", 3, 4, 2, 0, 2, 0, b"\x00" * 4, b"\xff" * 80),
    Query: Query("heart", 2, b"\x00" * 32, b"k" * 33, "sealed"),
    PaperJob: PaperJob(TABLE, 1, 1, b"p" * 64, b"t" * 64),
    Verdict: Verdict(TABLE, 1, 9, b"\x01\x00", b"\x02\x00\x07\x00"),
    Refusal: Refusal(),
    Report: Report(
        9,
        ("benign", "malignant"),
        (("benign", ""), ("malignant", "see a doctor")),
        b"\x01\x00",
        b"\x07\x00\x02\x00",
        bytes(16),
        b"\x01",
        b"\x02\x00",
        "hardened",
        "evidence",
    ),
    Receipt: Receipt(TABLE, 1, 9, 60),
    HardenedUpload: HardenedUpload(TABLE, 1, 3, 2, 0, 2, 0, b"\x00" * 4, b"\xff" * 48),
    HardenedJob: HardenedJob(TABLE, 1, 1, b"p" * 24),
    SealedUpload: SealedUpload(TABLE, 1, 64, 2, 2, 4, 0, b"b" * 256),
    SealedJob: SealedJob(TABLE, 1, False, b"o" * 16),
    SealedAnswer: SealedAnswer(TABLE, 1, b"b" * 256),
    Collection: Collection(TERMS, b"k" * 48),
    Invitation: Invitation(TERMS, b"k" * 40),
    Contribution: Contribution(TABLE, TERMS.digest(), (b"c" * 20, b"d")),
    CollectionReceipt: CollectionReceipt(TABLE),
    AggregateRequest: AggregateRequest(TABLE, "bob", (b"o",)),
    AggregateResult: AggregateResult(TABLE, 5, (b"r" * 30,)),
}
HEADER = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_700_000_000_000, 7)


def frame_bytes(header=HEADER, ciphertext=b"sealed"):
    return encode_signed_part(header, ciphertext)[0] + b"s" * SIGNATURE_BYTES


@pytest.mark.parametrize("body", BODIES.values(), ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("pad_to", [0, 10, 1000])
def test_bodies_round_trip(body, pad_to):
    data = encode_body(body, pad_to)
    assert len(data) >= pad_to
    assert decode_body(type(body), data) == body
    assert repr(body) == f"<{type(body).__name__}>"


def test_frames_round_trip():
    data = frame_bytes()
    frame = Frame.decode(data, Kind.QUERY)
    assert frame.header == HEADER
    assert frame.ciphertext == b"sealed"
    assert frame.signature == b"s" * SIGNATURE_BYTES
    signed, message = encode_signed_part(frame.header, frame.ciphertext)
    assert signed + frame.signature == data
    assert frame.signed_message == message != signed


def outcome(call):
    """What a call returns, or how it fails."""
    try:
        return call()
    except FrameError as error:
        return type(error), str(error)


@given(st.integers(0, 2000), st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255))))
def test_a_peek_says_what_decoding_the_frame_does(length, changes):
    longest = HEADER if length % 2 else msgspec.structs.replace(
        HEADER, sender="\U0010ffff" * 63, recipient="\U0010ffff" * 63, timestamp=2**63 - 1,
        sequence=2**63 - 1,
    )  # fmt: skip
    data = bytearray(frame_bytes(longest, bytes(length)))
    for place, byte in changes:
        data[place % len(data)] = byte
    whole = bytes(data)
    kinds = Kind.QUERY, Kind.VERDICT
    decoded = outcome(lambda: Frame.decode(whole, *kinds).header)
    assert outcome(lambda: peek(whole[:HEAD_BYTES], len(whole), *kinds)) == decoded
    if not changes:
        assert decoded == longest


def test_padding_hides_the_length():
    short, long = (
        Report(9, ("x",), (("x", advice),), b"\0\0", b"\t\0", bytes(8), b"\0", b"\0\0")
        for advice in ("", "a" * 300)
    )
    assert len(encode_body(short, 400)) == len(encode_body(long, 400)) == 400
    whole = len(encode_body(long))
    assert len(encode_body(long, step=whole)) == whole
    assert len(encode_body(long, step=whole - 1)) == 2 * (whole - 1)
    assert len(encode_body(short, 401, step=32)) == 416


@pytest.mark.parametrize("cut", range(len(frame_bytes())))
def test_a_cut_frame_is_refused(cut):
    with pytest.raises(FramingError):
        Frame.decode(frame_bytes()[:cut], Kind.QUERY)


@pytest.mark.parametrize("body", BODIES.values(), ids=lambda body: type(body).__name__)
def test_a_cut_or_extended_body_is_refused(body):
    data = encode_body(body)
    for cut in range(len(data)):
        with pytest.raises(FrameError):
            decode_body(type(body), data[:cut])
    for tail in (b"\x80", b"\x01", b"\x00\x80", data):
        with pytest.raises(FrameError):
            decode_body(type(body), data + tail)


def test_bytes_in_front_of_the_signature_are_refused():
    data = frame_bytes()
    for extra in (b"\x00", b"\xc0", b"s" * SIGNATURE_BYTES):
        with pytest.raises(FramingError):
            Frame.decode(data[:-SIGNATURE_BYTES] + extra + data[-SIGNATURE_BYTES:], Kind.QUERY)


def test_a_second_encoding_of_the_same_frame_is_refused():
    signed, _ = encode_signed_part(HEADER, b"sealed")
    # The ciphertext's length in two bytes instead of one.
    wide = signed[: -len(b"sealed") - 2] + b"\xc5\x00\x06sealed"
    with pytest.raises(NonCanonicalError):
        Frame.decode(wide + b"s" * SIGNATURE_BYTES, Kind.QUERY)


def test_frames_of_another_kind_version_or_size_are_refused(monkeypatch):
    with pytest.raises(FramingError, match="expected a paper job, got a query"):
        Frame.decode(frame_bytes(), Kind.PAPER_JOB)
    old = msgspec.structs.replace(HEADER, version=0)
    with pytest.raises(VersionError, match="expected protocol version 1"):
        Frame.decode(frame_bytes(old), Kind.QUERY)
    monkeypatch.setitem(CAPS, Kind.QUERY, 100)
    with pytest.raises(TooLargeError, match="at most 100 bytes for a query"):
        Frame.decode(b"\x00" * 101, Kind.QUERY)
    for other in ("text", None, 5, [1]):
        with pytest.raises(FramingError, match="expected bytes"):
            Frame.decode(other, Kind.QUERY)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 256},
        {"kind": 6},
        {"sender": ""},
        {"recipient": "x" * 64},
        {"nonce": b"n" * 15},
        {"timestamp": -1},
        {"sequence": 2**63},
        {"sequence": "7"},
        {"sender": b"alice"},
    ],
)
def test_headers_out_of_form_are_refused(change):
    with pytest.raises(FramingError):
        Frame.decode(frame_bytes(msgspec.structs.replace(HEADER, **change)), Kind.QUERY)


@given(st.binary(max_size=300), st.sampled_from(list(BODIES)))
def test_random_bytes_raise_only_frame_errors(data, body):
    for attempt in (
        lambda: Frame.decode(data, KIND_OF[body]),
        lambda: decode_body(body, data),
        lambda: Frame.decode(data + b"s" * SIGNATURE_BYTES, KIND_OF[body]),
        lambda: decode_body(body, data + b"\x80"),
    ):
        context = None
        try:
            attempt()
        except FrameError as error:
            context = error.__context__
        # What the decoder said could quote the bytes.
        assert context is None


@given(st.sampled_from(list(BODIES)), st.data())
def test_whatever_parses_encodes_identically(body, data):
    original = encode_body(BODIES[body])
    place = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[place] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_body(body, bytes(changed))
    except FrameError:
        return
    assert encode_body(decoded, len(changed)) == bytes(changed)


@given(st.integers(2, 2**600), st.data())
def test_integers_round_trip_at_the_width_of_the_modulus(modulus, data):
    values = data.draw(st.lists(st.integers(0, modulus - 1), max_size=5))
    width = -(-modulus.bit_length() // 8)
    packed = b"".join(value.to_bytes(width, "little") for value in values)
    limbs = unpack_limbs(packed, modulus, len(values))
    assert limbs.shape == (len(values), -(-modulus.bit_length() // 64))
    assert [int.from_bytes(row.tobytes(), "little") for row in limbs] == values
    assert pack_limbs(limbs, modulus) == packed


def test_integers_out_of_range_are_refused():
    modulus = 1000
    for value in (1000, 65535):
        with pytest.raises(RangeError, match="below the modulus"):
            unpack_limbs(value.to_bytes(2, "little"), modulus, 1)
    with pytest.raises(RangeError, match="from 1"):
        unpack_limbs(b"\0\0", modulus, 1, least=1)
    wide = (1 << 127) + 12345
    for value in (wide, wide + 1, (1 << 128) - 1):
        with pytest.raises(RangeError):
            unpack_limbs(value.to_bytes(16, "little"), wide, 1)
    assert unpack_limbs((wide - 1).to_bytes(16, "little"), wide, 1).shape == (1, 2)
    for data in (b"", b"\0", b"\0" * 3):
        with pytest.raises(FramingError, match="expected 2 bytes"):
            unpack_limbs(data, modulus, 1)


@pytest.mark.parametrize("text", ["", "x" * 256, 5, None, b"x"])
def test_texts_out_of_form_are_refused(text):
    with pytest.raises(ParameterError, match="disease: expected a text"):
        check_text("disease", text)
    check_text("disease", "é" * 255)


def test_every_message_has_one_row():
    assert len(KIND_OF) == len(CAPS) == len(Kind)
    assert [kind.body for kind in Kind] == list(KIND_OF)
    assert pickle.loads(pickle.dumps(Kind.PAPER_JOB)) is Kind.PAPER_JOB is Kind(2)
    for kind in Kind:
        # What lasts is not remembered, so that no answer is kept for it.
        assert not (kind.lasting and kind.repeatable)
        assert set(kind.senders) <= set(ROLES)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("collection", b"u" * 16), ("physician", "dr-li"), ("cloud", "cloud2"), ("about", "steps"),
        ("function", "dot"), ("least", 4), ("most", 1001), ("length", 8), ("bound", 2**20 + 1),
        ("key", b"g" * 32),
    ],
)  # fmt: skip
def test_terms_are_told_apart_by_every_field(field, value):
    assert msgspec.structs.replace(TERMS, **{field: value}).digest() != TERMS.digest()
    assert len(TERMS.digest()) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"least": 0}, {"most": 2**20 + 1}, {"length": 0}, {"length": 2**16 + 1}, {"bound": 0},
        {"bound": 2**63}, {"key": b"h" * 31}, {"about": ""}, {"function": "x" * 256},
        {"collection": b"t" * 15}, {"physician": ""},
    ],
)  # fmt: skip
def test_terms_out_of_range_are_refused(change):
    body = Collection(msgspec.structs.replace(TERMS, **change), b"k")
    with pytest.raises(FramingError):
        decode_body(Collection, encode_body(body))


def test_numbers_of_parts_are_bounded():
    good = Contribution(TABLE, TERMS.digest(), (b"c",) * 16)
    assert decode_body(Contribution, encode_body(good)) == good
    for parts in ((), (b"c",) * 17):
        with pytest.raises(FramingError):
            decode_body(Contribution, encode_body(Contribution(TABLE, TERMS.digest(), parts)))
