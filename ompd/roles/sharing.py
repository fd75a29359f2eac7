"""Records that a person keeps in a cloud, sealed, and shares one scope at a time."""

from __future__ import annotations

import contextlib
import secrets

import msgspec

from ompd.errors import ContextMismatchError, DecryptionError, PointError
from ompd.roles.post import Post
from ompd.roles.requests import Carrier, ask
from ompd.share import (
    Grant,
    Outsourced,
    Received,
    Reencrypted,
    Scope,
    Sealed,
    SharingKey,
    check_epoch,
    epoch_at,
    open_own,
    seal,
)
from ompd.share.scopes import RECORD_BYTES
from ompd.wire.canonical import decode, encode
from ompd.wire.fields import PartyId
from ompd.wire.keeping import (
    GrantRemoval,
    GrantUpload,
    KeepingAnswer,
    KeepingRequest,
    Kept,
    OutsourcingUpload,
    Point,
    RecordAnswer,
    RecordKind,
    RecordList,
    RecordNames,
    RecordRemoval,
    RecordRequest,
    RecordUpload,
    record_statement,
)
from ompd.wire.payments import Epoch

_LABEL = b"ompd/share-notice/1\x00"


class Notice(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ompd-share-1"
):
    """What an owner tells a recipient of a grant, signed. It holds no secret.

    Attributes
    ----------
    owner, recipient : str
    kind, epoch
        Of the scope.
    key : bytes
        Public key of the scope.
    point : bytes
        X of the grant.
    signature : bytes
    """

    owner: PartyId
    recipient: PartyId
    kind: RecordKind
    epoch: Epoch
    key: Point
    point: Point
    signature: bytes = b""

    @property
    def message(self) -> bytes:
        """What the owner signs."""
        return _LABEL + encode(msgspec.structs.replace(self, signature=b""))


_NOTICES = msgspec.msgpack.Decoder(Notice)


class Records:
    """A person's records, and those that others share with this person.

    Parameters
    ----------
    post : Post
        The person's.
    key : SharingKey

    Attributes
    ----------
    public : bytes
        What others grant to, 48 bytes.
    """

    def __init__(self, post: Post, key: SharingKey) -> None:
        self._post = post
        self._key = key
        self._outsourced: dict[Scope, Outsourced] = {}
        self.public = key.public

    def scope(self, kind: str, epoch: int | None = None) -> Scope:
        """Return a scope of this person's records, by default of the present epoch."""
        present = epoch_at(self._post.now())
        return Scope(self._post.identity.id, kind, present if epoch is None else epoch)

    def store(
        self,
        kind: str,
        content: bytes,
        cloud: tuple[str, Carrier],
        record: bytes | None = None,
        epoch: int | None = None,
    ) -> bytes:
        """Seal and sign a record, and have a cloud keep it.

        Parameters
        ----------
        kind : str
            Type of record.
        content : bytes
        cloud : (id, callable)
            The callable takes a frame there and brings the answer.
        record : bytes, optional
            Name of a record of this epoch that it takes the place of; a new one by default.
        epoch : int, optional
            Of its scope; the present one by default.

        Returns
        -------
        bytes
            Name of the record, 16 bytes.
        """
        scope = self.scope(kind, epoch)
        name = secrets.token_bytes(RECORD_BYTES) if record is None else record
        key = self._key.scope(scope)
        sealed = seal(key.public, scope, name, content, key.group.name)
        statement = _statement(scope, name, sealed)
        signature = self._post.identity.signing_key.sign(statement)
        matter = RecordUpload(kind, scope.epoch, name, sealed.capsule, sealed.ciphertext, signature)
        self._have(matter, cloud)
        return name

    def remove(self, scope: Scope, record: bytes, cloud: tuple[str, Carrier]) -> None:
        """Have a cloud forget a record."""
        self._have(RecordRemoval(scope.kind, scope.epoch, record), cloud)

    def grant(self, kind: str, recipient: str, public: bytes, cloud: tuple[str, Carrier]) -> bytes:
        """Share all records of a type of the present epoch, until it ends.

        Parameters
        ----------
        kind : str
        recipient : str
            Id of who may ask the cloud for them.
        public : bytes
            `Records.public` of the recipient.
        cloud : (id, callable)

        Returns
        -------
        bytes
            A notice, for the recipient.
        """
        key = self._key.scope(self.scope(kind))
        grant = Grant.make(key, public)
        self._have(GrantUpload(kind, key.scope.epoch, recipient, grant.to_bytes()), cloud)
        owner = self._post.identity
        blank = Notice(owner.id, recipient, kind, key.scope.epoch, key.public, grant.point)
        signature = owner.signing_key.sign(blank.message)
        return encode(msgspec.structs.replace(blank, signature=signature))

    def revoke(self, scope: Scope, recipient: str, cloud: tuple[str, Carrier]) -> None:
        """Have a cloud refuse the recipient of a grant before its epoch ends.

        A cloud that keeps the grant nevertheless can go on, and what was opened stays known.
        """
        self._have(GrantRemoval(scope.kind, scope.epoch, recipient), cloud)

    def accept(self, notice: bytes) -> Received:
        """Return what opens the records of a grant.

        Raises
        ------
        SignatureError, UnknownKeyError
            If its owner did not sign the notice, or is not known.
        ContextMismatchError
            If it is for somebody else.
        EpochError
            If its epoch is over.
        FrameError, PointError
            If it is not of its form.
        """
        found = decode(_NOTICES, notice)
        owner = self._post.directory.get(found.owner)
        verifier = self._post.identity.signing_key.backend
        verifier.verify(owner.signing_key, found.message, found.signature)
        if found.recipient != self._post.identity.id:
            raise ContextMismatchError("notice: is for somebody else")
        check_epoch(found.epoch, self._post.now())
        scope = Scope(found.owner, found.kind, found.epoch)
        return Received(self._key, scope, found.key, found.point)

    def outsource(self, kind: str, cloud: tuple[str, Carrier]) -> None:
        """Let a cloud do the work of opening this person's records, blinded, until the epoch ends.

        What undoes the blinding is in memory only; after a restart, records are opened without.
        """
        key = self._key.scope(self.scope(kind))
        own = Outsourced(key)
        self._have(OutsourcingUpload(kind, key.scope.epoch, own.factor), cloud)
        self._outsourced[key.scope] = own

    def names(self, scope: Scope, cloud: tuple[str, Carrier]) -> list[bytes]:
        """Return the names of the records of a scope, which is one's own or granted."""
        answer = self._ask(RecordList(scope.owner, scope.kind, scope.epoch), cloud)
        if not isinstance(answer, RecordNames) or len(answer.records) % RECORD_BYTES:
            raise ContextMismatchError("answer: is no list of records")
        return [
            answer.records[start : start + RECORD_BYTES]
            for start in range(0, len(answer.records), RECORD_BYTES)
        ]

    def open(self, scope: Scope, record: bytes, cloud: tuple[str, Carrier]) -> bytes:
        """Fetch a record of one's own, and open it.

        Raises
        ------
        SignatureError, CapsuleError, DecryptionError, PointError
            If the cloud answers with something else.
        OmpdError
            If the cloud cannot be asked, or refuses.
        """
        answer = self._fetch(scope, record, cloud)
        sealed = Sealed(answer.capsule, answer.ciphertext)
        own = self._outsourced.get(scope)
        if own is not None and answer.turned:
            # Without the cloud's help if another device of this person has outsourced since.
            with contextlib.suppress(DecryptionError, PointError):
                return own.open(record, sealed, answer.turned)
        return open_own(self._key.scope(scope), record, sealed)

    def open_shared(self, received: Received, record: bytes, cloud: tuple[str, Carrier]) -> bytes:
        """Fetch a record that is shared with this person, and open it.

        Raises
        ------
        SignatureError, UnknownKeyError
            If its owner, as this person knows them, did not sign it.
        GrantError, CapsuleError, ProofError, DecryptionError, PointError
            As `Received.open`: if the cloud answers with something else.
        OmpdError
            If the cloud cannot be asked, or refuses.
        """
        answer = self._fetch(received.scope, record, cloud)
        sealed = Sealed(answer.capsule, answer.ciphertext)
        return received.open(record, sealed, Reencrypted(answer.point, answer.turned))

    def _fetch(self, scope: Scope, record: bytes, cloud: tuple[str, Carrier]) -> RecordAnswer:
        wanted = RecordRequest(scope.owner, scope.kind, scope.epoch, record)
        answer = self._ask(wanted, cloud)
        if not isinstance(answer, RecordAnswer):
            raise ContextMismatchError("answer: is no record")
        # Who knows the scope's public key can make what opens, as a cloud can that sees a notice.
        sealed = Sealed(answer.capsule, answer.ciphertext)
        me = self._post.identity
        owner = me.public if scope.owner == me.id else self._post.directory.get(scope.owner)
        verifier = me.signing_key.backend
        verifier.verify(owner.signing_key, _statement(scope, record, sealed), answer.signature)
        return answer

    def _have(
        self,
        matter: RecordUpload | RecordRemoval | GrantUpload | GrantRemoval | OutsourcingUpload,
        cloud: tuple[str, Carrier],
    ) -> None:
        if not isinstance(self._ask(matter, cloud), Kept):
            raise ContextMismatchError("answer: the cloud did not do it")

    def _ask(
        self,
        matter: (
            RecordUpload
            | RecordRemoval
            | GrantUpload
            | GrantRemoval
            | OutsourcingUpload
            | RecordList
            | RecordRequest
        ),
        cloud: tuple[str, Carrier],
    ) -> object:
        return ask(self._post, cloud[0], KeepingRequest(matter), KeepingAnswer, cloud[1]).matter


def _statement(scope: Scope, record: bytes, sealed: Sealed) -> bytes:
    return record_statement(
        scope.owner, scope.kind, scope.epoch, record, sealed.capsule, sealed.ciphertext
    )
