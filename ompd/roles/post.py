"""Signed frames, out and in: what every party does with them, whatever they say."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ompd.crypto import (
    EnvelopeKey,
    Identity,
    PartyDirectory,
    Prekeys,
    PublicIdentity,
    SignedPrekey,
)
from ompd.errors import (
    ContextMismatchError,
    DecryptionError,
    OmpdError,
    ReflectionError,
    ReplayError,
    RoleError,
    StoreError,
    WrongRecipientError,
)
from ompd.roles.clerk import Clerk, Letter, seal
from ompd.stores import FrameGuard
from ompd.wire import (
    KIND_OF,
    PROTOCOL_VERSION,
    Body,
    Frame,
    Header,
    Kind,
    Refusal,
    decode_body,
    encode_body,
)

B = TypeVar("B", bound=Body)

_LOGGER = logging.getLogger("ompd.party")
# Silent unless the application asks for it.
_LOGGER.addHandler(logging.NullHandler())

#: Seconds that uploads and receipts, which are lasting, stay acceptable. They may take long to make
#: and to transfer, and playing one again does nothing: a version is stored once, and asked once it
#: is acknowledged.
UPLOAD_WINDOW = 86_400.0


class Post:
    """Encrypts and signs what a party sends; authenticates and opens what comes, once.

    Parameters
    ----------
    identity : Identity
    directory : PartyDirectory
        Where senders and recipients are looked up, and what they may send.
    replays : FrameGuard
        Memory of accepted frames.
    clock : callable
        Seconds since the epoch.
    prekeys : Prekeys, optional
        Short-lived keys that others encrypt to.
    clerk : Clerk, optional
        Who seals and verifies where frames come in numbers; the calling thread by default.

    Attributes
    ----------
    gate : callable
        Called before a frame is looked at; raises where this process must not read any.
    signatures_made, signatures_verified : int
    """

    def __init__(
        self,
        identity: Identity,
        directory: PartyDirectory,
        replays: FrameGuard,
        clock: Callable[[], float] = time.time,
        prekeys: Prekeys | None = None,
        clerk: Clerk | None = None,
    ) -> None:
        self.identity = identity
        self.directory = directory
        self.replays = replays
        self.now = clock
        self.prekeys = prekeys
        self._clerk = Clerk(identity.signing_key) if clerk is None else clerk
        self._outdated: dict[str, SignedPrekey] = {}
        # One refusal per request, though several threads may ask for it.
        self._settling = threading.Lock()
        self.gate: Callable[[], None] = _pass
        self.signatures_made = 0
        self.signatures_verified = 0

    def _warn_of_fallback(self, known: PublicIdentity) -> None:
        """Tell once of each short-lived key that is not valid any more, and is used by nobody."""
        prekey = known.prekey
        if prekey is None or prekey.is_valid(self.now()) or prekey == self._outdated.get(known.id):
            return
        self._outdated[known.id] = prekey
        _LOGGER.warning(
            "the short-lived key of %s is not valid: its long-lived one is used until it is met "
            "with the next", known.id,
        )  # fmt: skip

    @property
    def window(self) -> float:
        """Seconds that timestamps may differ from the clock."""
        return self.replays.window

    def send(
        self,
        recipient: str,
        body: Body,
        *,
        nonce: bytes,
        sequence: int,
        encrypt_to: bytes | None = None,
        pad_to: int = 0,
        step: int = 1,
    ) -> bytes:
        """Encrypt, frame and sign a body; to the recipient's short-lived key where there is one."""
        letter = self.letter(
            recipient,
            body,
            nonce=nonce,
            sequence=sequence,
            encrypt_to=encrypt_to,
            pad_to=pad_to,
            step=step,
        )
        frame = seal(self.identity.signing_key, letter)
        self.signatures_made += 1
        return frame

    def letter(
        self,
        recipient: str,
        body: Body,
        *,
        nonce: bytes,
        sequence: int,
        encrypt_to: bytes | None = None,
        pad_to: int = 0,
        step: int = 1,
    ) -> Letter:
        """Return what `send` would seal; for `send_many`."""
        header = Header(
            version=PROTOCOL_VERSION,
            kind=KIND_OF[type(body)],
            sender=self.identity.id,
            recipient=recipient,
            nonce=nonce,
            timestamp=int(self.now() * 1000),
            sequence=sequence,
        )
        # Looked up in any case: nothing is sent to a party that was revoked meanwhile.
        known = self.directory.get(recipient)
        if encrypt_to is None:
            self._warn_of_fallback(known)
        key = known.key_at(self.now()) if encrypt_to is None else encrypt_to
        return Letter(header, key, encode_body(body, pad_to, step=step))

    def send_many(self, letters: Sequence[Letter]) -> list[bytes | OmpdError]:
        """Encrypt, frame and sign; one entry per letter, in order: its frame, or why there is none.

        **Raises nothing for a letter that cannot be sent**: the caller has to look at each.
        """
        frames = self._clerk.seal_many(letters)
        self.signatures_made += sum(type(frame) is bytes for frame in frames)
        return frames

    def authenticate(
        self,
        data: bytes,
        kind: Kind,
        *others: Kind,
        admit: Callable[[Header, int], None] | None = None,
    ) -> Frame:
        """Check everything about a frame that needs no decryption; changes nothing.

        `admit` sees the header and the length of the frame before the rest is read or copied.
        """
        frame, key = self._admit(data, kind, *others, admit=admit)
        backend = self.identity.signing_key.backend
        backend.verify(key, frame.signed_message, frame.signature)
        self.signatures_verified += 1
        return frame

    def _admit(
        self,
        data: bytes,
        kind: Kind,
        *others: Kind,
        admit: Callable[[Header, int], None] | None = None,
    ) -> tuple[Frame, bytes]:
        """Check everything about a frame that needs no cryptography; changes nothing.

        Returns the frame and the public key that must have signed it.
        """
        key = b""

        def check(header: Header, size: int) -> None:
            nonlocal key
            key = self.check_origin(header).signing_key
            if not header.kind.lasting:
                # Before the signature, which costs a thousand times more.
                self.replays.check_new(header)
            if admit is not None:
                admit(header, size)

        return Frame.decode(data, kind, *others, admit=check), key

    def check_origin(self, header: Header) -> PublicIdentity:
        """As `Party.check_header`; returns the sender."""
        self.gate()
        if header.sender == self.identity.id:
            raise ReflectionError("frame: carries the id of its own recipient as sender")
        if header.recipient != self.identity.id:
            raise WrongRecipientError("frame: is addressed to another party")
        sender, role = self.directory.member(header.sender)
        expected = header.kind.senders
        if role not in expected:
            raise RoleError(f"frame: expected a {' or '.join(expected)} as its sender")
        self.replays.check_time(header, self.now(), UPLOAD_WINDOW if header.kind.lasting else None)
        return sender

    def authenticate_many(
        self, frames: Sequence[bytes], kind: Kind, refused: dict[int, OmpdError]
    ) -> dict[int, Frame]:
        """Authenticate many frames at once; the bad ones go to `refused`, by their place."""
        admitted: dict[int, Frame] = {}
        signed = []
        for place, data in enumerate(frames):
            try:
                frame, key = self._admit(data, kind)
            except OmpdError as error:
                refused[place] = error
                continue
            admitted[place] = frame
            signed.append((key, frame.signed_message, frame.signature))
        verdicts = self._clerk.verify_many(signed)
        for place, verdict in zip(list(admitted), verdicts, strict=True):
            if verdict is not None:
                refused[place] = verdict
                del admitted[place]
        self.signatures_verified += len(admitted)
        return admitted

    def open(self, frame: Frame, body: type[B], key: EnvelopeKey | None = None) -> B:
        """Decrypt and decode an authentic frame, with the party's own keys by default.

        The frame does not tell to which of them it was encrypted, so they are tried in turn.
        """
        info = frame.header.envelope_info()
        decrypt = self.decrypt if key is None else key.decrypt
        return decode_body(body, decrypt(frame.ciphertext, info))

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytes:
        """Decrypt with the party's own keys."""
        if self.prekeys is not None:
            with contextlib.suppress(DecryptionError):
                return self.prekeys.decrypt(ciphertext, info)
        return self.identity.envelope_key.decrypt(ciphertext, info)

    def refuse(
        self, data: bytes, kind: Kind, *others: Kind, code: Callable[[Frame], int] | None = None
    ) -> bytes:
        """Tell the sender of an authentic request that it was not accepted.

        And not why, but for what `code` makes of the request.
        """
        frame = self.authenticate(data, kind, *others)
        header = frame.header
        self.claim(frame)
        body = Refusal() if code is None else Refusal(code(frame))
        refusal = self.send(header.sender, body, nonce=header.nonce, sequence=header.sequence)
        return self.answered(header, refusal)

    def claim(self, frame: Frame) -> None:
        """Mark a frame as used: after the last check, before costly work and any effect."""
        header, content = _claim(frame)
        self.replays.claim(header, self.now(), content)

    def claim_many(self, frames: Sequence[Frame]) -> Sequence[OmpdError | None]:
        """As `claim`, for less than that costs: None where it succeeded, else why it did not."""
        if not frames:
            return []
        try:
            return self.replays.claim_many([_claim(frame) for frame in frames], self.now())
        except OmpdError as error:
            return [error] * len(frames)

    def answered(self, header: Header, answer: bytes) -> bytes:
        """Keep the answer to a claimed request, in case it is lost on the way; returns it.

        As well as that can be done: what it was made of is used up, and there will be no other.
        """
        self.answered_many([(header, answer)])
        return answer

    def answered_many(self, answers: Sequence[tuple[Header, bytes]]) -> None:
        """As `answered`, for less than that costs."""
        try:
            if answers:
                self.replays.keep_many(answers)
        except StoreError as error:
            _LOGGER.warning("%d answers cannot be kept for another try: %s", len(answers), error)

    def again(self, data: bytes, kind: Kind, *others: Kind) -> bytes | None:
        """Return the answer that a request was given before; nothing else happens.

        None if it was claimed and the answer is not there yet, or no longer.

        Raises
        ------
        ReplayError
            If the request that was claimed under this header was another one.
        ContextMismatchError
            If it was not claimed.
        OmpdError
            If its header is not acceptable any more.
        """
        return self._given(self.claimed(data, kind, *others))

    def claimed(self, data: bytes, kind: Kind, *others: Kind) -> Frame:
        """Return a request that was claimed before, or one that looks like it.

        Raises
        ------
        ContextMismatchError
            If nothing was claimed under its header.
        OmpdError
            If its header is not acceptable any more.
        """
        try:
            self._admit(data, kind, *others)
        except ReplayError:
            return Frame.decode(data, kind, *others)
        raise ContextMismatchError("frame: was not received before")

    def settle(self, frame: Frame) -> bytes:
        """Return the answer that a `claimed` request was given, which is a refusal if it had none.

        For a request that nobody works on.

        Raises
        ------
        ReplayError
            If the request that was claimed under this header was another one.
        """
        with self._settling:
            # That it is the one that was claimed also says that it is authentic.
            if (answer := self._given(frame)) is None:
                header = frame.header
                answer = self.send(
                    header.sender, Refusal(), nonce=header.nonce, sequence=header.sequence
                )
                self.answered(header, answer)
        return answer

    def _given(self, frame: Frame) -> bytes | None:
        return self.replays.answer(frame.header, _content(frame))


def _pass() -> None:
    """Stand in for a gate where all may pass."""


def _claim(frame: Frame) -> tuple[Header, bytes]:
    """What a replay memory is told of a frame."""
    return frame.header, _content(frame) if frame.header.kind.repeatable else b""


def _content(frame: Frame) -> bytes:
    """Digest of all bytes of a frame."""
    return hashlib.sha256(frame.data).digest()
