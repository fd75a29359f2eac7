"""Short-lived keys at rest, in the folder of the identity that they belong to.

``prekeys.json`` has the private halves under AES-256-GCM, with the password stretched as for the
other files, and the present statement beside them in the clear. It is replaced as a whole whenever
a key is added or its time is over, so that a deleted key is in no file any more; what a crash left
beside it goes before anything else is done. A copy of it, such as a backup, keeps the keys that it
has: do not make one. ``lock`` is locked by whoever reads or replaces it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ompd.crypto.identity import Identity
from ompd.crypto.identity_files import read_private, write_private
from ompd.crypto.key_json import GcmCipher, GcmParams, Strict, parse, to_json, unhex
from ompd.crypto.keys import EnvelopeKey
from ompd.crypto.passwords import ScryptKdf, derived_key, new_kdf, normalised, usable
from ompd.crypto.prekeys import LIFETIME, OVERLAP, Held, Prekeys, SignedPrekey
from ompd.errors import KeystoreError, OmpdError, PasswordError
from ompd.files import FolderLock, is_spare, refusing

#: Name of the file.
PREKEY_FILE = "prekeys.json"

_AAD_LABEL = b"ompd/prekey-file/1\x00"
_NONCE_BYTES = 12


class _Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One key inside the ciphertext."""

    private: bytes
    statement: SignedPrekey
    until: int


class _PrekeyFile(Strict, frozen=True):
    format: Literal["ompd-prekeys"]
    version: Literal[1]
    signing_key: str
    present: str
    kdf: ScryptKdf
    cipher: GcmCipher

    def associated_data(self) -> bytes:
        """Everything but the ciphertext."""
        cipher = msgspec.structs.replace(self.cipher, message="")
        header = msgspec.structs.replace(self, cipher=cipher)
        return _AAD_LABEL + msgspec.json.encode(header, order="deterministic")


def open_prekeys(
    folder: str | os.PathLike[str],
    password: str,
    identity: Identity,
    *,
    clock: Callable[[], float] = time.time,
    lifetime: float = LIFETIME,
    overlap: float = OVERLAP,
    _n: int | None = None,
) -> Prekeys:
    """Return the short-lived keys of an identity, which from now on are kept in its folder.

    Keys whose time is over are deleted at once, and those of an earlier generation of the identity
    when the next one is made. One process at a time may make new ones.

    Parameters
    ----------
    folder : path
        Of the identity; see `ompd.crypto.identity_files`.
    password : str
    identity : Identity
    clock, lifetime, overlap
        As for `Prekeys`.

    Raises
    ------
    KeystoreError
        If the file is damaged, too costly, readable by others or contradicts itself; from every
        change, if another process changed it meanwhile.
    PasswordError
        If the password is wrong, or anything in the file was changed.
    """
    path = Path(folder) / PREKEY_FILE
    with _locked(path.parent):
        last = read_private(path) if os.path.lexists(path) else None
    written = last
    held: tuple[Held, ...] = ()
    file = None if last is None else parse(last, _PrekeyFile)
    if file is not None and unhex(file.signing_key, "signing_key") == identity.public.signing_key:
        kdf = file.kdf
        key = AESGCM(derived_key(kdf, normalised(password)))
        held = _opened(file, key, identity)
    else:
        kdf = new_kdf(_n)
        key = AESGCM(derived_key(kdf, usable(password)))

    def save(kept: tuple[Held, ...]) -> None:
        nonlocal last, written
        with _locked(path.parent):
            now = read_private(path) if os.path.lexists(path) else None
            # The second is there if all but the syncing of the folder went well.
            if now not in (last, written):
                raise KeystoreError(f"{PREKEY_FILE}: another process has changed it")
            written = _written(kept, kdf, key, identity)
            write_private(path, written, exclusive=now is None)
            last = written

    prekeys = Prekeys(
        identity, clock=clock, lifetime=lifetime, overlap=overlap, held=held, save=save
    )
    prekeys.expire()
    return prekeys


def read_prekey(folder: str | os.PathLike[str], signing_key: bytes) -> SignedPrekey | None:
    """Return the present statement, without the password; None if there is none of this identity.

    Raises
    ------
    KeystoreError
        If the file is damaged or readable by others.
    """
    path = Path(folder) / PREKEY_FILE
    if not os.path.lexists(path):
        return None
    file = parse(read_private(path), _PrekeyFile)
    if not file.present or unhex(file.signing_key, "signing_key") != signing_key:
        return None
    raw = unhex(file.present, "present")
    found: SignedPrekey | None = None
    # The decoder's own errors quote what they read.
    with contextlib.suppress(ValueError):
        found = msgspec.msgpack.decode(raw, type=SignedPrekey)
    if found is None:
        raise KeystoreError("present: expected an encoded short-lived key")
    return found


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other writers away, and remove what one that crashed left: it has private keys."""
    with refusing(KeystoreError, PREKEY_FILE):
        lock = FolderLock(folder, wait=True)
    try:
        with refusing(KeystoreError, PREKEY_FILE):
            for path in folder.iterdir():
                if path.name.startswith(f".{PREKEY_FILE}.") and is_spare(path.name):
                    path.unlink()
        yield
    finally:
        lock.release()


def _written(kept: tuple[Held, ...], kdf: ScryptKdf, key: AESGCM, identity: Identity) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    blank = _PrekeyFile(
        format="ompd-prekeys",
        version=1,
        signing_key=identity.public.signing_key.hex(),
        present=msgspec.msgpack.encode(kept[-1].statement).hex() if kept else "",
        kdf=kdf,
        cipher=GcmCipher("aes-256-gcm", GcmParams(nonce.hex()), ""),
    )
    plain = msgspec.msgpack.encode(
        [_Kept(each.key.to_bytes(), each.statement, each.until) for each in kept]
    )
    message = key.encrypt(nonce, plain, blank.associated_data()).hex()
    cipher = msgspec.structs.replace(blank.cipher, message=message)
    return to_json(msgspec.structs.replace(blank, cipher=cipher))


def _opened(file: _PrekeyFile, key: AESGCM, identity: Identity) -> tuple[Held, ...]:
    nonce = unhex(file.cipher.params.nonce, "nonce", _NONCE_BYTES)
    message = unhex(file.cipher.message, "cipher message")
    raw: bytes | None = None
    with contextlib.suppress(InvalidTag, ValueError):
        raw = key.decrypt(nonce, message, file.associated_data())
    if raw is None:
        raise PasswordError("password: is wrong, or the file of short-lived keys is damaged")
    held: tuple[Held, ...] | None = None
    with contextlib.suppress(OmpdError, ValueError):
        kept = msgspec.msgpack.decode(raw, type=list[_Kept])
        held = tuple(
            Held(each.statement, EnvelopeKey.from_bytes(each.private), each.until) for each in kept
        )
    backend = identity.signing_key.backend
    if held is None or any(each.key.public_bytes != each.statement.envelope_key for each in held):
        raise KeystoreError("prekey file: its content is not what it names")
    for each in held:
        each.statement.check_form(identity.envelope_key.suite)
        each.statement.verify(identity.id, identity.public.signing_key, backend)
    return held
