"""The physician: begins collections, invites, and alone opens what a cloud makes of them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ompd.aggregate import Ciphertext, PublicKey, SecretKey, decrypt
from ompd.aggregate.fitting import parameters_for
from ompd.aggregate.functions import FUNCTIONS, Function, by_name
from ompd.arrays import I64
from ompd.crypto import Identity
from ompd.errors import (
    ContextMismatchError,
    KeyMaterialError,
    ParameterError,
    RangeError,
    RefusedError,
)
from ompd.roles.collecting import LEAST, check_terms
from ompd.roles.party import Party
from ompd.roles.pending import Pending
from ompd.roles.sessions import Sessions
from ompd.wire import (
    MAX_CONTRIBUTORS,
    MAX_LENGTH,
    AggregateRequest,
    AggregateResult,
    Collection,
    CollectionReceipt,
    Frame,
    Header,
    Invitation,
    Kind,
    Terms,
    check_text,
)


class _Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    terms: Terms
    key: bytes
    secret: bytes

    def __repr__(self) -> str:
        return "<_Stored>"


_STORED = msgspec.msgpack.Decoder(_Stored)
_DIGEST_BYTES = 32


def _digest(stored: bytes) -> bytes:
    """What shows that a flipped bit is none of what was written."""
    return hashlib.sha256(b"ompd/collection/1\x00" + stored).digest()


@dataclass(frozen=True, slots=True, repr=False)
class _Own:
    terms: Terms
    function: Function
    key: bytes
    secret: SecretKey


@dataclass(frozen=True, slots=True, repr=False)
class Aggregate:
    """What was opened.

    Attributes
    ----------
    terms : Terms
    contributors : int
        Whose values are in it, as the cloud says.
    parts : tuple of bytes
        The result's ciphertexts, finished.
    secret : SecretKey
        What opens them.
    """

    terms: Terms
    contributors: int
    parts: tuple[bytes, ...]
    secret: SecretKey

    @property
    def values(self) -> tuple[I64, ...]:
        """Exact integers of each part, each of shape (length,), in the function's order.

        Raises
        ------
        Bottom
            If one is not certain to be exact. Nobody else is to learn that.
        FrameError
            If a part is malformed, or not of as many values as the terms say.
        """
        context = self.secret.context
        read = [Ciphertext.from_bytes(part, context) for part in self.parts]
        if any(each.length != self.terms.length for each in read):
            raise RangeError(f"result: expected {self.terms.length} values")
        return tuple(decrypt(self.secret, each) for each in read)


class Physician(Party):
    """Begins collections of hidden values, and opens the results.

    Parameters
    ----------
    identity : Identity
    functions : iterable of Function
        That it may have evaluated.
    **options
        As for `Party`.
    """

    role = "physician"

    def __init__(
        self, identity: Identity, *, functions: Iterable[Function] = FUNCTIONS, **options: Any
    ) -> None:
        super().__init__(identity, **options)
        self._functions = by_name(functions)
        self._own: dict[bytes, _Own] = {}
        self._sessions = Sessions()
        self._begun: Pending[bytes] = Pending(self._post.window)
        self._asked: Pending[bytes] = Pending(self._post.window)

    def collect(
        self,
        cloud: str,
        about: str,
        function: str = "sum",
        *,
        length: int,
        bound: int,
        least: int = LEAST,
        most: int = 1000,
    ) -> tuple[bytes, bytes]:
        """Make a key for a new collection, and the frame that begins it at a cloud.

        Parameters
        ----------
        cloud : str
            Id of a cloud that this physician has met.
        about : str
            What the values are, for those who are invited.
        function : str
            Name of what is made of the values; see `ompd.aggregate.functions`.
        length : int
            Values of a contribution, up to 16 384; up to 8 192 where results are small.
        bound : int
            Largest absolute value of one. What the function makes of `most` contributors with such
            values has to stay below 2**31 if it is a sum, below 16 646 144 if it has products.
        least, most : int
            Fewest contributors of which there is a result, and most that are taken.

        Returns
        -------
        collection : bytes
            Its id.
        frame : bytes

        Raises
        ------
        ParameterError
            If the numbers are not possible, or no parameters hold the results.
        UnknownKeyError
            If the cloud is unknown, or its keys were revoked or have expired.
        """
        check_text("about", about)
        wanted = self._functions.get(function) if isinstance(function, str) else None
        if wanted is None:
            raise ParameterError(f"function: expected one of {', '.join(self._functions)}")
        for name, value, top in (
            ("length", length, MAX_LENGTH),
            ("bound", bound, 2**63 - 1),
            ("least", least, MAX_CONTRIBUTORS),
            ("most", most, MAX_CONTRIBUTORS),
        ):
            if type(value) is not int or not 1 <= value <= top:
                raise ParameterError(f"{name}: expected an integer from 1 to {top}")
        if least > most:
            raise ParameterError("least: expected no more than most")
        secret = SecretKey.generate(parameters_for(wanted, length, bound, most))
        key = secret.public.to_bytes()
        terms = Terms(
            secrets.token_bytes(16), self.id, cloud, about, function, least, most, length, bound,
            hashlib.sha256(key).digest(),
        )  # fmt: skip
        session, sequence = self._sessions.next(cloud)
        frame = self._post.send(cloud, Collection(terms, key), nonce=session, sequence=sequence)
        self._own[terms.collection] = _Own(terms, wanted, key, secret)
        self._begun.add(cloud, session, sequence, terms.collection, self._post.now())
        return terms.collection, frame

    def confirm(self, receipt: bytes) -> bytes:
        """Read the cloud's receipt for a new collection; returns its id.

        Raises
        ------
        RefusedError
            If the cloud did not accept it.
        OmpdError
            If the frame is not an authentic, fresh answer to a frame of this physician.
        """
        frame, collection = self._answer(receipt, Kind.COLLECTION_RECEIPT, self._begun)
        header = frame.header
        if header.kind != Kind.REFUSAL:
            body = self._post.open(frame, CollectionReceipt)
            if body.collection != collection:
                raise ContextMismatchError("receipt: is of another collection")
        self._post.claim(frame)
        self._begun.close(header.sender, header.nonce, header.sequence)
        if header.kind == Kind.REFUSAL:
            raise RefusedError("receipt: the cloud did not accept the collection")
        return collection

    def invite(self, collection: bytes, contributor: str) -> bytes:
        """Make the frame that invites a patient or hospital; it can be read for a day.

        Raises
        ------
        ContextMismatchError
            If it is no collection of this physician.
        UnknownKeyError
            If the contributor is unknown, or its keys were revoked or have expired.
        """
        own = self._find(collection)
        session, sequence = self._sessions.next(contributor)
        return self._post.send(
            contributor, Invitation(own.terms, own.key), nonce=session, sequence=sequence
        )

    def ask(
        self, collection: bytes, *, contributor: str = "", operands: Sequence[bytes] = ()
    ) -> bytes:
        """Make the frame that asks for the result.

        The first one of a collection ends it: the cloud takes no more contributions, and gives the
        same result whenever it is asked again.

        Parameters
        ----------
        collection : bytes
        contributor : str
            Whose values, for a function of one contributor, which ends nothing.
        operands : sequence of bytes
            As many as the function takes.

        Raises
        ------
        ContextMismatchError
            If it is no collection of this physician.
        ParameterError
            If the function takes no such thing.
        """
        own = self._find(collection)
        if bool(contributor) == own.function.pooled:
            raise ParameterError("contributor: expected for functions of one contributor alone")
        if len(operands) != own.function.operands:
            raise ParameterError(f"operands: expected {own.function.operands}")
        cloud = own.terms.cloud
        session, sequence = self._sessions.next(cloud)
        frame = self._post.send(
            cloud,
            AggregateRequest(collection, contributor, tuple(operands)),
            nonce=session,
            sequence=sequence,
        )
        self._asked.add(cloud, session, sequence, collection, self._post.now())
        return frame

    def read(self, result: bytes) -> Aggregate:
        """Open a result frame; the cloud never learns what came of it.

        Raises
        ------
        RefusedError
            If the cloud has no result, as while too few contributed.
        OmpdError
            If the frame is not an authentic, fresh answer to a request of this physician.
        """
        frame, collection = self._answer(result, Kind.AGGREGATE_RESULT, self._asked)
        header = frame.header
        own = self._find(collection)
        body = None
        if header.kind != Kind.REFUSAL:
            body = self._post.open(frame, AggregateResult)
            if body.collection != collection:
                raise ContextMismatchError("result: is of another collection")
            least = own.terms.least if own.function.pooled else 1
            if not least <= body.contributors <= own.terms.most:
                raise ContextMismatchError("result: is not of as many contributors as was agreed")
            if len(body.parts) != own.function.results:
                raise ContextMismatchError(f"result: expected {own.function.results} parts")
        self._post.claim(frame)
        self._asked.close(header.sender, header.nonce, header.sequence)
        if body is None:
            raise RefusedError("result: the cloud has none to give")
        return Aggregate(own.terms, body.contributors, body.parts, own.secret)

    def to_bytes(self, collection: bytes) -> bytes:
        """Return a collection with its **secret** key, for the physician's own storage.

        Raises
        ------
        ContextMismatchError
            If it is no collection of this physician.
        """
        own = self._find(collection)
        stored = msgspec.msgpack.encode(_Stored(own.terms, own.key, own.secret.to_bytes()))
        return _digest(stored) + stored

    def restore(self, stored: bytes) -> bytes:
        """Have a collection again, of what `to_bytes` gave; returns its id.

        Raises
        ------
        KeyMaterialError
            If it is none of this physician, or damaged.
        """
        content = stored[_DIGEST_BYTES:] if isinstance(stored, bytes) else b""
        if not content or _digest(content) != stored[:_DIGEST_BYTES]:
            raise KeyMaterialError("stored: expected bytes of a whole collection")
        found = _STORED.decode(content)
        if found.terms.physician != self.id:
            raise KeyMaterialError("stored: expected a collection of this physician")
        function, public = check_terms(found.terms, found.key, self._functions, 1)
        secret = SecretKey.from_bytes(found.secret, public)
        self._own[found.terms.collection] = _Own(found.terms, function, found.key, secret)
        return found.terms.collection

    def forget(self, collection: bytes) -> None:
        """Forget the key of a collection: nobody opens anything of it any more.

        Raises
        ------
        ContextMismatchError
            If it is no collection of this physician.
        """
        self._find(collection)
        del self._own[collection]

    def public_key(self, collection: bytes) -> PublicKey:
        """Return the public key of a collection, for operands of requests.

        Raises
        ------
        ContextMismatchError
            If it is no collection of this physician.
        """
        return self._find(collection).secret.public

    def _find(self, collection: bytes) -> _Own:
        found = self._own.get(collection)
        if found is None:
            raise ContextMismatchError("collection: is none of this physician")
        return found

    def _answer(self, data: bytes, kind: Kind, waiting: Pending[bytes]) -> tuple[Frame, bytes]:
        """Authenticate an answer to something that waits; returns it, and of which collection."""

        def expected(header: Header, _size: int) -> None:
            waiting.find(header, self._post.now())

        frame = self._post.authenticate(data, kind, Kind.REFUSAL, admit=expected)
        return frame, waiting.find(frame.header, self._post.now())
