"""What a cloud does with records and programs: keeps them, and re-encrypts for whom it is told."""

from __future__ import annotations

from ompd.errors import ContextMismatchError, GrantError, RoleError
from ompd.roles.post import Post
from ompd.roles.requests import Desk
from ompd.share import Grant, Scope, check_capsule, check_epoch, epoch_at, reencrypt, transform
from ompd.stores import Keeper
from ompd.wire import Header
from ompd.wire.keeping import (
    GrantRemoval,
    GrantUpload,
    KeepingAnswer,
    KeepingRequest,
    Kept,
    OutsourcingUpload,
    ProgramAnswer,
    ProgramRequest,
    ProgramUpload,
    RecordAnswer,
    RecordList,
    RecordNames,
    RecordRemoval,
    RecordRequest,
    RecordUpload,
)


class Keeping:
    """The part of a cloud that keeps records and programs.

    Parameters
    ----------
    post : Post
    keeper : Keeper

    """

    def __init__(self, post: Post, keeper: Keeper) -> None:
        self._post = post
        self._keeper = keeper
        self._backend = post.identity.signing_key.backend
        self._epoch = -1
        self._desk = Desk(post, KeepingRequest, self._work)

    def answer(self, request: bytes) -> bytes:
        """Keep, list, re-encrypt or remove a record, or keep or hand out a program.

        Grants end with their epoch: they are refused from then on, and removed with the first
        request after it.

        Parameters
        ----------
        request : bytes
            Frame of a person or company.

        Returns
        -------
        bytes
            Answer frame; the same again to the same frame.

        Raises
        ------
        ReplayError
            If a later request for the same was done before.
        GrantError
            If the sender has no grant for what is asked, or hands in one that is none.
        EpochError
            If the epoch of a grant is over or has yet to begin.
        CapsuleError, PointError
            If a capsule was not made for its record and scope.
        RoleError
            If the sender is registered in another role.
        ContextMismatchError, UnknownProgramError
            If there is no such record or program, or it is another company's.
        QuotaError
            If the sender has very much here.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        return self._desk.answer(request)

    def answer_or_refuse(self, request: bytes) -> bytes:
        """As `answer`, with a refusal frame where an authentic request is refused.

        Raises
        ------
        StoreError
            If the disk refuses; the same frame may come again.
        OmpdError
            If the frame is not authentic or fresh.
        """
        return self._desk.answer_or_refuse(request)

    def tidy(self) -> None:
        """Forget the grants of epochs that are over."""
        present = epoch_at(self._post.now())
        if present != self._epoch:
            self._keeper.forget(present)
            self._epoch = present

    def _work(self, header: Header, request: KeepingRequest) -> KeepingAnswer:
        self.tidy()
        matter = request.matter
        company = isinstance(matter, ProgramUpload)
        if (self._post.directory.role(header.sender) == "company") != company:
            raise RoleError("frame: its sender is registered in another role")
        if isinstance(matter, ProgramUpload):
            if matter.epoch - epoch_at(self._post.now()) not in (0, 1):
                raise ContextMismatchError("program: expected the present epoch or the next")
            self._keeper.publish(matter.program, matter.epoch, header.sender, matter.content)
            return KeepingAnswer(Kept())
        if isinstance(matter, ProgramRequest):
            content = self._keeper.program(matter.program, matter.epoch)
            return KeepingAnswer(ProgramAnswer(matter.program, matter.epoch, content))
        if isinstance(matter, (RecordList, RecordRequest)):
            return KeepingAnswer(self._show(header.sender, matter))
        self._keep(header, matter)
        return KeepingAnswer(Kept())

    def _keep(
        self,
        header: Header,
        matter: RecordUpload | RecordRemoval | GrantUpload | GrantRemoval | OutsourcingUpload,
    ) -> None:
        owner, made = header.sender, header.timestamp
        scope = Scope(owner, matter.kind, matter.epoch)
        place = owner, matter.kind, matter.epoch
        if isinstance(matter, RecordRemoval):
            self._keeper.remove(place, matter.record, made)
        elif isinstance(matter, GrantRemoval):
            self._keeper.revoke(place, matter.recipient, made)
        elif isinstance(matter, RecordUpload):
            # What nobody could open is not kept.
            check_capsule(matter.capsule, scope, matter.record, self._backend)
            # Not that the signature is good: it is for others, and the frame's is.
            self._keeper.put(
                place, matter.record, made, matter.capsule, matter.ciphertext, matter.signature
            )
        else:
            check_epoch(matter.epoch, self._post.now())
            if isinstance(matter, GrantUpload):
                if matter.recipient == owner:
                    raise GrantError("grant: expected another recipient than the owner")
                Grant.from_bytes(matter.grant, scope, self._backend)
                self._keeper.grant(place, matter.recipient, made, matter.grant)
            else:
                self._keeper.grant(place, owner, made, matter.factor)

    def _show(self, sender: str, matter: RecordList | RecordRequest) -> RecordNames | RecordAnswer:
        scope = Scope(matter.owner, matter.kind, matter.epoch)
        place = matter.owner, matter.kind, matter.epoch
        grant = None
        if sender != matter.owner:
            # Before anything of the records: a stranger finds out nothing about them.
            check_epoch(matter.epoch, self._post.now())
            encoded = self._keeper.granted(place, sender)
            grant = Grant.from_bytes(encoded, scope, self._backend)
        if isinstance(matter, RecordList):
            return RecordNames(b"".join(self._keeper.names(place)))
        kept = self._keeper.get(place, matter.record)
        capsule = kept[0]
        if grant is not None:
            turned = reencrypt(grant, matter.record, capsule, self._post.now())
            return RecordAnswer(*kept, turned.grant, turned.capsule)
        try:
            factor = self._keeper.granted(place, sender)
        except GrantError:
            return RecordAnswer(*kept, b"", b"")
        point = transform(factor, scope, matter.record, capsule, self._backend)
        return RecordAnswer(*kept, b"", point)
