"""The secret that a person's records are sealed under: made once, kept beside the identity."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ompd.crypto import Identity, encrypt
from ompd.errors import OmpdError, StoreError
from ompd.files import refusing, write_private
from ompd.share import SharingKey

#: Name of the file in the folder of an identity.
FILE = "sharing.key"
_INFO = b"ompd sharing key v1\x00"


def open_sharing_key(identity: Identity, folder: str | os.PathLike[str]) -> SharingKey:
    """Return the sharing key in the folder of an identity; one is made when there is none.

    Parameters
    ----------
    identity : Identity
        To whose envelope key the file is encrypted.
    folder : path

    Raises
    ------
    StoreError
        If the file cannot be read or written, or is another identity's. It is never replaced: what
        is sealed under a key is lost with it.
    """
    path = Path(folder) / FILE
    info = _INFO + identity.id.encode()
    backend = identity.signing_key.backend
    with refusing(StoreError, FILE):
        if not os.path.lexists(path):
            made = SharingKey.generate(backend)
            sealed = encrypt(identity.envelope_key.public_bytes, made.to_bytes(), info)
            # Somebody else may be faster; then theirs is the key.
            with contextlib.suppress(FileExistsError):
                write_private(path, [sealed], exclusive=True)
        data = path.read_bytes()
    with contextlib.suppress(OmpdError):
        return SharingKey(identity.envelope_key.decrypt(data, info), backend)
    raise StoreError(f"{FILE}: is damaged or of other keys")
