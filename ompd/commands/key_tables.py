"""What the commands around keys show of identities and registries."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ompd.crypto import PublicIdentity
    from ompd.stores.generations import Registration


def fingerprint(public: PublicIdentity) -> str:
    """Return 128 bits of SHA-256 over the encoded identity, in groups of four digits."""
    return _grouped(public.lasting.to_bytes())


def _grouped(data: bytes) -> str:
    digits = hashlib.sha256(data).hexdigest()[:32]
    return " ".join(digits[place : place + 4] for place in range(0, 32, 4))


def show_card(public: PublicIdentity, role: str, created: int) -> None:
    """Print an identity with its short-lived key."""
    from ompd.crypto import suite_of

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in (
        ("id", public.id),
        ("role", role or "not given"),
        ("created", moment(created)),
        ("suite", suite_of(public.envelope_key)),
        ("fingerprint", fingerprint(public)),
        ("signing key", _grouped(public.signing_key)),
        ("envelope key", _grouped(public.envelope_key)),
        ("short-lived key", _validity(public)),
    ):
        table.add_row(name, value)
    Console(highlight=False).print(table, markup=False)


def _validity(public: PublicIdentity) -> str:
    prekey = public.prekey
    if prekey is None:
        return "none"
    state = "" if prekey.is_valid(time.time()) else ", not valid now"
    return (
        f"{_grouped(prekey.envelope_key)}, {moment(prekey.not_before / 1000)} to "
        f"{moment(prekey.not_after / 1000)}{state}"
    )


def show_entries(entries: tuple[Registration, ...]) -> None:
    """Print parties of a registry, or generations of one."""
    now = time.time()
    table = Table()
    for heading in ("id", "role", "keys", "state", "from", "until", "fingerprint"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        start = entry.since if entry.valid_from is None else entry.valid_from
        ends = (entry.revoked_at, entry.superseded_at, entry.valid_until)
        end = next((each for each in ends if each is not None), None)
        state = entry.state(now) + (f": {entry.reason}" if entry.reason else "")
        table.add_row(
            entry.public.id, entry.role, str(entry.generation), _escaped(state),
            moment(start)[:10], "" if end is None else moment(end)[:10],
            fingerprint(entry.public),
        )  # fmt: skip
    Console(highlight=False).print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def moment(seconds: float) -> str:
    """Return a time as people read it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "out of range"
