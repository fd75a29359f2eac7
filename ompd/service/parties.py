"""Parties as their configurations say, with all state that outlives the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ompd.crypto import Identity
from ompd.crypto.identity_files import load_identity, read_card, read_private
from ompd.crypto.prekey_files import open_prekeys
from ompd.errors import ConfigError, PasswordError, StoreError
from ompd.files import make_folder, refusing
from ompd.roles.party import FRESHNESS_WINDOW
from ompd.service.cds.config import Cds
from ompd.service.config import (
    AuthorityConfig,
    CloudConfig,
    HospitalConfig,
    PartyConfig,
    SubscriberConfig,
    UserConfig,
)
from ompd.service.signers import Signers
from ompd.stores import AuditLog, BudgetLedger, DurableReplayGuard, Keeper, Till
from ompd.stores.audit_check import Head
from ompd.stores.registry import Registry
from ompd.stores.tables import FolderTables, Tables

if TYPE_CHECKING:
    from ompd.roles import Authority, Cloud, Hospital, Subscriber, User

#: Name of the folder of the audit log, within the state.
AUDIT_FOLDER = "audit-log"


@contextmanager
def open_hospital(config: HospitalConfig) -> Iterator[Hospital]:
    """Open a hospital on its state, for one task; closes all at the end.

    Raises
    ------
    ConfigError, KeystoreError, PasswordError, StoreError
        If what the configuration names is missing, of another party, or in use.
    """
    with ExitStack() as stack:
        yield _hospital(config, stack)[0]


@contextmanager
def open_hospital_server(config: HospitalConfig) -> Iterator[tuple[Hospital, AuditLog]]:
    """Open a hospital that is to answer many, with its signers, and its audit log.

    As `open_hospital`.
    """
    with ExitStack() as stack:
        hospital, identity = _hospital(config, stack, signers=config.signers)
        audit = _audit_log(config, identity)
        stack.callback(audit.close)
        yield hospital, audit


@contextmanager
def open_cloud_server(
    config: CloudConfig, tables_at: Callable[[Path], Tables] = FolderTables
) -> Iterator[tuple[Cloud, AuditLog]]:
    """Open a cloud on its state, and its audit log; as `open_hospital`.

    Parameters
    ----------
    config : CloudConfig
    tables_at : callable
        Opens the folder of its tables.
    """
    from ompd.roles import Cloud

    with ExitStack() as stack:
        identity, common = _common(config, "cloud", stack)
        with refusing(StoreError, config.state.name):
            make_folder(config.state)
        tables = tables_at(config.state / "tables")
        stack.callback(tables.close)
        replays = DurableReplayGuard(config.state / "frames", FRESHNESS_WINDOW)
        stack.callback(replays.close)
        keeper = Keeper(config.state / "keeper.db")
        stack.callback(keeper.close)
        cloud = Cloud(
            identity,
            tables=tables,
            keeper=keeper,
            replays=replays,
            prekeys=_prekeys(config, identity),
            **common,
        )
        stack.callback(cloud.close)
        audit = _audit_log(config, identity)
        stack.callback(audit.close)
        yield cloud, audit


@contextmanager
def open_till(config: AuthorityConfig) -> Iterator[Till]:
    """Open the books of an authority, whose server may run; as `open_hospital`."""
    with ExitStack() as stack:
        identity, _ = _common(config, "authority", stack)
        with refusing(StoreError, config.state.name):
            make_folder(config.state)
        till = Till(config.state / "till.db", identity.signing_key.sign)
        stack.callback(till.close)
        yield till


@contextmanager
def open_authority_server(config: AuthorityConfig) -> Iterator[tuple[Authority, AuditLog]]:
    """Open an authority that is to answer many, and its audit log; as `open_hospital`."""
    from ompd.roles import Authority

    with ExitStack() as stack:
        identity, common = _common(config, "authority", stack)
        with refusing(StoreError, config.state.name):
            make_folder(config.state)
        replays = DurableReplayGuard(config.state / "frames", FRESHNESS_WINDOW)
        stack.callback(replays.close)
        authority = Authority(
            identity,
            till=config.state / "till.db",
            replays=replays,
            prekeys=_prekeys(config, identity),
            **common,
        )
        stack.callback(authority.close)
        audit = _audit_log(config, identity)
        stack.callback(audit.close)
        yield authority, audit


@contextmanager
def open_user(config: UserConfig) -> Iterator[User]:
    """Open a user; as `open_hospital`."""
    from ompd.roles import User
    from ompd.roles.blind_keys import BlindKeys

    with ExitStack() as stack:
        identity, common = _common(config, "user", stack)
        blind_keys = BlindKeys(identity, config.identity)
        yield User(identity, least_profile=config.least_profile, blind_keys=blind_keys, **common)


@contextmanager
def open_subscriber(config: SubscriberConfig) -> Iterator[Subscriber]:
    """Open a person who keeps records or pays for advice; as `open_hospital`."""
    from ompd.roles import Subscriber
    from ompd.roles.sharing_keys import open_sharing_key

    with ExitStack() as stack:
        identity, common = _common(config, "user", stack)
        sharing = open_sharing_key(identity, config.identity)
        subscriber = Subscriber(identity, wallet=config.wallet, sharing=sharing, **common)
        stack.callback(subscriber.close)
        yield subscriber


@contextmanager
def open_asker(config: HospitalConfig, cds: Cds) -> Iterator[User]:
    """Open the user that asks for a hospital's own record system. As `open_user`."""
    from ompd.roles import User

    party = PartyConfig(
        id=cds.id,
        identity=cds.identity,
        password_file=cds.password_file,
        registry=config.registry,
    )
    with ExitStack() as stack:
        identity, common = _common(party, "user", stack)
        yield User(identity, **common)


def _hospital(
    config: HospitalConfig, stack: ExitStack, *, signers: int = 0
) -> tuple[Hospital, Identity]:
    # Here: what a cloud cannot import it cannot unblind.
    from ompd.roles import Hospital

    identity, common = _common(config, "hospital", stack)
    if signers:
        common["clerk"] = stack.enter_context(Signers(identity.signing_key, signers))
    if config.noise is not None:
        ledger = BudgetLedger(config.noise.ledger, limit=config.noise.limit)
        stack.callback(ledger.close)
        common |= {"epsilon": config.noise.epsilon, "ledger": ledger}
    hospital = Hospital(
        identity,
        profile=config.profile,
        state=config.state,
        share=config.users_share,
        prekeys=_prekeys(config, identity),
        **common,
    )
    stack.callback(hospital.close)
    return hospital, identity


def _common(config: PartyConfig, role: str, stack: ExitStack) -> tuple[Identity, dict[str, Any]]:
    """Return the identity, and what every party takes."""
    card = read_card(config.identity)
    if card.public.id != config.id:
        raise ConfigError("identity: the folder holds another party's than `id` says")
    if card.role not in ("", role):
        raise ConfigError(f"identity: expected keys of a {role}, got those of a {card.role}")
    if not os.path.lexists(config.registry):
        raise ConfigError(f"registry: there is no {config.registry.name}")
    identity = load_identity(config.identity, password_of(config.password_file))
    registry = Registry(config.registry)
    stack.callback(registry.close)
    return identity, {"directory": registry}


def _prekeys(config: PartyConfig, identity: Identity) -> Any:
    return open_prekeys(config.identity, password_of(config.password_file), identity)


def _audit_log(
    config: HospitalConfig | CloudConfig | AuthorityConfig, identity: Identity
) -> AuditLog:
    # Here: programs that serve nobody have no logs.
    from ompd.service.logs import logger

    log = logger(config.id)

    def told(head: Head) -> None:
        # Whoever collects logs elsewhere can tell by it whether an older state was put back.
        log.info("audit log signed", n=head.n, chain=head.chain)

    return AuditLog(config.state / AUDIT_FOLDER, identity, told=told)


def password_of(path: Path) -> str:
    """Return the first line of a file of passwords.

    Raises
    ------
    KeystoreError
        If it cannot be read, or others can read it.
    PasswordError
        If it is not UTF-8.
    """
    text: str | None = None
    content = read_private(path)
    with suppress(UnicodeDecodeError):
        text = content.decode()
    if text is None:
        raise PasswordError("password: expected a file in UTF-8")
    return text.partition("\n")[0].removesuffix("\r")
