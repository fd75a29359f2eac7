"""Patients and hospitals that contribute hidden values to sums."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.aggregate import PublicKey, encrypt
from ompd.aggregate.functions import FUNCTIONS, Function, by_name
from ompd.arrays import I64
from ompd.crypto import Identity
from ompd.errors import (
    ContextMismatchError,
    DomainError,
    FeatureError,
    ParameterError,
    RefusedError,
)
from ompd.roles.collecting import LEAST, check_terms
from ompd.roles.party import Party
from ompd.roles.pending import Pending
from ompd.roles.sessions import Sessions
from ompd.wire import (
    MAX_CONTRIBUTORS,
    CollectionReceipt,
    Contribution,
    Header,
    Invitation,
    Kind,
    Terms,
)

#: Invitations that are remembered; the oldest is forgotten first.
_MOST_INVITATIONS = 64


@dataclass(frozen=True, slots=True, repr=False)
class _Invited:
    terms: Terms
    function: Function
    public: PublicKey


class Contributor(Party):
    """Encrypts values under a physician's key and hands them to a cloud.

    `Patient` and `HospitalContributor` differ in their role alone.

    Parameters
    ----------
    identity : Identity
    least : int, default 5
        Fewest contributors, this one included, of which a sum may be opened. Physician and cloud
        are told what was agreed on; both together could break it.
    functions : iterable of Function
        That may be evaluated on its values.
    **options
        As for `Party`.

    Raises
    ------
    ParameterError
    """

    def __init__(
        self,
        identity: Identity,
        *,
        least: int = LEAST,
        functions: Iterable[Function] = FUNCTIONS,
        **options: Any,
    ) -> None:
        if type(least) is not int or not 1 <= least <= MAX_CONTRIBUTORS:
            raise ParameterError(f"least: expected an integer from 1 to {MAX_CONTRIBUTORS}")
        super().__init__(identity, **options)
        self._least = least
        self._functions = by_name(functions)
        self._lock = threading.Lock()
        self._invited: dict[bytes, _Invited] = {}
        self._sessions = Sessions()
        self._sent: Pending[bytes] = Pending(self._post.window)

    def accept(self, invitation: bytes) -> Terms:
        """Read an invitation, and remember it; nothing is sent.

        Returns
        -------
        Terms
            For people to decide by: what the values are, what is made of them and by whom.

        Raises
        ------
        DowngradeError
            If fewer contributors would do than this party demands.
        ContextMismatchError
            If the sender is not the physician of the terms, the function is not known here, or
            another collection has this id.
        FrameError
            If numbers contradict one another, or the key is not theirs.
        OmpdError
            If the frame is not authentic and fresh.
        """
        frame = self._post.authenticate(invitation, Kind.INVITATION)
        body = self._post.open(frame, Invitation)
        terms = body.terms
        if terms.physician != frame.header.sender:
            raise ContextMismatchError("invitation: its terms are those of another physician")
        function, public = check_terms(terms, body.key, self._functions, self._least)
        with self._lock:
            known = self._invited.get(terms.collection)
            if known is not None and known.terms != terms:
                raise ContextMismatchError("invitation: another collection has this id")
            self._invited[terms.collection] = _Invited(terms, function, public)
            while len(self._invited) > _MOST_INVITATIONS:
                del self._invited[next(iter(self._invited))]
        return terms

    def contribute(self, collection: bytes, *values: Any) -> bytes:
        """Make the frame that hands in this party's values; a later one takes its place.

        Parameters
        ----------
        collection : bytes
            Id of a collection that it was invited to.
        *values : integer array-like of shape (length,)
            One per part of the function, each value within the bound of the terms.

        Raises
        ------
        ContextMismatchError
            If no such invitation is remembered.
        FeatureError
            If number, shape or type is wrong.
        DomainError
            If a value is out of bounds.
        UnknownKeyError
            If the cloud is unknown, or its keys were revoked or have expired.
        """
        invited = self._find(collection)
        terms = invited.terms
        if len(values) != invited.function.parts:
            raise FeatureError(f"values: expected {invited.function.parts} arrays")
        checked = [_checked(each, terms) for each in values]
        parts = [encrypt(invited.public, each, bound=terms.bound).to_bytes() for each in checked]
        return self.hand_in(collection, parts)

    def hand_in(self, collection: bytes, parts: Iterable[bytes]) -> bytes:
        """As `contribute`, of what was encrypted already.

        For functions whose parts are more than arrays.
        """
        terms = self._find(collection).terms
        session, sequence = self._sessions.next(terms.cloud)
        frame = self._post.send(
            terms.cloud,
            Contribution(collection, terms.digest(), tuple(parts)),
            nonce=session,
            sequence=sequence,
        )
        self._sent.add(terms.cloud, session, sequence, collection, self._post.now())
        return frame

    def confirm(self, receipt: bytes) -> bytes:
        """Read what the cloud says to a contribution; returns the collection's id.

        Raises
        ------
        RefusedError
            If it was not accepted: on other terms, too late, or too much.
        OmpdError
            If the frame is not an authentic, fresh answer to a contribution of this party.
        """
        frame = self._post.authenticate(
            receipt, Kind.COLLECTION_RECEIPT, Kind.REFUSAL, admit=self._expected
        )
        header = frame.header
        collection = self._sent.find(header, self._post.now())
        if header.kind != Kind.REFUSAL:
            body = self._post.open(frame, CollectionReceipt)
            if body.collection != collection:
                raise ContextMismatchError("receipt: is of another collection")
        self._post.claim(frame)
        self._sent.close(header.sender, header.nonce, header.sequence)
        if header.kind == Kind.REFUSAL:
            raise RefusedError("receipt: the cloud did not accept the contribution")
        return collection

    def public_key(self, collection: bytes) -> PublicKey:
        """Return the physician's key for a collection that this party was invited to.

        Raises
        ------
        ContextMismatchError
            If no such invitation is remembered.
        """
        return self._find(collection).public

    def _find(self, collection: bytes) -> _Invited:
        with self._lock:
            found = self._invited.get(collection)
        if found is None:
            raise ContextMismatchError("collection: no invitation to it is known")
        return found

    def _expected(self, header: Header, _size: int) -> None:
        """Refuse what answers nothing before it is read."""
        self._sent.find(header, self._post.now())


class Patient(Contributor):
    """Contributes own values. See `Contributor`."""

    role = "patient"


class HospitalContributor(Contributor):
    """Contributes counts or sums of a hospital. See `Contributor`.

    It may have the identity of a `Hospital`, with a memory of frames that both share.
    """

    role = "hospital"


def _checked(values: Any, terms: Terms) -> I64:
    found = np.asarray(values)
    if found.dtype.kind not in "iu" or found.shape != (terms.length,):
        raise FeatureError(
            f"values: expected integers of shape ({terms.length},), got {found.dtype} of shape "
            f"{found.shape}"
        )
    if (found > terms.bound).any() or (found < -terms.bound).any():
        raise DomainError("values: expected none above the bound of the terms")
    return found.astype(np.int64)
