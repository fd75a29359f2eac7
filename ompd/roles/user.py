"""The user: asks, and reads the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.crypto import COMPACT, EnvelopeKey, Identity, check_suite, suite_of
from ompd.errors import (
    DowngradeError,
    NoAnswerError,
    OutdatedError,
    OutdatedRefusalError,
    ParameterError,
    RefusedError,
    TooLargeError,
)
from ompd.params import check_profile, weaker
from ompd.roles.asking import Asked, Rows, rows_of
from ompd.roles.catalogue import Library, Listing, listed
from ompd.roles.diagnoses import Diagnoses, read_report
from ompd.roles.party import Party
from ompd.roles.pending import Pending
from ompd.roles.sessions import Sessions
from ompd.schema import Errors, Schema
from ompd.wire import (
    ANY_FORM,
    MAX_BATCH,
    OUTDATED,
    Header,
    Kind,
    Query,
    Refusal,
    Report,
    disease_name,
    form_of,
)

#: Query bodies are padded to multiples of this many bytes.
_LENGTH_STEP = 32


@dataclass(frozen=True, slots=True, repr=False)
class _OpenQuery:
    reply_key: EnvelopeKey
    asked: Asked


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
        self._library = Library(self.directory)
        self._sessions = Sessions()
        self._asked: Pending[_OpenQuery] = Pending(self._post.window)

    @property
    def open_queries(self) -> int:
        """How many queries wait for their report."""
        return len(self._asked)

    def learn(self, catalogue: bytes) -> str:
        """Know what a hospital can be asked, by its `Hospital.catalogue`.

        From then on `ask` finds columns, checks and converts values by itself, and nothing leaves
        that the catalogue says the hospital would refuse. What is known rests in memory only.

        Returns
        -------
        str
            The hospital's id.

        Raises
        ------
        UnknownKeyError
            If this user has not met the hospital, or its keys were revoked or have expired.
        RoleError
            If its maker was met, but not as a hospital.
        SignatureError
            If the hospital's present key did not sign it.
        ExpiredError
            If its validity has ended, or it comes from a clock that is over five minutes ahead.
        VersionError
            If a newer one of this hospital is known.
        FrameError, SchemaError
            If it is not well-formed.
        """
        backend = self._post.identity.signing_key.backend
        return self._library.learn(catalogue, backend, self._post.now())

    def diseases(self, hospital: str) -> dict[str, Listing]:
        """Return what a hospital can be asked about, by its catalogue.

        Raises
        ------
        UnknownKeyError
            If the hospital is unknown, or its keys were revoked or have expired.
        OutdatedError
            If no catalogue of it is known, or its catalogue has expired or was signed with keys
            that others took over from.
        """
        known = self._library.find(hospital, self._post.now())
        if known is None:
            raise OutdatedError("catalogue: none of this hospital is known; learn one")
        return dict(known.diseases)

    def ask(
        self,
        hospital: str,
        disease: str,
        features: Any,
        *,
        schema: Schema | None = None,
        errors: Errors = "raise",
        ids: Any = None,
    ) -> bytes:
        """Make a query frame.

        With the hospital's catalogue (see `learn`) or its schema, values are checked here, and what
        they are is found by their names. Without, they are plain numbers in the schema's order, and
        the hospital alone checks them.

        Parameters
        ----------
        hospital : str
            Id of a hospital this user has met.
        disease : str
            As the hospital names it.
        features : array-like of shape (n,) or (m, n), data frame, series, mapping or list of these
            One vector or a batch: numbers, and texts, booleans and dates where the schema says what
            they mean. Columns with names are found by these, in any order; others beside them, as
            an id, are let be and stay here. Values without names are in the schema's order. NaN
            and None are missing, where a feature allows that.
        schema : Schema, optional
            The hospital's for this disease: ``hospital.diseases[disease]``. By default the one of
            its catalogue.
        errors : {"raise", "skip", "collect"}
            What becomes of bad rows, by the schema: an error; they are left out; they are not asked
            about, and come back from `read` with a reason as their `error`.
        ids : str or sequence of shape (m,), optional
            What the rows are called in the diagnoses: name of a column, or one text or number each.
            By default the index of a frame, if it does more than count. They stay here.

        Raises
        ------
        UnknownKeyError
            If the hospital is unknown, or its keys were revoked or have expired.
        UnknownDiseaseError
            If the hospital's catalogue does not have the disease.
        OutdatedError
            If its catalogue has expired or was signed with keys that others took over from, or
            `schema` is another one than it has.
        ParameterError
            If the hospital is no text, the disease no text of 1 to 255 characters, or `errors` or
            `ids` mean nothing.
        FeatureError
            If a value is no finite number and may not be missing, there are no rows or none is
            good, a name is missing or there twice, or there are names and no schema.
        DomainError
            If a value is outside its feature's domain.
        TooLargeError
            If there are more rows than the hospital takes at once; `ask_all` makes several queries.
        DowngradeError
            If the table is of a weaker profile than this user demands, or the hospital's envelope
            key of a weaker suite.
        PrekeyError
            If no valid short-lived key of the hospital is known, and the user allows no fallback.
        """
        disease = disease_name(disease)
        schema, form, most = self._known(hospital, disease, schema)
        rows = rows_of(features, schema, errors=errors, ids=ids)
        if len(rows.values) > most:
            raise TooLargeError(
                f"features: expected at most {most} rows in one query, got {len(rows.values)}; "
                "ask_all makes several"
            )
        return self._query(hospital, disease, rows, form)

    def ask_all(
        self,
        hospital: str,
        disease: str,
        features: Any,
        *,
        schema: Schema | None = None,
        errors: Errors = "raise",
        ids: Any = None,
    ) -> Iterator[bytes]:
        """Make as many query frames as the rows need, each when it is asked for.

        Everything is checked before the first. Each report is on the rows of its query, and the
        reports in the order of the queries are on all rows: see `Diagnoses.concatenate`.

        Parameters and errors are those of `ask`; there is no bound on the rows.
        """
        disease = disease_name(disease)
        schema, form, most = self._known(hospital, disease, schema)
        rows = rows_of(features, schema, errors=errors, ids=ids)
        return (self._query(hospital, disease, piece, form) for piece in rows.pieces(most))

    def _known(
        self, hospital: str, disease: str, schema: Schema | None
    ) -> tuple[Schema | None, bytes, int]:
        """Return schema, its form, and most rows of a query; what cannot be asked is refused."""
        if not isinstance(hospital, str):
            raise ParameterError(f"hospital: expected its id, got {type(hospital).__name__}")
        catalogue = self._library.find(hospital, self._post.now())
        if catalogue is None:
            return schema, ANY_FORM if schema is None else form_of(schema), MAX_BATCH
        listing = listed(catalogue, disease)
        if weaker(listing.profile, self._least_profile):
            raise DowngradeError(
                f"disease: the profile {self._least_profile} is demanded, the table's is weaker"
            )
        if schema is not None and form_of(schema) != listing.form:
            raise OutdatedError("schema: is another one than the hospital's catalogue has")
        return schema or listing.schema, listing.form, listing.most_rows

    def _query(self, hospital: str, disease: str, rows: Rows, form: bytes) -> bytes:
        """Make the frame of checked rows, and wait for its report."""
        recipient = self.directory.get(hospital)
        check_suite(suite_of(recipient.envelope_key), self._least_suite, "the hospital")
        key = recipient.key_at(self._post.now(), fallback=self._fallback)
        # The report comes back under a key of its own, in the suite of this user's key: who
        # steals the long-term key later cannot read old reports.
        reply_key = EnvelopeKey.generate(self._post.identity.envelope_key.suite)
        # A number that is none has bits to spare, which may say what it was made of.
        data = np.where(np.isnan(rows.values), np.nan, rows.values).astype("<f8").tobytes()
        query = Query(
            disease, len(rows.values), data, reply_key.public_bytes, self._least_profile, form
        )
        session, sequence = self._sessions.next(hospital)
        # Lengths in steps, so that they do not tell diseases apart by their names.
        frame = self._post.send(
            hospital, query, nonce=session, sequence=sequence, encrypt_to=key, step=_LENGTH_STEP
        )
        open_query = _OpenQuery(reply_key, rows.asked)
        self._asked.add(hospital, session, sequence, open_query, self._post.now())
        return frame

    def read(self, report: bytes) -> Diagnoses:
        """Open a report frame.

        Returns
        -------
        Diagnoses
            A sequence of `Diagnosis`, one per row of the query, in its order; held as arrays. Rows
            that were not asked about have an `error`, if they were to be collected.

        Raises
        ------
        RefusedError
            If the hospital did not accept the query; that query is over. As `OutdatedRefusalError`
            if it was made by another schema than the hospital's.
        NoAnswerError
            If it did, and got no answer from the cloud; that query is over as well.
        DowngradeError
            If the table is of a weaker profile than this user demands; that query is over.
        OmpdError
            If the frame is not an authentic, fresh answer to an open query of this user.
        """
        frame = self._post.authenticate(report, Kind.REPORT, Kind.REFUSAL, admit=self._expected)
        header = frame.header
        waiting = self._asked.find(header, self._post.now())
        if header.kind == Kind.REFUSAL:
            code = self._post.open(frame, Refusal).code
            self._post.claim(frame)
            self._asked.close(header.sender, header.nonce, header.sequence)
            if code == OUTDATED:
                raise OutdatedRefusalError(
                    "report: the query was made by another schema than the hospital's; learn its "
                    "next catalogue and ask again"
                )
            raise RefusedError(
                "report: the hospital did not accept the query; what it takes stands in its "
                "catalogue"
            )
        body = self._post.open(frame, Report, waiting.reply_key)
        diagnoses = read_report(body, waiting.asked.rows if body.findings else 0)
        self._post.claim(frame)
        self._asked.close(header.sender, header.nonce, header.sequence)
        if not diagnoses:
            raise NoAnswerError("report: the hospital got no answer to the query")
        if weaker(body.profile, self._least_profile):
            raise DowngradeError(
                f"report: the profile {self._least_profile} is demanded, the table's is weaker"
            )
        return waiting.asked.told(diagnoses)

    def _expected(self, header: Header, _size: int) -> None:
        """Refuse what answers no query before it is read."""
        self._asked.find(header, self._post.now())
