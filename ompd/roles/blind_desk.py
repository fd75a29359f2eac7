"""A hospital's blind diagnoses: it scores what it cannot see, and asks no cloud."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from ompd.crypto import check_envelope_key
from ompd.errors import (
    OmpdError,
    OutdatedError,
    UnenrolledError,
    UnknownDiseaseError,
)
from ompd.roles.blind_models import BlindModel
from ompd.roles.post import Post
from ompd.scoring import PublicKey, Query, reply
from ompd.stores import BlindStore
from ompd.wire import (
    OUTDATED,
    SPENT,
    UNENROLLED,
    BlindKey,
    BlindKeyReceipt,
    BlindQuery,
    BlindReport,
    Frame,
    Kind,
    Refusal,
)

#: Name of the file in a hospital's state folder.
FILE = "blind"
#: Keys that are kept ready; each takes some two megabytes.
_READY = 32


class BlindDesk:
    """Models, keys of users and answers. For several threads.

    Parameters
    ----------
    post : Post
    state : path or None
        The hospital's state folder; None keeps all in memory.

    Raises
    ------
    StoreError, VersionError
        If what is kept cannot be used.
    """

    def __init__(self, post: Post, state: str | os.PathLike[str] | None) -> None:
        self._post = post
        self._path = None if state is None else Path(state) / FILE
        self._opened: BlindStore | None = None
        self._lock = threading.RLock()
        self._ready: OrderedDict[bytes, PublicKey] = OrderedDict()
        self._models: dict[str, BlindModel] = {}
        if self._path is not None and os.path.lexists(self._path):
            try:
                for disease, content in self._store.models().items():
                    self._models[disease] = BlindModel.from_bytes(content)
            except BaseException:
                self.close()
                raise

    @property
    def _store(self) -> BlindStore:
        """The file, which is made when it is needed."""
        with self._lock:
            if self._opened is None:
                self._opened = BlindStore(self._path)
            return self._opened

    @property
    def models(self) -> dict[str, BlindModel]:
        """Those that are asked, by disease."""
        return dict(self._models)

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()

    def put(self, disease: str, model: BlindModel) -> None:
        """Ask a model from now on.

        Raises
        ------
        StoreError
            The one before stays then.
        """
        with self._lock:
            before = self._models.get(disease)
            self._store.keep_model(
                disease, model.to_bytes(), model.edition, before.edition if before else b""
            )
            self._models[disease] = model

    def withdraw(self, disease: str) -> BlindModel:
        """Forget a model; returns it.

        Raises
        ------
        UnknownDiseaseError, StoreError
        """
        with self._lock:
            model = self._find(disease)
            self._store.drop_model(disease, model.edition)
            del self._models[disease]
        return model

    def left(self, user: str, disease: str) -> int:
        """Return how many rows a user may still be told.

        Raises
        ------
        UnknownDiseaseError, StoreError
        """
        model = self._find(disease)
        return max(0, model.answers - self._store.had(user, model.edition))

    def answer(self, data: bytes) -> bytes:
        """As `Hospital.answer`."""
        frame = self._post.authenticate(data, Kind.BLIND_QUERY, Kind.BLIND_KEY)
        if frame.header.kind == Kind.BLIND_KEY:
            return self._enrol(frame)
        return self._score(frame)

    def refusal_code(self, frame: Frame) -> int:
        """Return what the user of an authentic frame that was not accepted may know of that."""
        code = Refusal().code
        if frame.header.kind != Kind.BLIND_QUERY:
            return code
        try:
            body = self._post.open(frame, BlindQuery)
            model = self._find(body.disease)
            if body.edition != model.edition:
                return OUTDATED
            if not self._is_enrolled(frame.header.sender, body.key_id):
                return UNENROLLED
            had = self._store.had(frame.header.sender, model.edition)
            return SPENT if had + body.rows > model.answers else code
        except OmpdError:
            return code

    def _enrol(self, frame: Frame) -> bytes:
        header = frame.header
        body = self._post.open(frame, BlindKey)
        # All of it is read here, so that what is kept can be used.
        PublicKey.from_bytes(body.key)
        signer = self._post.directory.get(header.sender).signing_key
        self._post.claim(frame)
        key_id = self._store.keep_key(header.sender, signer, body.key)
        receipt = self._post.send(
            header.sender,
            BlindKeyReceipt(key_id),
            nonce=header.nonce,
            sequence=header.sequence,
        )
        return self._post.answered(header, receipt)

    def _score(self, frame: Frame) -> bytes:
        header = frame.header
        body = self._post.open(frame, BlindQuery)
        model = self._find(body.disease)
        if body.edition != model.edition:
            raise OutdatedError(
                "query: is of another model than the disease's; its user has to learn the "
                "catalogue anew"
            )
        check_envelope_key(body.reply_key)
        model.layout.check_rows(body.rows)
        key = self._key(header.sender, body.key_id)
        query = Query.from_bytes(body.cells, key)
        self._store.take(header.sender, model.edition, body.rows, model.answers)
        try:
            self._post.claim(frame)
        except OmpdError:
            self._store.untake(header.sender, model.edition, body.rows)
            raise
        scores = reply(key, query, model.layout, model.model.weights, body.rows)
        report = self._post.send(
            header.sender,
            BlindReport(model.edition, model.findings, scores),
            nonce=header.nonce,
            sequence=header.sequence,
            encrypt_to=body.reply_key,
        )
        return self._post.answered(header, report)

    def _find(self, disease: str) -> BlindModel:
        model = self._models.get(disease)
        if model is None:
            raise UnknownDiseaseError("disease: no blind model is published under this name")
        return model

    def _is_enrolled(self, user: str, key_id: bytes) -> bool:
        """Whether a key is this user's, and came under the signing key that is valid now."""
        found = self._store.key_id(user)
        return found == (self._post.directory.get(user).signing_key, key_id)

    def _key(self, user: str, key_id: bytes) -> PublicKey:
        if not self._is_enrolled(user, key_id):
            raise UnenrolledError("query: is encrypted with a key that its user did not enrol")
        with self._lock:
            ready = self._ready.get(key_id)
            if ready is not None:
                self._ready.move_to_end(key_id)
                return ready
        kept = self._store.key(user)
        if kept is None or kept.key_id != key_id:
            # Another one came meanwhile.
            raise UnenrolledError("query: is encrypted with a key that its user did not enrol")
        read = PublicKey.from_bytes(kept.key)
        with self._lock:
            self._ready[key_id] = read
            while len(self._ready) > _READY:
                self._ready.popitem(last=False)
        return read
