"""Encrypted envelopes, against an independent HPKE written from RFC 9180."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.crypto import EnvelopeKey, check_envelope_key, encrypt, envelope, overhead, suite_of
from ompd.errors import (
    BackendUnavailableError,
    DecryptionError,
    KeyMaterialError,
    OmpdError,
    ParameterError,
    SubgroupError,
)

SUITES = ["x25519", "mlkem768x25519"]
SIZES = {"x25519": (33, 33, 48), "mlkem768x25519": (1217, 97, 1136)}
X25519_P = 2**255 - 19
SMALL_ORDER = [
    0,
    1,
    X25519_P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]


@pytest.fixture(scope="module", params=SUITES)
def key(request: pytest.FixtureRequest) -> EnvelopeKey:
    return EnvelopeKey.generate(request.param)


# --- the oracle: RFC 9180, base mode, sections 4, 4.1 and 5.1 ------------------------------------


def extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    block, output, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.digest(prk, block + labeled + bytes([counter]), "sha256")
        output, counter = output + block, counter + 1
    return output[:length]


def schedule(suite: bytes, shared: bytes, info: bytes, key_bytes: int) -> tuple[bytes, bytes]:
    context = b"\0" + extract(suite, b"", b"psk_id_hash", b"")
    context += extract(suite, b"", b"info_hash", info)
    secret = extract(suite, shared, b"secret", b"")
    return (
        expand(suite, secret, b"key", context, key_bytes),
        expand(suite, secret, b"base_nonce", context, 12),
    )


def x25519_shared(secret: bytes, enc: bytes) -> bytes:
    private = X25519PrivateKey.from_private_bytes(secret)
    suite = b"KEM\x00\x20"
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(enc))
    prk = extract(suite, b"", b"eae_prk", exchanged)
    context = enc + private.public_key().public_bytes_raw()
    return expand(suite, prk, b"shared_secret", context, 32)


def oracle_open(private_bytes: bytes, ciphertext: bytes, info: bytes, aad: bytes = b"") -> bytes:
    raw = private_bytes[1:]
    if private_bytes[0] == 1:
        suite, key_bytes, enc = b"HPKE\x00\x20\x00\x01\x00\x01", 16, ciphertext[:32]
        shared = x25519_shared(raw, enc)
    else:
        # X-Wing (draft-connolly-cfrg-xwing-kem): a hash binds both shared secrets and the
        # elliptic-curve half of the transcript.
        suite, key_bytes, enc = b"HPKE\x64\x7a\x00\x01\x00\x02", 32, ciphertext[:1120]
        mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:64])
        curve = X25519PrivateKey.from_private_bytes(raw[64:])
        exchanged = curve.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
        shared = hashlib.sha3_256(
            mlkem.decapsulate(enc[:1088])
            + exchanged
            + enc[1088:]
            + curve.public_key().public_bytes_raw()
            + rb"\.//^\ "[:6]
        ).digest()
    aead_key, nonce = schedule(suite, shared, info, key_bytes)
    return AESGCM(aead_key).decrypt(nonce, ciphertext[len(enc) :], aad)


def test_oracle_opens_the_vector_of_the_rfc() -> None:
    """RFC 9180, appendix A.1.1, sequence number 0."""
    private = "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"
    enc = "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"
    ciphertext = (
        "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
    )
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    opened = oracle_open(
        b"\1" + bytes.fromhex(private), bytes.fromhex(enc + ciphertext), info, b"Count-0"
    )
    assert opened == b"Beauty is truth, truth beauty"


def test_oracle_opens_our_envelopes(key: EnvelopeKey) -> None:
    sealed = encrypt(key.public_bytes, b"content", b"header")
    assert oracle_open(key.to_bytes(), sealed, b"header") == b"content"


def test_opens_an_envelope_made_by_the_oracle() -> None:
    """A ciphertext of the RFC's key and ephemeral key, without its associated data."""
    secret = bytes.fromhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
    enc = bytes.fromhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431")
    suite = b"HPKE\x00\x20\x00\x01\x00\x01"
    aead_key, nonce = schedule(suite, x25519_shared(secret, enc), b"info", 16)
    ciphertext = enc + AESGCM(aead_key).encrypt(nonce, b"content", b"")
    key = EnvelopeKey.from_bytes(b"\1" + secret)
    assert key.public_bytes == b"\1" + bytes.fromhex(
        "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"
    )
    assert key.decrypt(ciphertext, b"info") == b"content"


# --- the interface -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 735, 100_000])
def test_round_trip_and_sizes(key: EnvelopeKey, size: int) -> None:
    public, private, extra = SIZES[key.suite]
    assert len(key.public_bytes) == public
    assert len(key.to_bytes()) == private
    assert overhead(key.suite) == extra
    assert suite_of(key.public_bytes) == key.suite
    assert check_envelope_key(key.public_bytes) is None
    plaintext = bytes(size)
    sealed = encrypt(key.public_bytes, plaintext, b"header")
    assert len(sealed) == size + extra
    assert key.decrypt(sealed, b"header") == plaintext
    assert EnvelopeKey.from_bytes(key.to_bytes()).decrypt(sealed, b"header") == plaintext
    assert encrypt(key.public_bytes, plaintext, b"header") != sealed


def assert_refused(key: EnvelopeKey, ciphertext: Any, info: Any = b"header") -> None:
    with pytest.raises(DecryptionError) as caught:
        key.decrypt(ciphertext, info)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(caught.value) == "ciphertext: was not encrypted to this key with this info"


def test_everything_else_is_refused_alike(key: EnvelopeKey) -> None:
    sealed = encrypt(key.public_bytes, b"content", b"header")
    assert_refused(key, sealed, b"heade")
    assert_refused(key, sealed, b"")
    assert_refused(EnvelopeKey.generate(key.suite), sealed)
    for suite in SUITES:
        assert_refused(EnvelopeKey.generate(suite), sealed)
    assert_refused(key, sealed + b"\0")
    cuts = range(len(sealed)) if len(sealed) < 100 else (*range(0, 1120, 97), *range(1115, 1143))
    for cut in cuts:
        assert_refused(key, sealed[:cut])
    # Every byte of the short envelope; in the long one every 31st, and the ends of its parts.
    places = range(len(sealed)) if len(sealed) < 100 else (*range(0, 1120, 31), *range(1085, 1143))
    for place in places:
        for bit in (0, 7):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            # RFC 7748 ignores the top bit of an X25519 coordinate, but HPKE binds the bytes.
            assert_refused(key, bytes(changed))
    for wrong in (bytearray(sealed), memoryview(sealed), None, "text", 3):
        assert_refused(key, wrong)
    for wrong in (bytearray(b"header"), None, "header"):
        assert_refused(key, sealed, wrong)


def test_encapsulated_point_of_small_order_is_refused(key: EnvelopeKey) -> None:
    sealed = encrypt(key.public_bytes, b"content", b"header")
    at = 0 if key.suite == "x25519" else 1088
    for coordinate in SMALL_ORDER:
        changed = sealed[:at] + coordinate.to_bytes(32, "little") + sealed[at + 32 :]
        assert_refused(key, changed)


# --- public and private keys in wire form --------------------------------------------------------


@pytest.mark.parametrize(
    "encoded",
    [b"", b"\0", b"\1", b"\2", b"\3" + bytes(32), b"\0" + bytes(32), b"\1" + bytes(31), None, "k"],
)
def test_bad_public_key_forms(encoded: Any) -> None:
    for call in (check_envelope_key, suite_of, lambda raw: encrypt(raw, b"", b"")):
        with pytest.raises(KeyMaterialError, match=r"^public_bytes: "):
            call(encoded)


def test_public_keys_of_other_length(key: EnvelopeKey) -> None:
    public = key.public_bytes
    other = bytes([3 - public[0]]) + public[1:]
    for encoded in (public[:-1], public + b"\0", other, bytearray(public)):
        with pytest.raises(KeyMaterialError):
            check_envelope_key(encoded)  # type: ignore[arg-type]


def x25519_part(coordinate: int, suite: str) -> bytes:
    raw = coordinate.to_bytes(32, "little")
    return EnvelopeKey.generate(suite).public_bytes[:-32] + raw


@pytest.mark.parametrize("suite", SUITES)
def test_small_order_and_unreduced_keys(suite: str) -> None:
    for coordinate in SMALL_ORDER:
        with pytest.raises(SubgroupError, match="small order"):
            encrypt(x25519_part(coordinate, suite), b"", b"")
    for coordinate in (X25519_P, X25519_P + 9, 2**255, 2**255 + 9, 2**256 - 1):
        with pytest.raises(KeyMaterialError, match="not reduced"):
            encrypt(x25519_part(coordinate, suite), b"", b"")
    assert check_envelope_key(x25519_part(9, suite)) is None


def test_the_list_of_small_orders_is_that_of_the_library() -> None:
    probe = X25519PrivateKey.generate()
    for coordinate in SMALL_ORDER:
        point = X25519PublicKey.from_public_bytes(coordinate.to_bytes(32, "little"))
        with pytest.raises(ValueError, match="shared key"):
            probe.exchange(point)


def test_unreduced_mlkem_coefficient() -> None:
    public = EnvelopeKey.generate("mlkem768x25519").public_bytes
    # The first coefficient, 12 bits little-endian, set to the modulus 3329.
    changed = public[:1] + bytes([0x01, 0x0D | public[2] & 0xF0]) + public[3:]
    with pytest.raises(KeyMaterialError, match="ML-KEM coefficient"):
        check_envelope_key(changed)


@pytest.mark.parametrize("encoded", [b"", b"\1", b"\1" + bytes(31), b"\2" + bytes(32), b"\7", None])
def test_bad_private_keys(encoded: Any) -> None:
    with pytest.raises(KeyMaterialError, match=r"^private_bytes: "):
        EnvelopeKey.from_bytes(encoded)


@pytest.mark.parametrize("suite", ["", "X25519", "p256", None, 1, ["x25519"]])
def test_unknown_suite(suite: Any) -> None:
    for call in (overhead, EnvelopeKey.generate):
        with pytest.raises(ParameterError, match=r"^suite: "):
            call(suite)


def test_seal_takes_bytes_only(key: EnvelopeKey) -> None:
    for plaintext, info in (("x", b""), (b"", "x"), (bytearray(), b""), (b"", None)):
        with pytest.raises(ParameterError, match=r"^(plaintext|info): expected bytes"):
            encrypt(key.public_bytes, plaintext, info)  # type: ignore[arg-type]


def test_library_without_mlkem(monkeypatch: pytest.MonkeyPatch) -> None:
    public = EnvelopeKey.generate("mlkem768x25519").public_bytes

    class Lacking:
        @staticmethod
        def from_seed_bytes(data: bytes) -> MLKEM768PrivateKey:
            raise UnsupportedAlgorithm("no ML-KEM")

        @staticmethod
        def from_public_bytes(data: bytes) -> MLKEM768PublicKey:
            raise UnsupportedAlgorithm("no ML-KEM")

    monkeypatch.setattr(envelope, "MLKEM768PrivateKey", Lacking)
    monkeypatch.setattr(envelope, "MLKEM768PublicKey", Lacking)
    with pytest.raises(BackendUnavailableError):
        EnvelopeKey.generate("mlkem768x25519")
    with pytest.raises(BackendUnavailableError):
        encrypt(public, b"", b"")
    assert EnvelopeKey.generate().suite == "x25519"


@settings(max_examples=100, deadline=None)
@given(
    ciphertext=st.one_of(st.binary(max_size=200), st.binary(min_size=1136, max_size=1150)),
    info=st.binary(max_size=8),
)
def test_random_ciphertexts(key: EnvelopeKey, ciphertext: bytes, info: bytes) -> None:
    assert_refused(key, ciphertext, info)


@settings(max_examples=150, deadline=None)
@given(
    encoded=st.one_of(
        st.binary(max_size=100),
        st.builds(bytes.__add__, st.just(b"\1"), st.binary(min_size=32, max_size=32)),
        st.builds(bytes.__add__, st.just(b"\2"), st.binary(min_size=1216, max_size=1216)),
        st.builds(bytes.__add__, st.just(b"\2"), st.binary(min_size=96, max_size=96)),
    )
)
def test_random_keys_raise_only_our_errors(encoded: bytes) -> None:
    for call in (check_envelope_key, suite_of, EnvelopeKey.from_bytes):
        try:
            call(encoded)
        except OmpdError as error:
            assert isinstance(error, KeyMaterialError | SubgroupError)  # noqa: PT017
