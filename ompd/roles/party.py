"""What user, hospital and cloud have in common: identity, acquaintances, signed frames."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from ompd.crypto import (
    Directory,
    EnvelopeKey,
    Identity,
    Prekeys,
    PublicIdentity,
    SignedPrekey,
    encrypt,
)  # fmt: skip
from ompd.errors import (
    ContextMismatchError,
    DecryptionError,
    OmpdError,
    ParameterError,
    ReflectionError,
    ReplayError,
    RoleError,
    StoreError,
    TooLargeError,
    WrongRecipientError,
)
from ompd.stores import FrameGuard, PartyDirectory, Registry, ReplayGuard
from ompd.wire import (
    CAPS,
    KIND_OF,
    PROTOCOL_VERSION,
    SIGNATURE_BYTES,
    Body,
    Frame,
    Header,
    Kind,
    Refusal,
    decode_body,
    encode_body,
    encode_signed_part,
)

B = TypeVar("B", bound=Body)

_LOGGER = logging.getLogger("ompd.party")
# Silent unless the application asks for it.
_LOGGER.addHandler(logging.NullHandler())

#: Seconds that a frame stays acceptable.
FRESHNESS_WINDOW = 120.0
#: Seconds that uploads and receipts, which are lasting, stay acceptable. They may take long to make
#: and to transfer, and playing one again does nothing: a version is stored once, and asked once it
#: is acknowledged.
UPLOAD_WINDOW = 86_400.0


class Party:
    """A participant with keys of its own and a directory of others.

    Parameters
    ----------
    identity : Identity
    directory : Directory or Registry, optional
        Where it looks up others; a `Directory` in memory by default. A `Registry` is durable and
        knows roles, which are then enforced.
    replays : FrameGuard, optional
        Memory of accepted frames, with the same window; in memory by default.
    clock : callable
        Seconds since the epoch.
    window : float
        Seconds that timestamps may differ from the clock, and that a request stays open.
    prekeys : Prekeys, optional
        Short-lived keys that others encrypt to. Hospitals and clouds make their own, in memory, if
        none are given; see `ompd.crypto.prekey_files` for keys that outlive the process.

    Attributes
    ----------
    signatures_made, signatures_verified : int
        How many frames this party signed and verified.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        directory: PartyDirectory | None = None,
        replays: FrameGuard | None = None,
        clock: Callable[[], float] = time.time,
        window: float = FRESHNESS_WINDOW,
        prekeys: Prekeys | None = None,
    ) -> None:
        if not 0 < window < math.inf:
            raise ParameterError("window: expected a positive number of seconds")
        self._identity = identity
        self._clock = clock
        self._window = window
        # `is None`: an empty directory is false.
        self._replays = ReplayGuard(window) if replays is None else replays
        if self._replays.window != window:
            raise ParameterError("replays: expected a memory of the same window")
        if directory is None:
            directory = Directory(backend=identity.signing_key.backend, clock=clock)
        self.directory = directory
        self._prekeys = prekeys
        if prekeys is not None:
            prekeys.begin(self._known_prekey())
        self._announce()
        self.signatures_made = 0
        self.signatures_verified = 0

    @classmethod
    def create(
        cls, id: str, *, signatures: str | None = None, suite: str = "x25519", **options: Any
    ) -> Self:
        """Create a party with fresh keys.

        Parameters
        ----------
        id : str
            Name under which others know it.
        signatures : {"pyblst", "py_ecc"}, optional
            Signature backend; the fastest that is installed by default.
        suite : {"x25519", "mlkem768x25519"}
            Envelope suite of the party's own key.
        **options
            Passed on to the class.
        """
        return cls(Identity.generate(id, backend=signatures, suite=suite), **options)

    @property
    def id(self) -> str:
        """Name under which others know this party."""
        return self._identity.id

    @property
    def public(self) -> PublicIdentity:
        """What others need to know of this party, with its present short-lived key."""
        prekey = None if self._prekeys is None else self._prekeys.statement
        return self._identity.public.with_prekey(prekey)

    @property
    def signature_backend(self) -> str:
        """Name of the signature backend in use."""
        return self._identity.signing_key.backend.name

    def meet(self, other: PublicIdentity) -> None:
        """Register another party after checking that it holds its signing key.

        Raises
        ------
        ProofOfPossessionError, PointError, KeyMaterialError
        """
        self.directory.register(other)

    def rotate_prekey(self) -> PublicIdentity:
        """Make the next short-lived key, and begin to forget the present one.

        Returns
        -------
        PublicIdentity
            What to hand to everybody who is to encrypt to this party, before the overlap ends. If
            this party is in its own directory, it is handed in there.

        Raises
        ------
        ParameterError
            If this party has no short-lived keys.
        """
        if self._prekeys is None:
            raise ParameterError("prekeys: this party was made without")
        self._prekeys.rotate(self._known_prekey())
        self._announce()
        return self.public

    def _known_prekey(self) -> SignedPrekey | None:
        """What this party's own directory hands out of it."""
        return self.directory.get(self.id).prekey if self.id in self.directory else None

    def _announce(self) -> None:
        """Hand in the short-lived key where this party is registered with those who ask it."""
        if self._prekeys is not None and self.id in self.directory:
            self.directory.register(self.public)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def _send(
        self,
        recipient: str,
        body: Body,
        *,
        nonce: bytes,
        sequence: int,
        encrypt_to: bytes | None = None,
        pad_to: int = 0,
    ) -> bytes:
        """Encrypt, frame and sign a body; to the recipient's short-lived key where there is one."""
        header = Header(
            version=PROTOCOL_VERSION,
            kind=KIND_OF[type(body)],
            sender=self.id,
            recipient=recipient,
            nonce=nonce,
            timestamp=int(self._clock() * 1000),
            sequence=sequence,
        )
        # Looked up in any case: nothing is sent to a party that was revoked meanwhile.
        known = self.directory.get(recipient)
        key = known.key_at(self._clock()) if encrypt_to is None else encrypt_to
        ciphertext = encrypt(key, encode_body(body, pad_to), header.envelope_info())
        signed, message = encode_signed_part(header, ciphertext)
        size = len(signed) + SIGNATURE_BYTES
        if size > CAPS[header.kind]:
            raise TooLargeError(
                f"frame: a {header.kind.words} of {size} bytes is above the cap of "
                f"{CAPS[header.kind]}"
            )
        del ciphertext  # a frame may be long; no more copies of it than are needed
        self.signatures_made += 1
        signature = self._identity.signing_key.sign(message)
        del message
        return signed + signature

    def _authenticate(
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
        backend = self._identity.signing_key.backend
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

        def check(header: Header, size: int) -> None:
            self._check_header(header)
            if admit is not None:
                admit(header, size)

        frame = Frame.decode(data, kind, *others, admit=check)
        return frame, self.directory.get(frame.header.sender).signing_key

    def _check_header(self, header: Header) -> None:
        """Refuse a frame by what stands in its header alone."""
        if header.sender == self.id:
            raise ReflectionError("frame: carries the id of its own recipient as sender")
        if header.recipient != self.id:
            raise WrongRecipientError("frame: is addressed to another party")
        self.directory.get(header.sender)
        self._check_role(header)
        if header.kind.lasting:
            self._replays.check_time(header, self._clock(), UPLOAD_WINDOW)
        else:
            self._replays.check_time(header, self._clock())
            # Before the signature, which costs a thousand times more.
            self._replays.check_new(header)

    def _check_role(self, header: Header) -> None:
        """Refuse a frame that the sender's registered role does not send."""
        expected = header.kind.senders
        if (
            isinstance(self.directory, Registry)
            and self.directory.role(header.sender) not in expected
        ):
            raise RoleError(f"frame: expected a {' or '.join(expected)} as its sender")

    def _authenticate_many(
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
        verdicts = self._identity.signing_key.backend.verify_many(signed)
        for place, verdict in zip(list(admitted), verdicts, strict=True):
            if verdict is not None:
                refused[place] = verdict
                del admitted[place]
        self.signatures_verified += len(admitted)
        return admitted

    def _open(self, frame: Frame, body: type[B], key: EnvelopeKey | None = None) -> B:
        """Decrypt and decode an authentic frame, with the party's own keys by default.

        The frame does not tell to which of them it was encrypted, so they are tried in turn.
        """
        info = frame.header.envelope_info()
        if key is None and self._prekeys is not None:
            with contextlib.suppress(DecryptionError):
                return decode_body(body, self._prekeys.decrypt(frame.ciphertext, info))
        key = self._identity.envelope_key if key is None else key
        return decode_body(body, key.decrypt(frame.ciphertext, info))

    def _refuse(self, data: bytes, kind: Kind, *others: Kind) -> bytes:
        """Tell the sender of an authentic request that it was not accepted, and not why."""
        frame = self._authenticate(data, kind, *others)
        header = frame.header
        self._claim(frame)
        refusal = self._send(header.sender, Refusal(), nonce=header.nonce, sequence=header.sequence)
        return self._answered(header, refusal)

    def _claim(self, frame: Frame) -> None:
        """Mark a frame as used: after the last check, before costly work and any effect."""
        content = _content(frame) if frame.header.kind.repeatable else b""
        self._replays.claim(frame.header, self._clock(), content)

    def _answered(self, header: Header, answer: bytes) -> bytes:
        """Keep the answer to a claimed request, in case it is lost on the way; returns it.

        As well as that can be done: what it was made of is used up, and there will be no other.
        """
        try:
            self._replays.keep(header, answer)
        except StoreError as error:
            _LOGGER.warning("an answer cannot be kept for another try: %s", error)
        return answer

    def _again(self, data: bytes, kind: Kind, *others: Kind) -> bytes | None:
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
        try:
            frame, _ = self._admit(data, kind, *others)
        except ReplayError:
            frame = Frame.decode(data, kind, *others)
            return self._replays.answer(frame.header, _content(frame))
        raise ContextMismatchError("frame: was not received before")


def _content(frame: Frame) -> bytes:
    """Digest of all bytes of a frame."""
    return hashlib.sha256(frame.data).digest()


def with_prekeys(identity: Identity, options: dict[str, Any]) -> dict[str, Any]:
    """Return a party's options with short-lived keys of its own, if it was given none."""
    if options.get("prekeys") is None:
        return {**options, "prekeys": Prekeys(identity, clock=options.get("clock", time.time))}
    return options


def introduce(*parties: Party) -> None:
    """Let parties in one process register one another.

    Raises
    ------
    ParameterError
        If an argument is no party.
    """
    if not all(isinstance(party, Party) for party in parties):
        raise ParameterError("parties: expected each as an argument of its own")
    for party in parties:
        for other in parties:
            if other is not party:
                party.meet(other.public)
