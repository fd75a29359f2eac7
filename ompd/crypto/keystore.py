"""Single keys at rest, encrypted under a password.

The signing key becomes an EIP-2335 keystore, version 4; other tools can read it, and
`decrypt_signing_key` reads theirs. The envelope key becomes the content of ``identity.json``; see
`ompd.crypto.identity_files`, which keeps the two in a folder.

Notes
-----
EIP-2335 authenticates the ciphertext only: its checksum says nothing about pubkey, path, uuid and
description. The pubkey is therefore compared with the decrypted key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import time
import unicodedata
import uuid
from typing import Annotated, Any, Literal, Never, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ompd.crypto.identity import PublicIdentity
from ompd.crypto.keys import SECRET_BYTES, EnvelopeKey, SigningKey
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import KeystoreError, OmpdError, PasswordError

#: Largest key file that is read, in bytes; a post-quantum identity takes some 8 KB.
MAX_FILE_BYTES = 32 * 1024
#: Longest password, in characters after normalisation.
MAX_PASSWORD = 1024

# What EIP-2335 uses in its own vectors: 256 MiB, about a second.
_SCRYPT_N = 1 << 18
_SCRYPT_R = 8
_SCRYPT_P = 1
# What a stranger's file may ask for: no more memory than our own, and twice the time.
_MAX_SCRYPT_BYTES = 128 * (_SCRYPT_N + 1024) * _SCRYPT_R
_MAX_SCRYPT_BLOCKS = 1 << 22  # N * r * p
_MAX_PBKDF2_ROUNDS = 1 << 23

_DERIVED_BYTES = 32
_SALT_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*", re.ASCII)
_AAD_LABEL = b"ompd/identity-file/1\x00"

T = TypeVar("T")
_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Uuid = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything that is read from a key file."""


class _ScryptParams(_Strict, frozen=True):
    dklen: Literal[32]
    n: _Positive
    r: _Positive
    p: _Positive
    salt: str


class _Pbkdf2Params(_Strict, frozen=True):
    dklen: Literal[32]
    c: _Positive
    prf: Literal["hmac-sha256"]
    salt: str


class _ScryptKdf(_Strict, frozen=True, tag_field="function", tag="scrypt"):
    params: _ScryptParams
    message: Literal[""]


class _Pbkdf2Kdf(_Strict, frozen=True, tag_field="function", tag="pbkdf2"):
    params: _Pbkdf2Params
    message: Literal[""]


class _NoParams(_Strict, frozen=True):
    pass


class _Checksum(_Strict, frozen=True):
    function: Literal["sha256"]
    params: _NoParams
    message: str


class _CtrParams(_Strict, frozen=True):
    iv: str


class _CtrCipher(_Strict, frozen=True):
    function: Literal["aes-128-ctr"]
    params: _CtrParams
    message: str


class _Crypto(_Strict, frozen=True):
    kdf: _ScryptKdf | _Pbkdf2Kdf
    checksum: _Checksum
    cipher: _CtrCipher


class _Keystore(_Strict, frozen=True):
    crypto: _Crypto
    pubkey: str
    path: str
    uuid: _Uuid
    version: Literal[4]
    description: str = ""


class _GcmParams(_Strict, frozen=True):
    nonce: str


class _GcmCipher(_Strict, frozen=True):
    function: Literal["aes-256-gcm"]
    params: _GcmParams
    message: str


class _IdentityCrypto(_Strict, frozen=True):
    # A union, since only there does msgspec insist on the tag.
    kdf: _ScryptKdf | _Pbkdf2Kdf
    cipher: _GcmCipher


class _IdentityFile(_Strict, frozen=True):
    crypto: _IdentityCrypto
    format: Literal["ompd-identity"]
    version: Literal[1]
    uuid: _Uuid
    created: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    public: str
    role: Annotated[str, msgspec.Meta(max_length=32)]
    rotation: str

    def associated_data(self) -> bytes:
        """Everything but the ciphertext, whatever the order and spacing in the file."""
        cipher = msgspec.structs.replace(self.crypto.cipher, message="")
        crypto = msgspec.structs.replace(self.crypto, cipher=cipher)
        header = msgspec.structs.replace(self, crypto=crypto)
        return _AAD_LABEL + msgspec.json.encode(header, order="deterministic")


class IdentityCard(msgspec.Struct, frozen=True):
    """What an identity's folder tells without the password. Not authentic before it is opened.

    Attributes
    ----------
    public : PublicIdentity
    role : str
        What the owner said it would be; the registry's word counts.
    created : int
        Seconds since the epoch.
    rotation : bytes
        Statement with which these keys follow their predecessors; empty for the first ones.
    """

    public: PublicIdentity
    role: str
    created: int
    rotation: bytes


# --- single keys ---------------------------------------------------------------------------------


def encrypt_signing_key(
    key: SigningKey, password: str, *, description: str = "", _n: int | None = None
) -> bytes:
    """Return a signing key as an EIP-2335 keystore under scrypt and AES-128-CTR.

    Parameters
    ----------
    key : SigningKey
    password : str
        Normalised as the EIP has it: NFKD, then without control characters, in UTF-8.
    description : str
        Put into the file in the clear.

    Returns
    -------
    bytes
        JSON.

    Raises
    ------
    PasswordError
        If the password is no string, empty, too long or not encodable.
    """
    kdf = _new_kdf(_n)
    derived = _derive(kdf, _usable(password))
    iv = secrets.token_bytes(16)
    message = _ctr(derived, iv, key.to_bytes())
    keystore = _Keystore(
        crypto=_Crypto(
            kdf=kdf,
            checksum=_Checksum("sha256", _NoParams(), _checksum(derived, message).hex()),
            cipher=_CtrCipher("aes-128-ctr", _CtrParams(iv.hex()), message.hex()),
        ),
        pubkey=key.public_key.hex(),
        path="",
        uuid=str(uuid.uuid4()),
        version=4,
        description=description,
    )
    return _to_json(keystore)


def decrypt_signing_key(
    encoded: bytes, password: str, backend: str | SignatureBackend | None = None
) -> SigningKey:
    """Open an EIP-2335 keystore, also another tool's.

    Parameters
    ----------
    encoded : bytes
        JSON of at most 32 KiB; scrypt or PBKDF2, SHA-256, AES-128-CTR.
    password : str
    backend : str or SignatureBackend, optional
        What the key will compute with; see `ompd.crypto.backend`.

    Raises
    ------
    KeystoreError
        If the file is no such keystore, asks for too much work or contradicts itself.
    PasswordError
        If the password is wrong or the ciphertext damaged: the checksum cannot tell which.
    """
    keystore = _parse(encoded, _Keystore)
    crypto = keystore.crypto
    iv = _unhex(crypto.cipher.params.iv, "iv", 16)
    message = _unhex(crypto.cipher.message, "cipher message", SECRET_BYTES)
    checksum = _unhex(crypto.checksum.message, "checksum message", 32)
    public_key = _unhex(keystore.pubkey, "pubkey", 48)
    derived = _derive(crypto.kdf, _normalise(password))
    if not hmac.compare_digest(_checksum(derived, message), checksum):
        raise PasswordError("password: is wrong, or the keystore is damaged")
    try:
        key = SigningKey.from_bytes(_ctr(derived, iv, message), backend)
    except OmpdError as error:
        problem: OmpdError | None = error
    else:
        problem = None
    if problem is not None:
        # A missing backend is the machine's fault and keeps its own error.
        if isinstance(problem, ImportError):
            raise problem
        raise KeystoreError("keystore: its content is no signing key")
    if key.public_key != public_key:
        raise KeystoreError("pubkey: does not belong to the key inside")
    return key


def encrypt_envelope_key(
    key: EnvelopeKey,
    password: str,
    public: PublicIdentity,
    *,
    role: str = "",
    rotation: bytes = b"",
    _n: int | None = None,
) -> bytes:
    """Return an envelope key as the content of ``identity.json``.

    Parameters
    ----------
    key : EnvelopeKey
    password : str
        As for `encrypt_signing_key`.
    public : PublicIdentity
        Whose key it is.
    role : str
        At most 32 characters.
    rotation : bytes
        Statement to keep with the key.

    Raises
    ------
    PasswordError
        As for `encrypt_signing_key`.
    KeystoreError
        If the key is not that identity's.
    """
    if key.public_bytes != public.envelope_key:
        raise KeystoreError("key: is not the envelope key of this identity")
    kdf = _new_kdf(_n)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    blank = _IdentityFile(
        crypto=_IdentityCrypto(kdf, _GcmCipher("aes-256-gcm", _GcmParams(nonce.hex()), "")),
        format="ompd-identity",
        version=1,
        uuid=str(uuid.uuid4()),
        created=int(time.time()),
        public=public.to_bytes().hex(),
        role=role,
        rotation=rotation.hex(),
    )
    # The salt is fresh, so the AES key serves for this one message.
    cipher = AESGCM(_derive(kdf, _usable(password)))
    message = cipher.encrypt(nonce, key.to_bytes(), blank.associated_data()).hex()
    sealed = msgspec.structs.replace(blank.crypto.cipher, message=message)
    crypto = msgspec.structs.replace(blank.crypto, cipher=sealed)
    encoded = _to_json(msgspec.structs.replace(blank, crypto=crypto))
    _parse(encoded, _IdentityFile)  # what could not be read again is not written either
    return encoded


def decrypt_envelope_key(encoded: bytes, password: str) -> tuple[EnvelopeKey, IdentityCard]:
    """Open the content of ``identity.json``; the card is authentic then.

    Raises
    ------
    KeystoreError
        If the file has another form, asks for too much work or contradicts itself.
    PasswordError
        If the password is wrong or anything in the file was changed.
    """
    file = _parse(encoded, _IdentityFile)
    if not isinstance(file.crypto.kdf, _ScryptKdf):
        raise KeystoreError("kdf: expected scrypt, which costs a guesser memory as well")
    card = _card(file)
    nonce = _unhex(file.crypto.cipher.params.nonce, "nonce", _NONCE_BYTES)
    message = _unhex(file.crypto.cipher.message, "cipher message")
    cipher = AESGCM(_derive(file.crypto.kdf, _normalise(password)))
    raw: bytes | None = None
    with contextlib.suppress(InvalidTag, ValueError):
        raw = cipher.decrypt(nonce, message, file.associated_data())
    if raw is None:
        raise PasswordError("password: is wrong, or the identity file is damaged")
    key: EnvelopeKey | None = None
    with contextlib.suppress(OmpdError):
        key = EnvelopeKey.from_bytes(raw)
    if key is None or key.public_bytes != card.public.envelope_key:
        raise KeystoreError("identity file: its content is not the envelope key that it names")
    return key, card


# --- passwords and what they become --------------------------------------------------------------


def _normalise(password: object) -> bytes:
    """Password as EIP-2335 feeds it to the key derivation."""
    if type(password) is not str:
        raise PasswordError(f"password: expected str, got {type(password).__name__}")
    # NFKD makes one character at most 18, so this bounds the work as well.
    if len(password) > MAX_PASSWORD:
        raise PasswordError(f"password: expected at most {MAX_PASSWORD} characters")
    kept = "".join(
        character
        for character in unicodedata.normalize("NFKD", password)
        if not (ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F)
    )
    encoded: bytes | None = None
    # The codec's error would carry the password.
    with contextlib.suppress(UnicodeEncodeError):
        encoded = kept.encode()
    if encoded is None:
        raise PasswordError("password: expected characters that UTF-8 can encode")
    return encoded


def _usable(password: object) -> bytes:
    """Like `_normalise`, for a password that is to protect something."""
    normalised = _normalise(password)
    if not normalised:
        raise PasswordError("password: expected at least one character besides control characters")
    return normalised


def _new_kdf(n: int | None) -> _ScryptKdf:
    salt = secrets.token_bytes(_SALT_BYTES).hex()
    cost = _SCRYPT_N if n is None else n
    params = _ScryptParams(dklen=32, n=cost, r=_SCRYPT_R, p=_SCRYPT_P, salt=salt)
    return _ScryptKdf(params, message="")


def _derive(kdf: _ScryptKdf | _Pbkdf2Kdf, password: bytes) -> bytes:
    """Stretch a password to 32 bytes, if the file asks for no more than the caps."""
    salt = _unhex(kdf.params.salt, "salt")
    if not 8 <= len(salt) <= 64:
        raise KeystoreError(f"salt: expected 8 to 64 bytes, got {len(salt)}")
    if isinstance(kdf, _Pbkdf2Kdf):
        if kdf.params.c > _MAX_PBKDF2_ROUNDS:
            raise KeystoreError("kdf: asks for more time than the cap allows")
        return hashlib.pbkdf2_hmac("sha256", password, salt, kdf.params.c, _DERIVED_BYTES)
    n, r, p = kdf.params.n, kdf.params.r, kdf.params.p
    if n < 2 or n & (n - 1):
        raise KeystoreError("kdf: expected n to be a power of two above 1")
    if 128 * (n + p) * r > _MAX_SCRYPT_BYTES or n * r * p > _MAX_SCRYPT_BLOCKS:
        raise KeystoreError("kdf: asks for more memory or time than the caps allow")
    derived: bytes | None = None
    with contextlib.suppress(ValueError, MemoryError):
        derived = Scrypt(salt=salt, length=_DERIVED_BYTES, n=n, r=r, p=p).derive(password)
    if derived is None:
        raise KeystoreError("kdf: cannot be computed here")
    return derived


def _checksum(derived: bytes, message: bytes) -> bytes:
    return hashlib.sha256(derived[16:32] + message).digest()


def _ctr(derived: bytes, iv: bytes, content: bytes) -> bytes:
    # Its own inverse. The second half of the derived key serves the checksum.
    stream = Cipher(AES(derived[:16]), CTR(iv)).encryptor()
    return stream.update(content) + stream.finalize()


# --- JSON ----------------------------------------------------------------------------------------


def _to_json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _parse(encoded: object, form: type[T]) -> T:
    """Decode strictly: no unknown, missing or repeated fields, no other types."""
    if type(encoded) is not bytes:
        raise KeystoreError(f"encoded: expected bytes, got {type(encoded).__name__}")
    if len(encoded) > MAX_FILE_BYTES:
        raise KeystoreError(f"encoded: expected at most {MAX_FILE_BYTES} bytes")
    parsed: T | None = None
    # The decoders' own errors quote what they read.
    with contextlib.suppress(ValueError, RecursionError):
        tree = json.loads(
            encoded.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant
        )
        parsed = msgspec.convert(tree, form, strict=True)
    if parsed is None:
        raise KeystoreError("encoded: expected the JSON of a key file, each field once")
    return parsed


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is repeated")
    return found


def _no_constant(_: str) -> Never:
    raise ValueError("not a number of JSON")


def _unhex(text: str, name: str, length: int | None = None) -> bytes:
    # bytes.fromhex alone would pass over white space.
    if not _HEX.fullmatch(text):
        raise KeystoreError(f"{name}: expected hexadecimal digits in pairs")
    raw = bytes.fromhex(text)
    if length is not None and len(raw) != length:
        raise KeystoreError(f"{name}: expected {length} bytes, got {len(raw)}")
    return raw


def _card(file: _IdentityFile) -> IdentityCard:
    rotation = _unhex(file.rotation, "rotation")
    raw = _unhex(file.public, "public")
    public: PublicIdentity | None = None
    with contextlib.suppress(OmpdError):
        public = PublicIdentity.from_bytes(raw)
    if public is None:
        raise KeystoreError("public: expected an encoded public identity")
    return IdentityCard(public, file.role, file.created, rotation)
