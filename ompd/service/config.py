"""What a server or client is told in a file of TOML."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from ompd.errors import ConfigError
from ompd.files import refusing
from ompd.params import Profile
from ompd.service.cds.config import Cds

#: Largest configuration, in bytes.
_MOST_BYTES = 1 << 20
_URL = re.compile(r"https?://[^/?#@\s]+/?")

_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a configuration; what it does not know is an error."""


class Tls(_Section, frozen=True, kw_only=True):
    """How a server shows who it is.

    Attributes
    ----------
    certificate, key : Path
        PEM files of its chain of certificates and of the private key.
    clients : Path, optional
        PEM file of the authorities whose clients may connect; all others then may not.
    """

    certificate: Path
    key: Path
    clients: Path | None = None


class Listen(_Section, frozen=True, kw_only=True):
    """Where a server listens.

    Attributes
    ----------
    host : str
        Address of the interface that its users, or hospitals, reach.
    port : int
        0 for any that is free.
    metrics_host, metrics_port
        Of the second port, which tells how the server does; it is for the machine itself.
    tls : Tls, optional
        Of the first port; without it, whatever stands before the server has to encrypt.
    """

    port: _Port
    metrics_port: _Port
    host: str = "127.0.0.1"
    metrics_host: str = "127.0.0.1"
    tls: Tls | None = None


class Connect(_Section, frozen=True, kw_only=True):
    """How a party connects to others by TLS.

    Attributes
    ----------
    authorities : Path, optional
        PEM file of the authorities that others' certificates may come from; those of the system by
        default.
    certificate, key : Path, optional
        PEM files of what this party shows itself, where the other side asks for that.
    """

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("expected `certificate` and `key`, or neither")


class Noise(_Section, frozen=True, kw_only=True):
    """Noise of the profile `hardened`.

    Attributes
    ----------
    epsilon : float
    limit : float
        Budget of each patient.
    ledger : Path
        File of the budgets.
    """

    epsilon: Annotated[float, msgspec.Meta(gt=0)]
    limit: Annotated[float, msgspec.Meta(gt=0)]
    ledger: Path


class PartyConfig(_Section, frozen=True, kw_only=True):
    """What all parties are told.

    Attributes
    ----------
    id : str
        Of the identity, so that a mistaken folder is noticed.
    identity : Path
        Folder of `ompd keys new`.
    password_file : Path
        Its password, in the first line of a file of mode 0600.
    registry : Path
        Whom it knows.
    connect : Connect
    """

    id: str
    identity: Path
    password_file: Path
    registry: Path
    connect: Connect = Connect()


class HospitalConfig(PartyConfig, frozen=True, kw_only=True):
    """What a hospital is told.

    Attributes
    ----------
    state : Path
        Folder for what outlives the process.
    listen : Listen
    clouds : dict of str to str
        Where each cloud is, by its id: ``https://name:port``.
    profile : {"blind", "sealed", "hardened", "paper"}
    noise : Noise, optional
    signers : int
        Processes that verify and make signatures; with 0, the server itself does.
    users_share : float
        What one user may take of a window of hints, and of what may wait and be open at once.
    cds : Cds, optional
        Services for the hospital's own health record system.
    """

    state: Path
    listen: Listen
    clouds: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    profile: Profile = "sealed"
    noise: Noise | None = None
    signers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 2
    users_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    cds: Cds | None = None

    def __post_init__(self) -> None:
        for url in self.clouds.values():
            _check_url(url)


class CloudConfig(PartyConfig, frozen=True, kw_only=True):
    """What a cloud is told.

    Attributes
    ----------
    state : Path
        Folder for what outlives the process: tables, and the frames that were answered.
    listen : Listen
    """

    state: Path
    listen: Listen


class AuthorityConfig(PartyConfig, frozen=True, kw_only=True):
    """What an authority is told, that sells the use of programs.

    Attributes
    ----------
    state : Path
        Folder for what outlives the process: the books, and the frames that were answered.
    listen : Listen
    evaluations : float
        Most evaluations per second from one address. A proxy before the server is one address.
    """

    state: Path
    listen: Listen
    evaluations: Annotated[float, msgspec.Meta(gt=0)] = 32.0


class UserConfig(PartyConfig, frozen=True, kw_only=True):
    """What a user's client is told.

    Attributes
    ----------
    hospital : str
        Id of the hospital that is asked.
    url : str
        Where it is: ``https://name:port``.
    least_profile : {"paper", "hardened", "sealed", "blind"}
        What a table may tell the cloud at most.
    """

    hospital: str
    url: str
    least_profile: Profile = "sealed"

    def __post_init__(self) -> None:
        _check_url(self.url)


class SubscriberConfig(PartyConfig, frozen=True, kw_only=True):
    """What the client is told of a person who keeps records, or pays for advice.

    Attributes
    ----------
    wallet : Path
        File of tokens; made when it is missing.
    clouds, authorities : dict of str to str
        Where each is, by its id: ``https://name:port``.
    """

    wallet: Path
    clouds: dict[str, str] = {}
    authorities: dict[str, str] = {}

    def __post_init__(self) -> None:
        for url in [*self.clouds.values(), *self.authorities.values()]:
            _check_url(url)


C = TypeVar("C", bound=PartyConfig)


def read_config(path: str | os.PathLike[str], kind: type[C]) -> C:
    """Read a configuration; paths in it are relative to its file.

    Parameters
    ----------
    path : path
    kind : {HospitalConfig, CloudConfig, AuthorityConfig, UserConfig, SubscriberConfig}

    Raises
    ------
    ConfigError
        If the file is missing, too long or no TOML, or something in it is missing, unknown or out
        of range.
    """
    file = Path(path)
    with refusing(ConfigError, file.name), file.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{file.name}: expected at most {_MOST_BYTES} bytes")
    folder = file.absolute().parent

    def resolve(wanted: type, found: Any) -> Any:
        if wanted is Path and isinstance(found, str) and found and "\0" not in found:
            return folder / found
        raise ValueError("expected a path")

    problem = ""
    try:
        return msgspec.toml.decode(data, type=kind, dec_hook=resolve)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Its cause quotes the line, and the line may hold what should not be in a log.
        problem = str(error)
    raise ConfigError(f"{file.name}: {problem}")


def _check_url(url: str) -> None:
    if _URL.fullmatch(url) is None:
        raise ValueError("expected a URL of the form https://name:port")
