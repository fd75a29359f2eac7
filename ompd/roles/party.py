"""What all parties have in common: keys, acquaintances and a post."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

from ompd.crypto import Directory, Identity, PartyDirectory, Prekeys, PublicIdentity, SignedPrekey
from ompd.errors import ParameterError
from ompd.params import Role
from ompd.roles.clerk import Clerk
from ompd.roles.post import Post
from ompd.stores import FrameGuard, ReplayGuard
from ompd.wire import Header

#: Seconds that a frame stays acceptable.
FRESHNESS_WINDOW = 120.0
#: Roles that others encrypt to unasked, and that therefore have short-lived keys.
_WITH_PREKEYS = ("hospital", "cloud", "patient", "physician", "authority")


class Party:
    """A participant with keys of its own and a directory of others.

    Parameters
    ----------
    identity : Identity
    directory : Directory or Registry, optional
        Where it looks up others and what they may send; a `Directory` in memory by default. A
        `Registry` is durable.
    replays : FrameGuard, optional
        Memory of accepted frames, with the same window; in memory by default.
    clock : callable
        Seconds since the epoch.
    window : float
        Seconds that timestamps may differ from the clock, and that a request stays open.
    prekeys : Prekeys, optional
        Short-lived keys that others encrypt to. All but users make their own, in memory, if none
        are given; see `ompd.crypto.prekey_files` for keys that outlive the process.
    clerk : Clerk, optional
        Who signs and verifies for this party, with its key, where frames come in numbers; the
        calling thread by default, see `ompd.service.signers` for other processes.

    Attributes
    ----------
    role : {"user", "hospital", "cloud", "patient", "physician", "authority"} or None
        Of its class; None for a bare party.
    """

    role: ClassVar[Role | None] = None

    def __init__(
        self,
        identity: Identity,
        *,
        directory: PartyDirectory | None = None,
        replays: FrameGuard | None = None,
        clock: Callable[[], float] = time.time,
        window: float = FRESHNESS_WINDOW,
        prekeys: Prekeys | None = None,
        clerk: Clerk | None = None,
    ) -> None:
        if not 0 < window < math.inf:
            raise ParameterError("window: expected a positive number of seconds")
        # `is None`: an empty directory is false.
        replays = ReplayGuard(window) if replays is None else replays
        if replays.window != window:
            raise ParameterError("replays: expected a memory of the same window")
        if directory is None:
            directory = Directory(backend=identity.signing_key.backend, clock=clock)
        if prekeys is None and self.role in _WITH_PREKEYS:
            prekeys = Prekeys(identity, clock=clock)
        if prekeys is not None and not prekeys.belong_to(identity):
            raise ParameterError("prekeys: are those of another identity")
        if clerk is not None and clerk.public_key != identity.signing_key.public_key:
            raise ParameterError("clerk: signs with the key of another identity")
        self._post = Post(identity, directory, replays, clock, prekeys, clerk)
        if prekeys is not None:
            prekeys.begin(self._known_prekey())
        self._announce()

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
        return self._post.identity.id

    @property
    def public(self) -> PublicIdentity:
        """What others need to know of this party, with its present short-lived key."""
        prekeys = self._post.prekeys
        prekey = None if prekeys is None else prekeys.statement
        return self._post.identity.public.with_prekey(prekey)

    @property
    def directory(self) -> PartyDirectory:
        """Where this party looks up others."""
        return self._post.directory

    @property
    def window(self) -> float:
        """Seconds that timestamps of frames may differ from this party's clock."""
        return self._post.window

    @property
    def signatures_made(self) -> int:
        """How many frames this party signed."""
        return self._post.signatures_made

    @property
    def signatures_verified(self) -> int:
        """How many frames of others this party verified."""
        return self._post.signatures_verified

    @property
    def signature_backend(self) -> str:
        """Name of the signature backend in use."""
        return self._post.identity.signing_key.backend.name

    def meet(self, other: PublicIdentity, role: Role | None = None) -> None:
        """Register another party after checking that it holds its signing key.

        Parameters
        ----------
        other : PublicIdentity
        role : {"user", "hospital", "cloud", "patient", "physician", "authority"}, optional
            What is accepted of it: only hospitals store tables, only users ask, only clouds answer.
            By default what it has been, else a user.

        Raises
        ------
        ProofOfPossessionError, PointError, KeyMaterialError, ParameterError
            As `Directory.register`.
        """
        self.directory.register(other, role)

    def check_header(self, header: Header) -> None:
        """Refuse a frame by its header, as a server does before it reads the rest.

        Nothing is changed, and nothing proven: whoever knows a sender's name can put it there. A
        frame that came before passes, since its answer may have been lost.

        Raises
        ------
        UnknownKeyError
            If the sender is not registered, or no longer.
        WrongRecipientError, ReflectionError, RoleError
            If the frame is for another party, or of a kind that this sender does not send.
        ExpiredError
            If its time is over.
        """
        self._post.check_origin(header)

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
        if self._post.prekeys is None:
            raise ParameterError("prekeys: this party was made without")
        self._post.prekeys.rotate(self._known_prekey())
        self._announce()
        return self.public

    def _known_prekey(self) -> SignedPrekey | None:
        """What this party's own directory hands out of it."""
        return self.directory.get(self.id).prekey if self.id in self.directory else None

    def _announce(self) -> None:
        """Hand in the short-lived key where this party is registered with those who ask it."""
        if self._post.prekeys is not None and self.id in self.directory:
            self.directory.register(self.public)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


def introduce(*parties: Party) -> None:
    """Let parties in one process register one another, each in the role of its class.

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
                party.meet(other.public, other.role)
