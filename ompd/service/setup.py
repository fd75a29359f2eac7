"""A working configuration for one hospital, one cloud and one user on one machine."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from ompd.crypto import Identity, PublicIdentity, check_id
from ompd.crypto.identity_files import save_identity, write_private
from ompd.crypto.prekey_files import open_prekeys
from ompd.errors import ParameterError, StoreError
from ompd.files import make_folder, refusing
from ompd.params import Role, check_profile
from ompd.stores.registry import Registry

_HEAD = """\
# Made by `ompd init`. Paths are relative to this file.
"""

_PARTY = """\
id = "{id}"
identity = "{role}/identity"
password_file = "{role}/password"
# Whom this party knows: `ompd keys admit` and `revoke`.
registry = "{role}/registry.db"
"""

_LISTEN = """\
[listen]
host = "127.0.0.1"
port = {port}
# For this machine: figures, and the commands of its owner.
metrics_port = {metrics_port}

# Needed as soon as others than this machine connect, unless a proxy before it has it.
# [listen.tls]
# certificate = "certificate.pem"
# key = "key.pem"
# clients = "authorities-of-clients.pem"
"""

_CONNECT = """\
# How this party connects to {others} by https.
# [connect]
# authorities = "authorities.pem"
# certificate = "certificate.pem"
# key = "key.pem"
"""

_HOSPITAL = (
    _HEAD
    + _PARTY
    + """\
# Tables, the queries that were accepted, and the audit log. It holds keys in the clear.
state = "hospital/state"
# What a table tells its cloud: "sealed" (nothing but sizes and times), "hardened" or "paper".
profile = "{profile}"
# Processes for signatures; not more than there are cores.
signers = 2
# What one user may take of what all share.
users_share = 0.5

"""
    + _LISTEN
    + """\

[clouds]
"{cloud}" = "http://127.0.0.1:{cloud_port}"

"""
    + _CONNECT
)

_CLOUD = (
    _HEAD
    + _PARTY
    + """\
# Tables, and the jobs that were answered.
state = "cloud/state"

"""
    + _LISTEN
)

_USER = (
    _HEAD
    + _PARTY
    + """\
hospital = "{hospital}"
url = "http://127.0.0.1:{port}"
# What a table may tell its cloud at most, to be asked.
least_profile = "{profile}"

"""
    + _CONNECT
)


class Ports(NamedTuple):
    """Where the two servers listen; 0 for any port that is free, which is for tests."""

    hospital: int = 8111
    hospital_metrics: int = 9111
    cloud: int = 8112
    cloud_metrics: int = 9112


class Ids(NamedTuple):
    """Under which names the parties know one another."""

    hospital: str = "hospital"
    cloud: str = "cloud"
    user: str = "user"


def set_up(
    folder: Path,
    *,
    profile: str = "sealed",
    ids: Ids = Ids(),  # noqa: B008  (it is immutable)
    ports: Ports = Ports(),  # noqa: B008
    _n: int | None = None,
) -> dict[str, PublicIdentity]:
    """Make keys, passwords, registries and configurations of three parties that know one another.

    Parameters
    ----------
    folder : Path
        Made if it is missing; nothing else may be in it.
    profile : {"blind", "sealed", "hardened", "paper"}
    ids : Ids
    ports : Ports

    Returns
    -------
    dict of str to PublicIdentity
        By role.

    Raises
    ------
    ParameterError, KeyMaterialError
        If there is no such profile, or an id or the port is not possible.
    StoreError
        If the folder is not empty, or cannot be written. Nothing is left in it then.
    """
    check_profile(profile)
    for each in ids:
        check_id(each)
    if len(set(ids)) != len(ids):
        raise ParameterError("ids: expected three different ones")
    with refusing(StoreError, folder.name):
        make_folder(folder)
        if any(folder.iterdir()):
            raise StoreError(f"{folder.name}: expected an empty folder")
        # As a whole or not at all: who tries again begins with an empty folder.
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        with refusing(StoreError, folder.name):
            made = _make(fresh, profile, ids, ports, _n)
            for path in sorted(fresh.iterdir(), key=lambda path: path.suffix):
                path.rename(folder / path.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return made


def _make(
    folder: Path, profile: str, ids: Ids, ports: Ports, n: int | None
) -> dict[str, PublicIdentity]:
    made: dict[str, PublicIdentity] = {}
    for role, party in ids._asdict().items():
        home = folder / role
        make_folder(home)
        identity = Identity.generate(party)
        password = secrets.token_urlsafe(24)
        write_private(home / "password", password.encode() + b"\n")
        save_identity(home / "identity", identity, password, role=role, _n=n)
        prekey = None
        if role != "user":
            prekeys = open_prekeys(home / "identity", password, identity, _n=n)
            prekeys.begin()
            prekey = prekeys.statement
        made[role] = identity.public.with_prekey(prekey)
    # A hospital also knows itself, for users of its own that ask by its registry.
    acquaintances: dict[str, tuple[Role, ...]] = {
        "hospital": ("hospital", "cloud", "user"),
        "cloud": ("hospital",),
        "user": ("hospital",),
    }
    for role, others in acquaintances.items():
        with Registry(folder / role / "registry.db") as registry:
            for other in others:
                registry.admit(made[other], other)
    texts = {
        "hospital": _HOSPITAL.format(
            role="hospital", id=ids.hospital, profile=profile, port=ports.hospital,
            metrics_port=ports.hospital_metrics, cloud=ids.cloud, cloud_port=ports.cloud,
            others="clouds",
        ),
        "cloud": _CLOUD.format(
            role="cloud", id=ids.cloud, port=ports.cloud, metrics_port=ports.cloud_metrics
        ),
        "user": _USER.format(
            role="user", id=ids.user, hospital=ids.hospital, port=ports.hospital, profile=profile,
            others="the hospital",
        ),
    }  # fmt: skip
    for role, text in texts.items():
        write_private(folder / f"{role}.toml", text.encode())
    return made
