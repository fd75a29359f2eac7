"""Short-lived keys: those of others are fetched, the own ones renewed before they end."""

from __future__ import annotations

from time import time

from ompd.crypto import PartyDirectory, PublicIdentity
from ompd.errors import KeyMaterialError
from ompd.roles.party import Party

#: Seconds before its end at which a party's short-lived key gets a successor, so that everybody has
#: fetched that by then.
_AHEAD = 86_400.0


def meet_again(directory: PartyDirectory, party: str, encoded: bytes) -> None:
    """Take up the present short-lived key of a party that is registered.

    Nobody is admitted, and no other keys: these are for people to compare.

    Parameters
    ----------
    directory : PartyDirectory
    party : str
        Who should have sent this.
    encoded : bytes
        What it sent of itself.

    Raises
    ------
    UnknownKeyError
        If it is not registered, or not any more.
    KeyMaterialError
        If it has other keys than it is registered with.
    OmpdError
        As `Directory.register`.
    """
    known = directory.get(party)
    offered = PublicIdentity.from_bytes(encoded)
    if offered.lasting != known.lasting:
        raise KeyMaterialError(
            "identity: has other keys than are registered; if it changed them, "
            "`ompd keys accept` takes its statement"
        )
    if offered.prekey is not None and offered.prekey != known.prekey:
        directory.register(offered)


def renew_prekey(party: Party) -> bool:
    """Make the next short-lived key of a party if the present one ends soon; tells whether it did.

    Raises
    ------
    KeystoreError
        If it cannot be kept.
    """
    present = party.public.prekey
    if present is not None and present.is_valid(time() + _AHEAD):
        return False
    party.rotate_prekey()
    return True
