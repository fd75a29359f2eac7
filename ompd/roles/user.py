"""The user: asks, and reads the answer."""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.crypto import COMPACT, EnvelopeKey, Identity, check_suite, suite_of
from ompd.errors import (
    DowngradeError,
    FeatureError,
    NoAnswerError,
    RefusedError,
    TooLargeError,
)
from ompd.params import check_profile, weaker
from ompd.roles.diagnoses import Diagnoses, read_report
from ompd.roles.party import Party
from ompd.roles.pending import Pending
from ompd.schema import Schema, as_feature_matrix
from ompd.wire import MAX_BATCH, Header, Kind, Query, Refusal, Report, disease_name

#: Query bodies are padded to multiples of this many bytes.
_LENGTH_STEP = 32


@dataclass(frozen=True, slots=True, repr=False)
class _Asked:
    reply_key: EnvelopeKey
    rows: int


class _Sessions:
    """A random session with each hospital, and how many queries it has had.

    One per hospital, so that neither the number nor the count tells one of them of another. A
    forked process draws its own: what both counted on would be taken for a replay.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._last: dict[str, tuple[bytes, int]] = {}

    def next(self, hospital: str) -> tuple[bytes, int]:
        """Return session and sequence of the next query."""
        with self._lock:
            session, last = self._last.get(hospital, (secrets.token_bytes(16), -1))
            self._last[hospital] = session, last + 1
            return session, last + 1


class User(Party):
    """Asks hospitals for diagnoses.

    Parameters
    ----------
    identity : Identity
    least_profile : {"paper", "hardened", "sealed"}
        What a table may tell the cloud at most, for this user to ask it: hospitals are told and
        refuse, and a report from a weaker one is refused as well.
    least_suite : {"x25519", "mlkem768x25519"}
        The weakest envelope suite that a query is encrypted with. The user's own key must be of it
        too, since reports come back in that suite.
    fallback : bool, default False
        Whether a query may be encrypted to a hospital's long-lived key when no valid short-lived
        one is known. Whoever records such a query and steals that key later can read it.
    **options
        Directory, replays, clock and window as for `Party`.

    Raises
    ------
    ParameterError
        If there is no such profile or suite.
    DowngradeError
        If the identity's own suite is weaker.
    """

    role = "user"

    def __init__(
        self,
        identity: Identity,
        *,
        least_profile: str = "paper",
        least_suite: str = COMPACT,
        fallback: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        self._least_profile = check_profile(least_profile, "least_profile")
        check_suite(identity.envelope_key.suite, least_suite, "this identity")
        self._least_suite = least_suite
        self._fallback = fallback
        self._sessions = _Sessions()
        self._asked: Pending[_Asked] = Pending(self._post.window)

    @property
    def open_queries(self) -> int:
        """How many queries wait for their report."""
        return len(self._asked)

    def ask(
        self, hospital: str, disease: str, features: Any, *, schema: Schema | None = None
    ) -> bytes:
        """Make a query frame.

        Parameters
        ----------
        hospital : str
            Id of a hospital this user has met.
        disease : str
            As the hospital names it.
        features : array-like of shape (n,) or (m, n), data frame, series or mapping
            One vector or a batch. Values with names need `schema`, which finds them by these;
            values without are in the order of the hospital's schema. NaN stands for a missing
            value, which the hospital fills; `schema` says of which features it does.
        schema : Schema, optional
            The hospital's for this disease, as it handed it out: ``hospital.diseases[disease]``.
            With it domains are checked here too, otherwise by the hospital alone.

        Raises
        ------
        UnknownKeyError
            If the hospital is unknown.
        ParameterError
            If the disease is no text of 1 to 255 characters.
        FeatureError
            If a value is no finite number and may not be missing, there are no rows, a name is
            missing, unknown or there twice, or there are names and no schema.
        DomainError
            If a value is outside its feature's domain in `schema`.
        TooLargeError
            If there are more than `MAX_BATCH` rows.
        DowngradeError
            If the hospital's envelope key is of a weaker suite than this user demands.
        PrekeyError
            If no valid short-lived key of the hospital is known, and the user allows no fallback.
        """
        disease = disease_name(disease)
        values = as_feature_matrix(features) if schema is None else schema.check(features)
        if not values.size:
            raise FeatureError("features: expected at least one row and one feature")
        # Only the hospital's schema tells which values may be missing.
        if schema is None and not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise FeatureError(f"row {row}, feature {column}: expected a finite number")
        if len(values) > MAX_BATCH:
            raise TooLargeError(f"features: expected at most {MAX_BATCH} rows, got {len(values)}")
        recipient = self.directory.get(hospital)
        check_suite(suite_of(recipient.envelope_key), self._least_suite, "the hospital")
        key = recipient.key_at(self._post.now(), fallback=self._fallback)
        # The report comes back under a key of its own, in the suite of this user's key: who
        # steals the long-term key later cannot read old reports.
        reply_key = EnvelopeKey.generate(self._post.identity.envelope_key.suite)
        # A number that is none has bits to spare, which may say what it was made of.
        data = np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes()
        query = Query(disease, len(values), data, reply_key.public_bytes, self._least_profile)
        if self._sessions.process != os.getpid():
            self._sessions = _Sessions()
        session, sequence = self._sessions.next(hospital)
        # Lengths in steps, so that they do not tell diseases apart by their names.
        frame = self._post.send(
            hospital, query, nonce=session, sequence=sequence, encrypt_to=key, step=_LENGTH_STEP
        )
        asked = _Asked(reply_key, len(values))
        self._asked.add(hospital, session, sequence, asked, self._post.now())
        return frame

    def read(self, report: bytes) -> Diagnoses:
        """Open a report frame.

        Returns
        -------
        Diagnoses
            A sequence of `Diagnosis`, one per row of the query, in its order; held as arrays.

        Raises
        ------
        RefusedError
            If the hospital did not accept the query; that query is over.
        NoAnswerError
            If it did, and got no answer from the cloud; that query is over as well.
        DowngradeError
            If the table is of a weaker profile than this user demands; that query is over.
        OmpdError
            If the frame is not an authentic, fresh answer to an open query of this user.
        """
        frame = self._post.authenticate(report, Kind.REPORT, Kind.REFUSAL, admit=self._expected)
        header = frame.header
        asked = self._asked.find(header, self._post.now())
        if header.kind == Kind.REFUSAL:
            self._post.open(frame, Refusal)
            self._post.claim(frame)
            self._asked.close(header.sender, header.nonce, header.sequence)
            raise RefusedError("report: the hospital did not accept the query")
        body = self._post.open(frame, Report, asked.reply_key)
        diagnoses = read_report(body, asked.rows if body.findings else 0)
        self._post.claim(frame)
        self._asked.close(header.sender, header.nonce, header.sequence)
        if not diagnoses:
            raise NoAnswerError("report: the hospital got no answer to the query")
        if weaker(body.profile, self._least_profile):
            raise DowngradeError(
                f"report: the profile {self._least_profile} is demanded, the table's is weaker"
            )
        return diagnoses

    def _expected(self, header: Header, _size: int) -> None:
        """Refuse what answers no query before it is read."""
        self._asked.find(header, self._post.now())
