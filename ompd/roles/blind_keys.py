"""The key of a user for blind queries: made once, and kept beside the user's identity."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from ompd.confidential import Confidential
from ompd.crypto import Identity, encrypt
from ompd.errors import OmpdError, StoreError
from ompd.files import refusing, write_private
from ompd.scoring import SecretKey

#: Name of the file in the folder of an identity.
FILE = "blind.key"
_INFO = b"ompd blind key v1\x00"


class BlindKeys(Confidential):
    """Gives a user's key for blind queries, and makes it when it is first needed.

    Parameters
    ----------
    identity : Identity
        To whose envelope key the file is encrypted: new keys of the identity begin with a new one.
    folder : path, optional
        Where the file is; by default the key ends with the process.
    """

    def __init__(self, identity: Identity, folder: str | os.PathLike[str] | None = None) -> None:
        self._identity = identity
        self._path = None if folder is None else Path(folder) / FILE
        self._lock = threading.Lock()
        self._key: SecretKey | None = None

    def get(self) -> SecretKey:
        """Return the key.

        Raises
        ------
        StoreError
            If the file cannot be read or written, or is another identity's.
        """
        with self._lock:
            if self._key is None:
                self._key = self._read() or self._make()
            return self._key

    def _read(self) -> SecretKey | None:
        if self._path is None or not os.path.lexists(self._path):
            return None
        with refusing(StoreError, FILE):
            data = self._path.read_bytes()
        info = _INFO + self._identity.id.encode()
        with contextlib.suppress(OmpdError):
            return SecretKey.from_bytes(self._identity.envelope_key.decrypt(data, info))
        raise StoreError(
            f"{FILE}: is damaged or of other keys; remove it, and the next key is made and enrolled"
        )

    def _make(self) -> SecretKey:
        key = SecretKey.generate()
        if self._path is not None:
            info = _INFO + self._identity.id.encode()
            sealed = encrypt(self._identity.envelope_key.public_bytes, key.to_bytes(), info)
            with refusing(StoreError, FILE):
                write_private(self._path, [sealed])
        return key
