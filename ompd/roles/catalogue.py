"""Catalogues: what a hospital says that it can be asked about, and what a user knows of that.

A catalogue is for everybody: it is signed, not encrypted, and has no recipient.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ompd.crypto import Identity, PartyDirectory, SignatureBackend
from ompd.crypto.prekeys import SKEW
from ompd.errors import (
    ExpiredError,
    OutdatedError,
    ParameterError,
    RoleError,
    SignatureError,
    UnknownDiseaseError,
    VersionError,
)
from ompd.params import Method, Profile
from ompd.schema import Bins, Schema
from ompd.wire import CatalogueFrame, Entry, check_catalogue_size, encode_catalogue, form_of
from ompd.wire.catalogue import LONGEST_VALIDITY, MAX_CATALOGUE_BYTES

#: Longest catalogue, in bytes.
MOST_BYTES = MAX_CATALOGUE_BYTES
#: Seconds that a catalogue is valid.
LIFETIME = 7 * 86_400.0
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class Blind:
    """What a user needs to ask a blind model.

    Attributes
    ----------
    edition : bytes
        16 bytes that say which model this is.
    bins : Bins
        Cells of the features.
    bits : int
        Scores come in nats times 2**bits.
    answers : int
        Rows that one user is told of this model.
    """

    edition: bytes
    bins: Bins
    bits: int
    answers: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What a hospital says of one disease.

    Attributes
    ----------
    schema : Schema
        Features with domain, unit and levels, and the classes.
    profile : {"blind", "sealed", "hardened", "paper"}
        What the table tells the cloud; `blind`: there is none, and the hospital is told nothing.
    method : {"relief-mw", "evidence"}
        How features become vectors.
    k : int
        Number of neighbours that vote; 0 in the profile `blind`.
    most_rows : int
        Most rows of one query.
    epsilon : float or None
        What one row of a query costs its patient, if noise is added to it.
    form : bytes
        16 bytes that say which schema this is.
    blind : Blind, optional
        What the profile `blind` needs.
    """

    schema: Schema
    profile: Profile
    method: Method
    k: int
    most_rows: int
    epsilon: float | None
    form: bytes
    blind: Blind | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a hospital says of itself, verified.

    Attributes
    ----------
    hospital : str
    made_at, valid_until : int
        Milliseconds since the epoch.
    diseases : dict of str to Listing
        By name, in the order of the names.
    """

    hospital: str
    made_at: int
    valid_until: int
    diseases: dict[str, Listing]


class Press:
    """Makes the catalogues of one hospital, each later than the one before. For several threads.

    Parameters
    ----------
    identity : Identity
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._last = 0
        self._lock = threading.Lock()

    def make(self, entries: Iterable[Entry], lifetime: float, now: float) -> bytes:
        """Sign a catalogue that is valid for so many seconds from now.

        Raises
        ------
        ParameterError
            If that is not from 1 second to 90 days.
        TooLargeError
            If it would be above the cap.
        """
        if not 1 <= lifetime <= LONGEST_VALIDITY / 1000:
            raise ParameterError("lifetime: expected 1 second to 90 days")
        with self._lock:
            present = int(now * 1000)
            # If the last came from a clock that was ahead, nobody has believed it.
            following = self._last + 1
            made_at = following if present < following <= present + SKEW * 1000 else present
            until = made_at + int(lifetime * 1000)
            signed, message = encode_catalogue(self._identity.id, made_at, until, list(entries))
            signature = self._identity.signing_key.sign(message)
            check_catalogue_size(len(signed) + len(signature))
            self._last = made_at
        return signed + signature


def read_catalogue(
    data: bytes, directory: PartyDirectory, backend: SignatureBackend, now: float
) -> tuple[Catalogue, bytes]:
    """Verify and read a catalogue.

    Returns
    -------
    Catalogue
    bytes
        The public key that signed it: the hospital's present one.

    Raises
    ------
    UnknownKeyError
        If the hospital is unknown, or its keys were revoked or have expired.
    RoleError
        If its maker is registered, but not as a hospital.
    ExpiredError
        If its validity has ended, or it comes from a clock that is more than five minutes ahead.
    SignatureError
        If the hospital's present key did not sign it.
    FrameError, SchemaError
        If it is not well-formed.
    """
    frame = CatalogueFrame.decode(data)
    key = directory.get(frame.hospital).signing_key
    if directory.role(frame.hospital) != "hospital":
        raise RoleError("catalogue: expected a hospital as its maker")
    if frame.valid_until <= now * 1000:
        raise ExpiredError("catalogue: has expired; get the hospital's next one")
    if frame.made_at > (now + SKEW) * 1000:
        raise ExpiredError("catalogue: begins in the future; one of the two clocks is wrong")
    backend.verify(key, frame.signed_message, frame.signature)
    diseases = {entry.disease: _listing(entry) for entry in frame.entries()}
    return Catalogue(frame.hospital, frame.made_at, frame.valid_until, diseases), key


def _listing(entry: Entry) -> Listing:
    schema, bins, cells = entry.schema, entry.bins, entry.blind
    blind = None
    if bins is not None and cells is not None:
        blind = Blind(cells.edition, bins, cells.bits, cells.answers)
    return Listing(
        schema, entry.profile, entry.method, entry.k, entry.most_rows, entry.epsilon,
        form_of(schema), blind,
    )  # fmt: skip


class _Known(NamedTuple):
    data: bytes
    key: bytes
    catalogue: Catalogue


class Library:
    """The catalogues that a user knows, the newest of each hospital. For several threads.

    Parameters
    ----------
    directory : PartyDirectory
    """

    def __init__(self, directory: PartyDirectory) -> None:
        self._directory = directory
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def learn(self, data: bytes, backend: SignatureBackend, now: float) -> str:
        """Know a catalogue from now on; returns the hospital's id.

        Raises
        ------
        VersionError
            If a newer one of this hospital is known, or another one of the same moment.
        OmpdError
            As `read_catalogue`.
        """
        catalogue, key = read_catalogue(data, self._directory, backend, now)
        with self._lock:
            # Another thread may have learned the hospital's new keys, and a catalogue by them.
            if self._directory.get(catalogue.hospital).signing_key != key:
                raise SignatureError("catalogue: the hospital has new keys; get its next one")
            known = self._known.get(catalogue.hospital)
            # Under new keys, what somebody signed with the old ones does not count.
            if known is not None and known.key == key and known.data != data:
                if catalogue.made_at < known.catalogue.made_at:
                    raise VersionError("catalogue: a newer one of this hospital is known")
                if catalogue.made_at == known.catalogue.made_at:
                    raise VersionError("catalogue: another one of the same moment is known")
            self._known[catalogue.hospital] = _Known(data, key, catalogue)
        return catalogue.hospital

    def find(self, hospital: str, now: float) -> Catalogue | None:
        """Return what is known of a hospital; None if nothing ever was.

        Raises
        ------
        UnknownKeyError
            If the hospital is unknown, or its keys were revoked or have expired.
        OutdatedError
            If its catalogue has expired, or was signed with keys that others took over from.
        """
        present = self._directory.get(hospital).signing_key
        known = self._known.get(hospital)
        if known is None:
            return None
        if known.key != present:
            raise OutdatedError("catalogue: the hospital has new keys; learn its next one")
        if known.catalogue.valid_until <= now * 1000:
            raise OutdatedError("catalogue: has expired; learn the hospital's next one")
        return known.catalogue


def listed(catalogue: Catalogue, disease: str) -> Listing:
    """Return what a catalogue says of a disease.

    Raises
    ------
    UnknownDiseaseError
    """
    found = catalogue.diseases.get(disease)
    if found is None:
        names = list(catalogue.diseases)
        some = ", ".join(map(repr, names[:_MOST_NAMED])) or "none"
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise UnknownDiseaseError(
            f"disease: expected one of the hospital's catalogue, which has {some}{more}; learn its "
            "next one if it is newer"
        )
    return found
