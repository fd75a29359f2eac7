"""Resources of a record that another person may read: shared by type, until the epoch ends.

What is shared of a type lies at the cloud in a scope of its own, sealed to the scope's key. The
scope's name follows from the record's key, so that the cloud does not see which type it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from ompd.confidential import Confidential
from ompd.errors import FramingError, RecordError
from ompd.record.contents import Contents
from ompd.record.entries import head_of
from ompd.record.fhir import Resource, checked
from ompd.record.parcels import (
    MANIFEST,
    Manifest,
    Person,
    decode_manifest,
    decoded,
    known,
    new_token,
    plan,
    publish,
    send,
    sweep,
    unpack,
)
from ompd.record.reading import Reader
from ompd.record.record import Record
from ompd.share import EPOCH_SECONDS, Received, Scope

#: Most notices that are read at once.
MOST_NOTICES = 64
_KIND_LABEL = b"ompd/record-kind/1\x00"
# Lengths of what is shared are in steps of so many bytes.
_STEP = 512
# Under what a record keeps what is shared.
_SHARES = "shares"
# Under what it keeps which manifest of a type it made last.
_MADE = "shared/"


class Share(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That a type of resources is shared with somebody.

    Attributes
    ----------
    recipient : str
        Id.
    kind : str
        As ``"Observation"``.
    epoch : int
        Of the scope.
    """

    recipient: str
    kind: str
    epoch: int

    @property
    def until(self) -> datetime:
        """When it ends by itself."""
        return datetime.fromtimestamp((self.epoch + 1) * EPOCH_SECONDS, UTC)


class _Bundle(msgspec.Struct, frozen=True, array_like=True, tag="ompd-notices-1"):
    notices: tuple[bytes, ...]


_LISTS = msgspec.msgpack.Decoder(list[Share])
_BUNDLES = msgspec.msgpack.Decoder(_Bundle)
_ITEMS = msgspec.msgpack.Decoder(tuple[int, bytes])


def share(
    record: Record, person: Person, kinds: Iterable[str], recipient: str, public: bytes
) -> bytes:
    """Let another person read all resources of some types, until the present epoch ends.

    Later ones of these types are shared with `refresh`.

    Parameters
    ----------
    record : Record
    person : Person
        Whose record it is.
    kinds : iterable of str
        As ``"Observation"``.
    recipient : str
        Id of who may read.
    public : bytes
        `Records.public` of the recipient.

    Returns
    -------
    bytes
        Notices for the recipient, as one file. They hold no secret.

    Raises
    ------
    RecordError
        If there are no types, or more than `MOST_NOTICES`.
    OmpdError
        If the cloud cannot be asked or refuses.
    """
    wanted = sorted(set(kinds))
    if not 0 < len(wanted) <= MOST_NOTICES:
        raise RecordError(f"kinds: expected 1 to {MOST_NOTICES}")
    _sweep_old(record, person)
    notices = []
    for kind in wanted:
        scope = _scope(record, person, kind)
        _publish(record, person, kind, scope)
        # Put down before, so that a share that is made is known of whatever happens.
        entry = Share(recipient, kind, scope.epoch)
        _keep(record, [each for each in shares(record) if each != entry] + [entry])
        notices.append(person.grant(scope.kind, recipient, public))
    return msgspec.msgpack.encode(_Bundle(tuple(notices)))


def shares(record: Record) -> list[Share]:
    """Return what is shared with whom; what ended by itself is here until `share` or `refresh`."""
    content = record.kept(_SHARES)
    return _LISTS.decode(content) if content else []


def refresh(record: Record, person: Person) -> list[str]:
    """Bring what is shared in the present epoch up to date; return its types.

    What was shared in earlier ones is forgotten, by the cloud as well.
    """
    _sweep_old(record, person)
    kinds = sorted({each.kind for each in shares(record)})
    for kind in kinds:
        _publish(record, person, kind, _scope(record, person, kind))
    return kinds


def revoke(
    record: Record, person: Person, recipient: str, kinds: Iterable[str] | None = None
) -> list[Share]:
    """Have the cloud refuse somebody from now on, and forget what nobody else may read.

    What was read stays known. A cloud that keeps the grant nevertheless can go on until the epoch
    ends, also with what others are given of the same type until then.

    Parameters
    ----------
    record : Record
    person : Person
    recipient : str
    kinds : iterable of str, optional
        All by default.

    Returns
    -------
    list of Share
        What ended.
    """
    wanted = None if kinds is None else set(kinds)
    ended = []
    for each in shares(record):
        if each.recipient != recipient or (wanted is not None and each.kind not in wanted):
            continue
        scope = _scope(record, person, each.kind, each.epoch)
        person.revoke(scope, recipient)
        left = [other for other in shares(record) if other != each]
        if not any((other.kind, other.epoch) == (each.kind, each.epoch) for other in left):
            _forget(person, scope)
        _keep(record, left)
        ended.append(each)
    return ended


class Shared(Reader, Confidential):
    """What another person shares, as it was when it was fetched. Made by `open`.

    Attributes
    ----------
    owner : str
        Id of whose it is.
    until : datetime
        When the first of the grants ends.
    """

    def __init__(self, owner: str, until: datetime, resources: Sequence[tuple[int, Resource]]):
        super().__init__(Contents())
        self.owner = owner
        self.until = until
        self._resources: dict[int, Resource] = {}
        for place, (version, resource) in enumerate(resources):
            self._contents.put(place, head_of(resource, version))
            self._resources[place] = resource

    @classmethod
    def open(cls, person: Person, notices: bytes) -> Shared:
        """Fetch and open what a person shares.

        Parameters
        ----------
        person : Person
            The recipient.
        notices : bytes
            What `share` returned.

        Raises
        ------
        SignatureError, UnknownKeyError, ContextMismatchError, EpochError
            If a notice is of nobody known, for somebody else, or over.
        ResourceError
            If what was shared is no resource.
        OmpdError
            If the cloud cannot be asked, refuses, as after `revoke`, or answers with something
            else.
        """
        found: list[tuple[int, Resource]] = []
        received = [person.accept(notice) for notice in _notices_of(notices)]
        if len({each.scope.owner for each in received}) != 1:
            raise FramingError("notices: expected those of one owner")
        for each in received:
            found += _fetched(person, each)
        first = min(each.scope.epoch for each in received)
        until = datetime.fromtimestamp((first + 1) * EPOCH_SECONDS, UTC)
        return cls(received[0].scope.owner, until, found)

    def get(self, reference: str) -> Resource:
        """Return a resource.

        Raises
        ------
        UnknownResourceError
            If there is none.
        """
        return self._resources[self._contents.place(reference)]

    def _ready(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def _fetched(person: Person, received: Received) -> list[tuple[int, Resource]]:
    def fetch(name: bytes) -> bytes:
        return person.open_shared(received, name)

    manifest = decode_manifest(fetch(MANIFEST))
    found = []
    for _, thing in unpack(manifest, fetch):
        version, content = decoded(_ITEMS, thing, "parcel")
        found.append((version, checked(content)))
    return found


def _publish(record: Record, person: Person, kind: str, scope: Scope) -> None:
    before, names = known(person, scope)
    made = _MADE + kind
    # Another device, or this one before it was put back, has other rows at those places.
    if before and before.token != record.kept(made):
        before = None
    with record.held():
        changes = record.changes
        entries = {record.place(each.reference): each for each in record.list(kind)}
        kept, waiting = plan(before, {place: each.changed for place, each in entries.items()})
        things = [
            (
                place,
                msgspec.msgpack.encode(
                    (entries[place].version, _padded(record.get(entries[place].reference).json))
                ),
            )
            for place in waiting
        ]
    if before and not waiting and len(kept) == len(before.parcels):
        sweep(person, scope, before, names)
        return
    parcels = (*kept, *send(person, scope, things))
    manifest = Manifest(new_token(), changes, b"", parcels)
    publish(person, scope, manifest, names)
    record.keep(made, manifest.token)


def _padded(content: bytes) -> bytes:
    # Blanks behind JSON mean nothing.
    return content + b" " * (-len(content) % _STEP)


def _sweep_old(record: Record, person: Person) -> None:
    """Forget what was shared in epochs that are over."""
    present = person.subscriber.records.scope("any").epoch
    for kind, epoch in sorted({(each.kind, each.epoch) for each in shares(record)}):
        if epoch < present:
            _forget(person, _scope(record, person, kind, epoch))
            left = [each for each in shares(record) if (each.kind, each.epoch) != (kind, epoch)]
            _keep(record, left)


def _forget(person: Person, scope: Scope) -> None:
    for name in person.names(scope):
        person.remove(scope, name)


def _scope(record: Record, person: Person, kind: str, epoch: int | None = None) -> Scope:
    return person.subscriber.records.scope(record.alias(_KIND_LABEL, kind), epoch)


def _keep(record: Record, entries: Sequence[Share]) -> None:
    record.keep(_SHARES, msgspec.msgpack.encode(list(entries)))


def _notices_of(content: bytes) -> tuple[bytes, ...]:
    bundle = decoded(_BUNDLES, content, "notices")
    if not 0 < len(bundle.notices) <= MOST_NOTICES:
        raise FramingError(f"notices: expected 1 to {MOST_NOTICES} of them")
    return bundle.notices
