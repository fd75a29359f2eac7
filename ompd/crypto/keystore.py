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
import secrets
import time
import uuid
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from ompd.crypto.identity import PublicIdentity
from ompd.crypto.key_json import GcmCipher, GcmParams, Strict, parse, to_json, unhex
from ompd.crypto.keys import SECRET_BYTES, EnvelopeKey, SigningKey
from ompd.crypto.passwords import Pbkdf2Kdf, ScryptKdf, derived_key, new_kdf, normalised, usable
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import KeystoreError, OmpdError, PasswordError

_NONCE_BYTES = 12
_TAG_BYTES = 16
_AAD_LABEL = b"ompd/identity-file/1\x00"

_Uuid = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")]


class _NoParams(Strict, frozen=True):
    pass


class _Checksum(Strict, frozen=True):
    function: Literal["sha256"]
    params: _NoParams
    message: str


class _CtrParams(Strict, frozen=True):
    iv: str


class _CtrCipher(Strict, frozen=True):
    function: Literal["aes-128-ctr"]
    params: _CtrParams
    message: str


class _Crypto(Strict, frozen=True):
    kdf: ScryptKdf | Pbkdf2Kdf
    checksum: _Checksum
    cipher: _CtrCipher


class _Keystore(Strict, frozen=True):
    crypto: _Crypto
    pubkey: str
    path: str
    uuid: _Uuid
    version: Literal[4]
    description: str = ""


class _IdentityCrypto(Strict, frozen=True):
    # A union, since only there does msgspec insist on the tag.
    kdf: ScryptKdf | Pbkdf2Kdf
    cipher: GcmCipher


class _IdentityFile(Strict, frozen=True):
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
    kdf = new_kdf(_n)
    derived = derived_key(kdf, usable(password))
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
    return to_json(keystore)


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
    keystore = parse(encoded, _Keystore)
    crypto = keystore.crypto
    iv = unhex(crypto.cipher.params.iv, "iv", 16)
    message = unhex(crypto.cipher.message, "cipher message", SECRET_BYTES)
    checksum = unhex(crypto.checksum.message, "checksum message", 32)
    public_key = unhex(keystore.pubkey, "pubkey", 48)
    derived = derived_key(crypto.kdf, normalised(password))
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
    kdf = new_kdf(_n)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    blank = _IdentityFile(
        crypto=_IdentityCrypto(kdf, GcmCipher("aes-256-gcm", GcmParams(nonce.hex()), "")),
        format="ompd-identity",
        version=1,
        uuid=str(uuid.uuid4()),
        created=int(time.time()),
        public=public.to_bytes().hex(),
        role=role,
        rotation=rotation.hex(),
    )
    # The salt is fresh, so the AES key serves for this one message.
    cipher = AESGCM(derived_key(kdf, usable(password)))
    message = cipher.encrypt(nonce, key.to_bytes(), blank.associated_data()).hex()
    sealed = msgspec.structs.replace(blank.crypto.cipher, message=message)
    crypto = msgspec.structs.replace(blank.crypto, cipher=sealed)
    encoded = to_json(msgspec.structs.replace(blank, crypto=crypto))
    parse(encoded, _IdentityFile)  # what could not be read again is not written either
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
    file = parse(encoded, _IdentityFile)
    if not isinstance(file.crypto.kdf, ScryptKdf):
        raise KeystoreError("kdf: expected scrypt, which costs a guesser memory as well")
    card = _card(file)
    nonce = unhex(file.crypto.cipher.params.nonce, "nonce", _NONCE_BYTES)
    message = unhex(file.crypto.cipher.message, "cipher message")
    cipher = AESGCM(derived_key(file.crypto.kdf, normalised(password)))
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


def _checksum(derived: bytes, message: bytes) -> bytes:
    return hashlib.sha256(derived[16:32] + message).digest()


def _ctr(derived: bytes, iv: bytes, content: bytes) -> bytes:
    # Its own inverse. The second half of the derived key serves the checksum.
    stream = Cipher(AES(derived[:16]), CTR(iv)).encryptor()
    return stream.update(content) + stream.finalize()


def card_of(encoded: bytes) -> IdentityCard:
    """Read what an encrypted envelope key tells without the password.

    Raises
    ------
    KeystoreError
        If it is not the content of an identity file.
    """
    return _card(parse(encoded, _IdentityFile))


def _card(file: _IdentityFile) -> IdentityCard:
    rotation = unhex(file.rotation, "rotation")
    raw = unhex(file.public, "public")
    public: PublicIdentity | None = None
    with contextlib.suppress(OmpdError):
        public = PublicIdentity.from_bytes(raw)
    if public is None:
        raise KeystoreError("public: expected an encoded public identity")
    return IdentityCard(public, file.role, file.created, rotation)
