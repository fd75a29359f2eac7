"""Keys at rest: encrypted under a password, in files that only their owner can read.

An identity is a folder of two files.

``signing-<16 hex digits>.json``
    The BLS key as an EIP-2335 keystore, version 4; the digits begin its public key. Other tools
    can read it, and `ompd.crypto.keystore` reads theirs.
``identity.json``
    The envelope key under AES-256-GCM, and beside it in the clear what is public: the encoded
    `PublicIdentity`, the role, the statement of the last rotation. All of that is authenticated
    with the key. It names the signing key, so that replacing this one file switches from one
    identity to the next, and a crash at any moment leaves one of the two.

Both files stretch the password with scrypt at the same cost, since a guesser takes the cheaper one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ompd import files
from ompd.crypto.identity import Identity, PublicIdentity
from ompd.crypto.key_json import MAX_FILE_BYTES
from ompd.crypto.keystore import (
    IdentityCard,
    card_of,
    decrypt_envelope_key,
    decrypt_signing_key,
    encrypt_envelope_key,
    encrypt_signing_key,
)
from ompd.crypto.passwords import usable
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import KeystoreError

#: Seconds after which a file that was not finished is no longer anybody's.
_ABANDONED = 3600.0
#: Name of the file that makes a folder an identity.
IDENTITY_FILE = "identity.json"


def save_identity(
    folder: str | os.PathLike[str],
    identity: Identity,
    password: str,
    *,
    role: str = "",
    rotation: bytes = b"",
    replace: bool = False,
    _n: int | None = None,
) -> None:
    """Write an identity into a folder of its own, mode 0700, as two files of mode 0600.

    Parameters
    ----------
    folder : path
        Created if missing; its parent must exist.
    identity : Identity
    password : str
        Encrypts both keys.
    role, rotation
        As for `encrypt_envelope_key`.
    replace : bool, default False
        Whether the folder may hold an identity already. Its files are kept beside the new ones,
        ``identity.json`` under the name ``identity-<16 hex digits>.json``.

    Raises
    ------
    KeystoreError
        If the folder cannot be written, is open to others, or holds an identity.
    PasswordError
        If the password cannot be used.
    """
    usable(password)
    path = Path(folder)
    _private_folder(path)
    _sweep(path)
    current = path / IDENTITY_FILE
    taken = os.path.lexists(current)
    if taken and not replace:
        raise KeystoreError("folder: holds an identity already")
    with ThreadPoolExecutor(2) as pool:  # scrypt releases the interpreter lock
        signing = pool.submit(
            encrypt_signing_key,
            identity.signing_key,
            password,
            description=f"ompd signing key of {identity.id}",
            _n=_n,
        )
        envelope = pool.submit(
            encrypt_envelope_key,
            identity.envelope_key,
            password,
            identity.public,
            role=role,
            rotation=rotation,
            _n=_n,
        )
        contents = signing.result(), envelope.result()
    if taken:
        old = read_card(path)
        aside = path / f"identity-{old.public.signing_key[:8].hex()}.json"
        write_private(aside, _read_private(current))
    write_private(_signing_file(path, identity.public), contents[0])
    # From this rename on the folder is the new identity.
    write_private(current, contents[1], exclusive=not replace)


def load_identity(
    folder: str | os.PathLike[str],
    password: str,
    backend: str | SignatureBackend | None = None,
) -> Identity:
    """Read what `save_identity` wrote.

    Parameters
    ----------
    folder : path
    password : str
    backend : str or SignatureBackend, optional
        What the signing key will compute with; see `ompd.crypto.backend`.

    Raises
    ------
    KeystoreError
        If a file is missing, damaged, too costly, readable by others, or not the other's partner.
    PasswordError
        If the password is wrong, or a ciphertext or header damaged.
    """
    path = Path(folder)
    _sweep(path)
    encoded = _read_private(path / IDENTITY_FILE)
    named = card_of(encoded).public
    keystore = _read_private(_signing_file(path, named))
    with ThreadPoolExecutor(2) as pool:
        envelope = pool.submit(decrypt_envelope_key, encoded, password)
        signing = pool.submit(decrypt_signing_key, keystore, password, backend)
        (envelope_key, card), signing_key = envelope.result(), signing.result()
    if signing_key.public_key != card.public.signing_key:
        raise KeystoreError("folder: its two files belong to different identities")
    identity = Identity(card.public.id, signing_key, envelope_key)
    # Signatures are deterministic, so all of it must come out the same.
    if identity.public != card.public:
        raise KeystoreError("identity file: its proof or binding is not this identity's")
    return identity


def read_card(folder: str | os.PathLike[str]) -> IdentityCard:
    """Return what a folder tells of its identity without the password.

    Raises
    ------
    KeystoreError
        If ``identity.json`` is missing, damaged or readable by others.
    """
    return card_of(_read_private(Path(folder) / IDENTITY_FILE))


def write_private(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    """Write a file of mode 0600 so that it appears as a whole or not at all, even after a crash.

    Parameters
    ----------
    path : Path
    content : bytes
    exclusive : bool, default False
        Whether a file that is there already is an error, instead of being replaced.

    Raises
    ------
    KeystoreError
        If the file system refuses.
    """
    with files.refusing(KeystoreError, path.name):
        files.write_private(path, [content], exclusive=exclusive)


def read_private(path: Path) -> bytes:
    """Read a small secret file, such as one that holds a password.

    Raises
    ------
    KeystoreError
        If it is missing, no regular file, above 32 KiB or readable by others.
    """
    return _read_private(path)


def _sweep(path: Path) -> None:
    # The folder has no lock, so what another process is writing just now stays.
    with contextlib.suppress(OSError):
        files.sweep(path, older_than=_ABANDONED)


def _signing_file(folder: Path, public: PublicIdentity) -> Path:
    return folder / f"signing-{public.signing_key[:8].hex()}.json"


def _private_folder(path: Path) -> None:
    with files.refusing(KeystoreError, "folder"):
        with contextlib.suppress(FileExistsError):  # by something else than a folder
            files.make_folder(path)
        mode = path.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise KeystoreError("folder: expected a folder")
    if os.name == "posix" and mode & 0o077:
        raise KeystoreError(
            f"folder: expected mode 0700, got {stat.S_IMODE(mode):04o}; others could enter it"
        )


def _read_private(path: Path) -> bytes:
    with files.refusing(KeystoreError, path.name):
        # Without waiting: a pipe in the file's place is refused below instead of being read.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            # Of the opened file, not of the name, which may be changed in between.
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise KeystoreError(f"{path.name}: expected a regular file")
            if os.name == "posix" and mode & 0o077:
                raise KeystoreError(
                    f"{path.name}: expected mode 0600, got {stat.S_IMODE(mode):04o}; "
                    "others could read or change it"
                )
            content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise KeystoreError(f"{path.name}: expected at most {MAX_FILE_BYTES} bytes")
    return content
