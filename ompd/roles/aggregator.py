"""The cloud's part in sums of hidden values: keeps contributions, evaluates, opens nothing."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol, Self

from ompd.aggregate import PublicKey
from ompd.aggregate.functions import FUNCTIONS, Function, by_name
from ompd.crypto import Identity
from ompd.errors import (
    ContextMismatchError,
    FramingError,
    ParameterError,
    ReplayError,
    RoleError,
)
from ompd.roles.collecting import LEAST, check_terms
from ompd.roles.party import Party
from ompd.stores import Collections
from ompd.stores.collections import Kept
from ompd.wire import (
    MAX_CONTRIBUTORS,
    AggregateRequest,
    AggregateResult,
    Body,
    Collection,
    CollectionReceipt,
    Contribution,
    Frame,
    Kind,
    Terms,
)

#: Seconds that a collection is kept from its begin on.
LIFETIME = 90 * 86_400.0
#: Seconds of an epoch, in which requests about one contributor are counted.
EPOCH = 30 * 86_400

#: Public keys in memory, of up to 20 MB each.
_MOST_KEYS = 4

_KINDS = (Kind.COLLECTION, Kind.CONTRIBUTION, Kind.AGGREGATE_REQUEST)


class Quota(Protocol):
    """Counts requests about one contributor, durably."""

    def take(self, patient: str, epoch: int, digest: bytes) -> None:
        """Count a request, unless that very one was counted before in the epoch.

        Raises
        ------
        QuotaError
            If there were as many as may be.
        """


class AggregateCloud(Party):
    """Keeps what patients and hospitals contribute, and adds it up for a physician.

    Parameters
    ----------
    identity : Identity
    collections : Collections, optional
        Where contributions are kept; in memory by default. With a file they outlive the process.
    functions : iterable of Function
        That it evaluates.
    least : int, default 5
        Fewest contributors of any result.
    lifetime : float, default 90 days
        Seconds after which a collection is removed with all that is in it.
    quota : Quota, optional
        Needed for functions of one contributor.
    **options
        As for `Party`.

    Raises
    ------
    ParameterError
    """

    role = "cloud"

    def __init__(
        self,
        identity: Identity,
        *,
        collections: Collections | None = None,
        functions: Iterable[Function] = FUNCTIONS,
        least: int = LEAST,
        lifetime: float = LIFETIME,
        quota: Quota | None = None,
        **options: Any,
    ) -> None:
        if type(least) is not int or not 1 <= least <= MAX_CONTRIBUTORS:
            raise ParameterError(f"least: expected an integer from 1 to {MAX_CONTRIBUTORS}")
        if not 0 < lifetime < math.inf:
            raise ParameterError("lifetime: expected a positive number of seconds")
        self._functions = by_name(functions)
        if quota is None and not all(each.pooled for each in self._functions.values()):
            raise ParameterError("quota: expected one for functions of one contributor")
        super().__init__(identity, **options)
        self._collections = Collections() if collections is None else collections
        self._least = least
        self._lifetime = lifetime
        self._quota = quota
        # One result of a collection, though several threads may ask for it.
        self._evaluating = threading.Lock()
        self._lock = threading.Lock()
        self._public_keys: OrderedDict[bytes, PublicKey] = OrderedDict()

    def close(self) -> None:
        """Close the file of collections."""
        self._collections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, request: bytes) -> bytes:
        """Answer a collection, contribution or request with a receipt or result.

        The same frame, byte for byte, gets the same answer again as long as it is fresh and the
        answer is kept. A result is made once per collection.

        Raises
        ------
        ContextMismatchError
            If terms, key, collection or contributor are not what they should be, the collection
            takes no more, or the request is another physician's.
        DowngradeError
            If fewer contributors would do than this cloud demands.
        ContributorsError
            If too few contributed. The collection goes on.
        QuotaError, TooLargeError
            If there is too much of the sender here, or for a collection.
        StoreError
            If nothing can be kept. Another frame may follow.
        OmpdError
            If the frame is not authentic, fresh and well-formed, or was received before and its
            answer is not kept.
        """
        try:
            frame = self._post.authenticate(request, *_KINDS)
        except ReplayError:
            if (given := self._post.again(request, *_KINDS)) is not None:
                return given
            raise
        found = {
            Kind.COLLECTION: self._begin,
            Kind.CONTRIBUTION: self._keep,
            Kind.AGGREGATE_REQUEST: self._evaluate,
        }[frame.header.kind](frame)
        header = frame.header
        answer = self._post.send(header.sender, found, nonce=header.nonce, sequence=header.sequence)
        return self._post.answered(header, answer)

    def refuse(self, request: bytes) -> bytes:
        """Answer a frame that `answer` did not accept, telling no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh.
        """
        try:
            return self._post.refuse(request, *_KINDS)
        except ReplayError:
            # It was refused after it was claimed, or by a process that ended.
            return self._post.settle(self._post.claimed(request, *_KINDS))

    def tidy(self) -> None:
        """Remove collections whose time is over.

        Raises
        ------
        StoreError
        """
        self._collections.forget(self._post.now() - self._lifetime)

    def _begin(self, frame: Frame) -> Body:
        body = self._post.open(frame, Collection)
        terms = body.terms
        if (terms.physician, terms.cloud) != (frame.header.sender, self.id):
            raise ContextMismatchError("collection: its terms are those of other parties")
        check_terms(terms, body.key, self._functions, self._least)
        self._post.claim(frame)
        self.tidy()
        self._collections.open(terms, body.key, self._post.now())
        return CollectionReceipt(terms.collection)

    def _keep(self, frame: Frame) -> Body:
        body = self._post.open(frame, Contribution)
        kept = self._collections.find(body.collection)
        function = self._function(kept.terms)
        if body.terms != kept.terms.digest():
            raise ContextMismatchError("contribution: is on other terms")
        if kept.closed:
            raise ContextMismatchError("contribution: the collection takes no more")
        if len(body.parts) != function.parts:
            raise FramingError(f"contribution: expected {function.parts} parts")
        public = self._public_key(kept.terms)
        function.check(public, body.parts, kept.terms.length, kept.terms.bound)
        self._post.claim(frame)
        header = frame.header
        self._collections.put(body.collection, header.sender, body.parts, header.timestamp)
        return CollectionReceipt(body.collection)

    def _evaluate(self, frame: Frame) -> Body:
        body = self._post.open(frame, AggregateRequest)
        kept = self._collections.find(body.collection)
        if kept.terms.physician != frame.header.sender:
            raise RoleError("request: is for the physician of the collection alone")
        function = self._function(kept.terms)
        if bool(body.contributor) == function.pooled or len(body.operands) != function.operands:
            raise FramingError("request: expected what the function takes")
        evaluate = self._of_all if function.pooled else self._of_one
        count, parts = evaluate(frame, body, kept, function)
        return AggregateResult(body.collection, count, tuple(parts))

    def _function(self, terms: Terms) -> Function:
        found = self._functions.get(terms.function)
        if found is None:
            # It was known to the process that began the collection.
            raise ContextMismatchError("collection: its function is not known here any more")
        return found

    def _public_key(self, terms: Terms) -> PublicKey:
        """Return the key of a collection; to read one costs more than to check a contribution."""
        with self._lock:
            found = self._public_keys.get(terms.key)
            if found is not None:
                self._public_keys.move_to_end(terms.key)
                return found
        found = PublicKey.from_bytes(self._collections.key(terms))
        with self._lock:
            self._public_keys[terms.key] = found
            while len(self._public_keys) > _MOST_KEYS:
                self._public_keys.popitem(last=False)
        return found

    def _of_all(
        self, frame: Frame, body: AggregateRequest, kept: Kept, function: Function
    ) -> tuple[int, Iterable[bytes]]:
        collections, collection = self._collections, body.collection
        least = max(self._least, kept.terms.least)
        if collections.result(collection) is None:
            collections.check_enough(collection, least)
        self._post.claim(frame)
        with self._evaluating:
            if (given := collections.result(collection)) is not None:
                return given
            count = collections.close_collection(collection, least)
            public = self._public_key(kept.terms)
            try:
                parts = function.evaluate(public, collections.contributions(collection), ())
                collections.keep_result(collection, count, parts)
            except (ContextMismatchError, FramingError):
                # Another process was faster, and has removed what it added up.
                pass
        if (given := collections.result(collection)) is None:
            raise ContextMismatchError("request: the collection ended meanwhile")
        return given

    def _of_one(
        self, frame: Frame, body: AggregateRequest, kept: Kept, function: Function
    ) -> tuple[int, Iterable[bytes]]:
        contribution = self._collections.contribution(body.collection, body.contributor)
        self._post.claim(frame)
        digest = hashlib.sha256(b"ompd/aggregate-request/1\x00" + body.collection)
        for part in (*contribution, b"", *body.operands):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        assert self._quota is not None  # noqa: S101  (checked when it was made)
        self._quota.take(body.contributor, int(self._post.now()) // EPOCH, digest.digest())
        public = self._public_key(kept.terms)
        return 1, function.evaluate(public, [contribution], body.operands)
