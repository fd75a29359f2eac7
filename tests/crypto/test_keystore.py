"""Keys at rest."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from ompd.crypto import EnvelopeKey, Identity, SigningKey, passwords
from ompd.crypto.identity_files import load_identity, read_card, save_identity, write_private
from ompd.crypto.key_json import MAX_FILE_BYTES
from ompd.crypto.keystore import (
    decrypt_envelope_key,
    decrypt_signing_key,
    encrypt_envelope_key,
    encrypt_signing_key,
)
from ompd.errors import CryptoError, KeystoreError, OmpdError, PasswordError

PASSWORD = "open sesame"  # noqa: S105
CHEAP = 16
ALICE = Identity("alice", SigningKey(6001), EnvelopeKey.from_bytes(b"\1" + bytes(range(32))))
HYBRID = Identity("st-mary", SigningKey(6002), EnvelopeKey.from_bytes(b"\2" + bytes(range(96))))

# --- EIP-2335 -------------------------------------------------------------------------------------

# The two vectors published in the EIP, sections "Scrypt Test Vector" and "PBKDF2 Test Vector".
VECTOR_PASSWORD = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑"  # noqa: S105
VECTOR_SECRET = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"  # noqa: S105
SALT = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"


def vector(kdf: dict[str, Any], checksum: str, message: str, path: str, uuid: str) -> bytes:
    return json.dumps({
        "crypto": {
            "kdf": {**kdf, "message": ""},
            "checksum": {"function": "sha256", "params": {}, "message": checksum},
            "cipher": {
                "function": "aes-128-ctr",
                "params": {"iv": "264daa3f303d7259501c93d997d84fe6"},
                "message": message,
            },
        },
        "description": "a vector of the EIP",
        "pubkey": "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27"
                  "f4ae4040902382ae2910c15e2b420d07",
        "path": path,
        "uuid": uuid,
        "version": 4,
    }).encode()  # fmt: skip


SCRYPT_VECTOR = vector(
    {"function": "scrypt", "params": {"dklen": 32, "n": 262144, "p": 1, "r": 8, "salt": SALT}},
    "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484",
    "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f",
    "m/12381/60/3141592653/589793238",
    "1d85ae20-35c5-4611-98e8-aa14a633906f",
)
PBKDF2_VECTOR = vector(
    {"function": "pbkdf2",
     "params": {"dklen": 32, "c": 262144, "prf": "hmac-sha256", "salt": SALT}},
    "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1",
    "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad",
    "m/12381/60/0/0",
    "64625def-3331-4eea-ab6f-782f3ed16a83",
)  # fmt: skip


@pytest.mark.parametrize("encoded", [SCRYPT_VECTOR, PBKDF2_VECTOR], ids=["scrypt", "pbkdf2"])
def test_published_vectors(encoded: bytes) -> None:
    key = decrypt_signing_key(encoded, VECTOR_PASSWORD)
    assert key.to_bytes().hex() == VECTOR_SECRET


def test_published_vectors_refuse_another_password() -> None:
    with pytest.raises(PasswordError):
        decrypt_signing_key(PBKDF2_VECTOR, "testpassword")
    # The letters of the vector fold to plain ones; the key sign stays, and control codes go.
    same = "test\x00pass\x7fwor\x85d\n🔑"
    assert decrypt_signing_key(PBKDF2_VECTOR, same).to_bytes().hex() == VECTOR_SECRET


def test_what_is_written_opens_by_hand() -> None:
    encoded = encrypt_signing_key(ALICE.signing_key, "pass\tｗｏｒｄ", _n=CHEAP)
    store = json.loads(encoded)
    assert set(store) == {"crypto", "pubkey", "path", "uuid", "version", "description"}
    assert (store["version"], store["path"]) == (4, "")
    assert store["pubkey"] == ALICE.public.signing_key.hex()
    crypto = store["crypto"]
    params = crypto["kdf"]["params"]
    derived = hashlib.scrypt(
        b"password", salt=bytes.fromhex(params["salt"]), n=params["n"], r=params["r"],
        p=params["p"], dklen=32,
    )  # fmt: skip
    message = bytes.fromhex(crypto["cipher"]["message"])
    assert hashlib.sha256(derived[16:] + message).hexdigest() == crypto["checksum"]["message"]
    iv = bytes.fromhex(crypto["cipher"]["params"]["iv"])
    cipher = Cipher(algorithms.AES128(derived[:16]), modes.CTR(iv)).decryptor()
    assert cipher.update(message) == ALICE.signing_key.to_bytes()


def test_default_cost_and_fresh_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    assert passwords.new_kdf(None).params.n == 2**18
    first, second = (
        json.loads(encrypt_signing_key(ALICE.signing_key, PASSWORD, _n=CHEAP))["crypto"]
        for _ in range(2)
    )
    assert first["kdf"]["params"]["salt"] != second["kdf"]["params"]["salt"]
    assert first["cipher"] != second["cipher"]


# --- both forms -----------------------------------------------------------------------------------

SIGNING = encrypt_signing_key(ALICE.signing_key, PASSWORD, _n=CHEAP)
ENVELOPE = encrypt_envelope_key(
    ALICE.envelope_key, PASSWORD, ALICE.public, role="user", rotation=b"statement", _n=CHEAP
)
BOTH = pytest.mark.parametrize(
    ("encoded", "decrypt"),
    [(SIGNING, decrypt_signing_key), (ENVELOPE, decrypt_envelope_key)],
    ids=["signing", "envelope"],
)


def test_round_trips(scheme: Any) -> None:
    key = decrypt_signing_key(SIGNING, PASSWORD, scheme)
    assert key.to_bytes() == ALICE.signing_key.to_bytes()
    assert key.backend is scheme
    for identity in (ALICE, HYBRID):
        encoded = encrypt_envelope_key(identity.envelope_key, PASSWORD, identity.public, _n=CHEAP)
        opened, card = decrypt_envelope_key(encoded, PASSWORD)
        assert opened.to_bytes() == identity.envelope_key.to_bytes()
        assert card.public == identity.public
        assert identity.envelope_key.to_bytes().hex() not in encoded.decode()
    with pytest.raises(KeystoreError):
        encrypt_envelope_key(ALICE.envelope_key, PASSWORD, HYBRID.public, _n=CHEAP)


@BOTH
@pytest.mark.parametrize("password", ["", "open sesam", "Open sesame", "x" * 1025, None, b"open"])
def test_wrong_passwords(encoded: bytes, decrypt: Any, password: Any) -> None:
    with pytest.raises(PasswordError) as caught:
        decrypt(encoded, password)
    assert "sesam" not in str(caught.value)


@pytest.mark.parametrize("password", ["", "\x00\x1f\x7f\x9f", "\ud800", 7, "x" * 1025])
def test_unusable_passwords(password: Any, tmp_path: Path) -> None:
    for write in (
        lambda: encrypt_signing_key(ALICE.signing_key, password, _n=CHEAP),
        lambda: encrypt_envelope_key(ALICE.envelope_key, password, ALICE.public, _n=CHEAP),
        lambda: save_identity(tmp_path / "a", ALICE, password, _n=CHEAP),
    ):
        with pytest.raises(PasswordError) as caught:
            write()
        assert caught.value.__context__ is None
    assert not (tmp_path / "a").exists()


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Any:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        yield (*path, name)


def changed(encoded: bytes, path: tuple[str, ...], change: Any) -> bytes:
    tree = json.loads(encoded)
    inner = tree
    for name in path[:-1]:
        inner = inner[name]
    change(inner, path[-1])
    return json.dumps(tree).encode()


@BOTH
def test_every_field_is_needed_typed_and_alone(encoded: bytes, decrypt: Any) -> None:
    for path in leaves(json.loads(encoded)):
        if path != ("description",):
            with pytest.raises(KeystoreError):
                decrypt(changed(encoded, path, lambda inner, name: inner.pop(name)), PASSWORD)
        for value in (None, 1.5, True, [], {"a": 1}, -1, 2**70):
            with pytest.raises((KeystoreError, PasswordError)):
                decrypt(
                    changed(encoded, path, lambda inner, name, v=value: inner.update({name: v})),
                    PASSWORD,
                )
        with pytest.raises(KeystoreError):
            decrypt(
                changed(encoded, path, lambda inner, name: inner.update({"extra": ""})), PASSWORD
            )
    twice = encoded.replace(b'"version"', b'"version": 4, "version"', 1)
    with pytest.raises(KeystoreError):
        decrypt(twice, PASSWORD)


@BOTH
def test_other_bytes(encoded: bytes, decrypt: Any) -> None:
    for wrong in (
        b"", b"null", b"[]", b"{", b"[" * 20_000, b"\xff", encoded[:-3], encoded + b"{}",
        b"\xef\xbb\xbf" + encoded, encoded + b" " * MAX_FILE_BYTES, b"9" * 9000, b"NaN",
        encoded.decode(), None, bytearray(encoded),
    ):  # fmt: skip
        with pytest.raises(KeystoreError) as caught:
            decrypt(wrong, PASSWORD)
        assert caught.value.__context__ is None


@BOTH
@given(data=st.data())
def test_damage_never_opens(encoded: bytes, decrypt: Any, data: Any) -> None:
    place = data.draw(st.integers(0, len(encoded) - 1))
    bit = data.draw(st.integers(0, 7))
    damaged = bytearray(encoded)
    damaged[place] ^= 1 << bit
    try:
        opened = decrypt(bytes(damaged), PASSWORD)
    except OmpdError:
        return
    # White space, the case of digits, and what the EIP leaves unauthenticated.
    if decrypt is decrypt_envelope_key:
        assert opened[1] == decrypt(encoded, PASSWORD)[1]
        opened = opened[0]
        assert opened.to_bytes() == ALICE.envelope_key.to_bytes()
    else:
        assert opened.to_bytes() == ALICE.signing_key.to_bytes()


@BOTH
@given(junk=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_junk_gets_a_typed_error(encoded: bytes, decrypt: Any, junk: bytes) -> None:
    with pytest.raises(KeystoreError):
        decrypt(junk, PASSWORD)


@pytest.mark.parametrize("path", [("role",), ("rotation",), ("created",), ("uuid",), ("public",)])
def test_the_header_is_authentic(path: tuple[str, ...]) -> None:
    other = {
        "role": "cloud", "rotation": "", "created": 1, "public": HYBRID.public.to_bytes().hex(),
        "uuid": "1d85ae20-35c5-4611-98e8-aa14a633906f",
    }[path[0]]  # fmt: skip
    with pytest.raises(PasswordError):
        decrypt_envelope_key(
            changed(ENVELOPE, path, lambda inner, name: inner.update({name: other})), PASSWORD
        )
    # Order and spacing are not.
    shuffled = json.dumps(json.loads(ENVELOPE), indent=7, sort_keys=True).encode()
    assert decrypt_envelope_key(shuffled, PASSWORD)[1].rotation == b"statement"


@BOTH
@pytest.mark.parametrize(
    "params",
    [
        {"n": 2**30},
        {"n": 2**19},
        {"n": 2**18, "r": 9},
        {"n": 2**18, "r": 17},
        {"n": 2, "r": 1, "p": 2**21 + 2**14},
        {"n": 2**18, "p": 3},
        {"n": 2**10, "r": 8, "p": 2**20},
        {"n": 3},
        {"n": 1},
        {"n": 0},
        {"n": -2},
        {"r": 0},
        {"p": 0},
        {"dklen": 31},
        {"dklen": 2**31},
        {"salt": ""},
        {"salt": "00" * 65},
        {"salt": "zz" * 32},
        {"salt": "0" * 31},
        {"salt": " ".join(["00"] * 32)},
    ],
)
def test_hostile_costs(
    encoded: bytes, decrypt: Any, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("derived")

    monkeypatch.setattr(passwords, "Scrypt", never)
    hostile = changed(
        encoded, ("crypto", "kdf", "params"), lambda inner, name: inner[name].update(params)
    )
    with pytest.raises(KeystoreError):
        decrypt(hostile, PASSWORD)


def test_an_identity_file_needs_a_memory_hard_kdf() -> None:
    weak = json.loads(PBKDF2_VECTOR)["crypto"]["kdf"]
    with pytest.raises(KeystoreError, match="scrypt"):
        decrypt_envelope_key(
            changed(ENVELOPE, ("crypto", "kdf"), lambda inner, name: inner.update({name: weak})),
            PASSWORD,
        )


def test_hostile_pbkdf2_rounds() -> None:
    for rounds in (0, -1, 2**23 + 1, 2**31, 2**64):
        with pytest.raises(KeystoreError):
            decrypt_signing_key(
                changed(PBKDF2_VECTOR, ("crypto", "kdf", "params", "c"),
                        lambda inner, name, c=rounds: inner.update({name: c})),
                VECTOR_PASSWORD,
            )  # fmt: skip


def test_inner_contradictions() -> None:
    other = encrypt_signing_key(HYBRID.signing_key, PASSWORD, _n=CHEAP)
    with pytest.raises(KeystoreError, match="pubkey"):
        decrypt_signing_key(
            changed(SIGNING, ("pubkey",),
                    lambda inner, name: inner.update({name: json.loads(other)["pubkey"]})),
            PASSWORD,
        )  # fmt: skip

    class Zero:
        public_key = ALICE.public.signing_key

        def to_bytes(self) -> bytes:
            return bytes(32)

    with pytest.raises(KeystoreError, match="no signing key"):
        decrypt_signing_key(encrypt_signing_key(Zero(), PASSWORD, _n=CHEAP), PASSWORD)  # type: ignore[arg-type]


def test_errors_are_of_the_family() -> None:
    assert issubclass(KeystoreError, CryptoError)
    assert issubclass(PasswordError, CryptoError)


# --- folders --------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "alice"
    save_identity(folder, ALICE, PASSWORD, role="user", _n=CHEAP)
    return folder


def test_an_identity_comes_back(home: Path, scheme: Any) -> None:
    found = load_identity(home, PASSWORD, scheme)
    assert found.public == ALICE.public
    assert found.signing_key.to_bytes() == ALICE.signing_key.to_bytes()
    assert found.envelope_key.to_bytes() == ALICE.envelope_key.to_bytes()
    card = read_card(home)
    assert (card.public, card.role, card.rotation) == (ALICE.public, "user", b"")
    with pytest.raises(PasswordError):
        load_identity(home, "another", scheme)


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_modes_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_identity(tmp_path / "a", ALICE, PASSWORD, _n=CHEAP)
    finally:
        os.umask(before)
    files = sorted((tmp_path / "a").iterdir())
    assert [file.name[:8] for file in files] == ["identity", "signing-"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
@pytest.mark.parametrize("which", ["identity*", "signing*"])
def test_files_open_to_others_are_refused(home: Path, mode: int, which: str) -> None:
    next(home.glob(which)).chmod(mode)
    with pytest.raises(KeystoreError, match="0600"):
        load_identity(home, PASSWORD)


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_folders_open_to_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o750)
    with pytest.raises(KeystoreError, match="0700"):
        save_identity(tmp_path / "open", ALICE, PASSWORD, _n=CHEAP)
    assert not list((tmp_path / "open").iterdir())
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "no" / "parent"):
        with pytest.raises(KeystoreError):
            save_identity(folder, ALICE, PASSWORD, _n=CHEAP)


def test_missing_long_and_odd_files(home: Path) -> None:
    with pytest.raises(KeystoreError):
        load_identity(home / "none", PASSWORD)
    signing = next(home.glob("signing*"))
    signing.rename(home / "elsewhere")
    with pytest.raises(KeystoreError):
        load_identity(home, PASSWORD)
    write_private(signing, b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(KeystoreError, match="at most"):
        load_identity(home, PASSWORD)
    signing.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(signing, 0o600)
        with pytest.raises(KeystoreError, match="regular"):
            load_identity(home, PASSWORD)


def test_files_of_different_identities_do_not_mix(home: Path, tmp_path: Path) -> None:
    save_identity(tmp_path / "b", HYBRID, PASSWORD, _n=CHEAP)
    mine, theirs = next(home.glob("signing*")), next((tmp_path / "b").glob("signing*"))
    write_private(mine, theirs.read_bytes())
    with pytest.raises(KeystoreError, match="different identities"):
        load_identity(home, PASSWORD)


def test_nothing_is_overwritten_by_accident(home: Path) -> None:
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    with pytest.raises(KeystoreError, match="already"):
        save_identity(home, HYBRID, PASSWORD, _n=CHEAP)
    assert before == {file.name: file.read_bytes() for file in home.iterdir()}
    with pytest.raises(KeystoreError):
        write_private(home / "identity.json", b"", exclusive=True)
    assert before == {file.name: file.read_bytes() for file in home.iterdir()}


def test_replacing_keeps_the_old_files(home: Path) -> None:
    old = (home / "identity.json").read_bytes()
    save_identity(home, HYBRID, "new", rotation=b"signed", replace=True, _n=CHEAP)
    assert load_identity(home, "new").public == HYBRID.public
    assert read_card(home).rotation == b"signed"
    kept = home / f"identity-{ALICE.public.signing_key[:8].hex()}.json"
    assert kept.read_bytes() == old
    kept.replace(home / "identity.json")
    assert load_identity(home, PASSWORD).public == ALICE.public


@pytest.mark.parametrize("step", range(12))
def test_a_crash_leaves_the_old_identity_or_the_new(home: Path, step: int) -> None:
    code = (
        "import os, sys\n"
        "from ompd.crypto import EnvelopeKey, Identity, SigningKey, identity_files\n"
        "left = int(sys.argv[2])\n"
        "def dying(real):\n"
        "    def call(*a, **k):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left < 0: os._exit(9)\n"
        "        return real(*a, **k)\n"
        "    return call\n"
        "new = Identity('alice', SigningKey(6003), EnvelopeKey.from_bytes(b'\\1' + bytes(32)))\n"
        "for name in ('open', 'fsync', 'replace', 'unlink'):\n"
        "    setattr(os, name, dying(getattr(os, name)))\n"
        "identity_files.save_identity(sys.argv[1], new, 'new', replace=True, _n=16)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home), str(2 * step)], check=False, timeout=60
    )
    assert done.returncode in (0, 9)
    opened = 0
    for password, secret in ((PASSWORD, 6001), ("new", 6003)):
        try:
            assert load_identity(home, password).signing_key.to_bytes()[-2:] == secret.to_bytes(2)
            opened += 1
        except PasswordError:
            continue
    assert opened == 1


def test_nothing_secret_is_told(home: Path) -> None:
    marks = (ALICE.signing_key.to_bytes().hex(), ALICE.envelope_key.to_bytes().hex()[2:], PASSWORD)
    written = b"".join(file.read_bytes() for file in home.iterdir()).decode()
    told = repr(read_card(home)) + repr(decrypt_envelope_key(ENVELOPE, PASSWORD))
    for mark in marks:
        assert mark not in written
        assert mark not in told
