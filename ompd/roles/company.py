"""A company: publishes decision programs, encrypted, one epoch at a time."""

from __future__ import annotations

import secrets

import msgspec

from ompd.errors import ContextMismatchError
from ompd.monitor import Card, Program, ProgramSecret, encrypt
from ompd.roles.party import Party
from ompd.roles.requests import Carrier, ask
from ompd.share import epoch_at
from ompd.wire.keeping import KeepingAnswer, KeepingRequest, Kept, ProgramUpload
from ompd.wire.payments import AccountAnswer, AccountRequest, ProgramKey, Registration

PROGRAM_BYTES = 16


class Company(Party):
    """Publishes programs.

    Parameters
    ----------
    identity : Identity
    **options
        Directory, replays, clock and window as for `Party`.
    """

    role = "company"

    def publish(
        self,
        text: str | bytes,
        *,
        authority: tuple[str, Carrier],
        cloud: tuple[str, Carrier],
        program: bytes | None = None,
        ahead: bool = False,
    ) -> bytes:
        """Encrypt a program for an epoch, and have a cloud keep it.

        Parameters
        ----------
        text : str or bytes
            The program, as JSON; see `ompd.monitor.Program`.
        authority, cloud : (id, callable)
            Who sells evaluations and who keeps the program; the callable takes a frame there and
            brings the answer, as `Authority.serve` and `Cloud.keeping.answer` do.
        program : bytes, optional
            Id of a program that was published before, in another epoch; a new one by default.
        ahead : bool, default False
            Whether it is for the next epoch instead of the present one.

        Returns
        -------
        bytes
            The signed card, for everybody who may use the program, and not for the cloud.

        Raises
        ------
        ProgramError
            If the program is not acceptable.
        OmpdError
            If authority or cloud cannot be asked, or refuse.
        """
        checked = Program.from_json(text)
        name = secrets.token_bytes(PROGRAM_BYTES) if program is None else program
        epoch = epoch_at(self._post.now()) + ahead
        wanted = AccountRequest(Registration(name, epoch))
        key = ask(self._post, authority[0], wanted, AccountAnswer, authority[1]).matter
        if not isinstance(key, ProgramKey) or (key.program, key.epoch) != (name, epoch):
            raise ContextMismatchError("answer: is not the key of this program and epoch")
        content, blank = encrypt(
            checked,
            ProgramSecret(key.seed, name, epoch),
            company=self.id,
            authority=authority[0],
            cloud=cloud[0],
            tokens=key.tokens,
        )
        upload = KeepingRequest(ProgramUpload(name, epoch, content))
        if not isinstance(ask(self._post, cloud[0], upload, KeepingAnswer, cloud[1]).matter, Kept):
            raise ContextMismatchError("answer: the cloud did not keep the program")
        signature = self._post.identity.signing_key.sign(blank.message)
        card: Card = msgspec.structs.replace(blank, signature=signature)
        return card.to_bytes()
