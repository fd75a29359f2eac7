"""Which files a party's backup has, and where they go again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ompd.crypto.identity_files import load_identity
from ompd.errors import ConfigError, StoreError
from ompd.files import make_folder, refusing, write_private
from ompd.service.config import (
    CloudConfig,
    HospitalConfig,
    PartyConfig,
    UserConfig,
    read_config,
)
from ompd.service.parties import password_of
from ompd.stores.backup import Backup, Manifest, back_up
from ompd.stores.backup.manifest import CONFIG, IDENTITY

#: Configurations by role.
KINDS: dict[str, type[PartyConfig]] = {
    "hospital": HospitalConfig,
    "cloud": CloudConfig,
    "user": UserConfig,
}


def back_up_party(role: str, config: Path, out: Path) -> Manifest:
    """Write a backup of all that a party's configuration names, and of that itself.

    Without passwords, certificates and short-lived keys.

    Parameters
    ----------
    role : {"hospital", "cloud", "user"}
    config : Path
    out : Path
        Must not exist.

    Returns
    -------
    Manifest

    Raises
    ------
    ConfigError, KeystoreError, PasswordError
        If the configuration or the identity cannot be read.
    StoreError
        As `ompd.stores.backup.back_up`; also if the party's server runs.
    """
    found = read_config(config, KINDS[role])
    identity = load_identity(found.identity, password_of(found.password_file))
    places = {CONFIG: config, **places_of(found)}
    for secret in (found.password_file, *_asker_passwords(found)):
        if any(secret.resolve().is_relative_to(each.resolve()) for each in places.values()):
            raise ConfigError(
                f"password_file: expected {secret.name} apart from what a backup has in it"
            )
    return back_up(out, places, identity, role)


def restore_party(
    backup: Backup, config: Path, clock: Callable[[], float] = time.time
) -> PartyConfig:
    """Put a backup where a configuration says, or the one in it if the file is missing.

    Nothing is replaced. The next versions of a hospital's tables come behind all that it may have
    given since, and those of its blinded tables have to be published anew before they are asked.

    Parameters
    ----------
    backup : Backup
    config : Path
    clock : callable
        Seconds since the epoch.

    Returns
    -------
    PartyConfig

    Raises
    ------
    ConfigError
        If the configuration cannot be read, or is of another party.
    StoreError
        As `Backup.restore`.
    """
    manifest = backup.manifest
    if manifest.role not in KINDS:
        raise StoreError("backup: is of no role that is known here")
    fresh = not os.path.lexists(config)
    if fresh:
        with refusing(StoreError, config.name):
            _make_folders(config)
            write_private(config, [backup.content(CONFIG)], exclusive=True)
    try:
        found = _config_of(manifest, config)
        places = places_of(found)
        with refusing(StoreError, "backup"):
            for place in places.values():
                _make_folders(place)
        backup.restore(places, _prepare if manifest.role == "hospital" else _nothing, clock)
    except BaseException:
        if fresh:
            with contextlib.suppress(OSError):
                config.unlink()
        raise
    return found


def _config_of(manifest: Manifest, config: Path) -> PartyConfig:
    found = read_config(config, KINDS[manifest.role])
    if found.id != manifest.party:
        raise ConfigError("backup: is of another party than `id` says")
    return found


def places_of(config: PartyConfig) -> dict[str, Path]:
    """Return what a party's configuration names and a backup has, by part."""
    places = {IDENTITY: config.identity, "registry": config.registry}
    if isinstance(config, HospitalConfig | CloudConfig):
        places["state"] = config.state
    if isinstance(config, HospitalConfig):
        if config.noise is not None:
            places["ledger"] = config.noise.ledger
        if config.cds is not None:
            places["asker"] = config.cds.identity
    return places


def _asker_passwords(config: PartyConfig) -> list[Path]:
    cds = config.cds if isinstance(config, HospitalConfig) else None
    return [] if cds is None else [cds.password_file]


def _nothing(_: Mapping[str, Path]) -> None:
    """Change nothing."""


def _prepare(parts: Mapping[str, Path]) -> None:
    # Here: what a cloud cannot import it cannot unblind.
    from ompd.roles.archive_entries import put_back

    put_back(parts["state"])


def _make_folders(path: Path) -> None:
    for folder in reversed(path.absolute().parents):
        if not folder.exists():
            make_folder(folder)
