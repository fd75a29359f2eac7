"""The user: asks, and reads the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.crypto import COMPACT, EnvelopeKey, Identity, check_suite, suite_of
from ompd.errors import (
    ContextMismatchError,
    DowngradeError,
    NoAnswerError,
    OutdatedError,
    ParameterError,
    TooLargeError,
)
from ompd.params import check_profile, weaker
from ompd.roles.asking import Asked, Rows, rows_of
from ompd.roles.blind_asking import BlindAsked, query_of, read_scores
from ompd.roles.blind_asking import asked as asked_of
from ompd.roles.blind_keys import BlindKeys
from ompd.roles.catalogue import Blind, Library, Listing, listed
from ompd.roles.diagnoses import Diagnoses, read_report
from ompd.roles.enrolment import Enrolment
from ompd.roles.party import Party
from ompd.roles.pending import Pending
from ompd.roles.refusals import refusal_of
from ompd.roles.sessions import Sessions
from ompd.schema import Errors, Schema
from ompd.wire import (
    ANY_FORM,
    MAX_BATCH,
    BlindQuery,
    BlindReport,
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
    blind: BlindAsked | None


class User(Party):
    """Asks hospitals for diagnoses.

    Parameters
    ----------
    identity : Identity
    least_profile : {"paper", "hardened", "sealed", "blind"}
        What a table may tell the cloud at most, for this user to ask it: hospitals are told and
        refuse, and a report from a weaker one is refused as well. With `blind` no query leaves
        that its hospital could read.
    least_suite : {"x25519", "mlkem768x25519"}
        The weakest envelope suite that a query is encrypted with. The user's own key must be of it
        too, since reports come back in that suite.
    fallback : bool, default False
        Whether a query may be encrypted to a hospital's long-lived key when no valid short-lived
        one is known. Whoever records such a query and steals that key later can read it.
    blind_keys : BlindKeys, optional
        The key for blind queries; by default one that ends with the process.
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
        blind_keys: BlindKeys | None = None,
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
        self._blind_keys = BlindKeys(identity) if blind_keys is None else blind_keys
        self._enrolment = Enrolment(self._post, self._blind_keys)

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

    def enrol(self, hospital: str) -> bytes:
        """Make a frame that gives a hospital this user's key for blind queries: once, it keeps it.

        Its answer, from `Hospital.answer`, is for `enrolled`.

        Raises
        ------
        UnknownKeyError
            If the hospital is unknown, or its keys were revoked or have expired.
        DowngradeError, PrekeyError, ParameterError
            As `ask`.
        StoreError
            If the key's file cannot be used.
        """
        encrypt_to = self._envelope_key(hospital)
        return self._enrolment.ask(hospital, self._sessions.next(hospital), encrypt_to)

    def enrolled(self, receipt: bytes) -> None:
        """Read what a hospital says to `enrol`.

        Raises
        ------
        RefusedError
            If it does not take the key; that exchange is over.
        OmpdError
            If the frame is not an authentic, fresh answer to `enrol`.
        """
        self._enrolment.read(receipt)

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

        Where the catalogue says that the profile is `blind`, the frame is for `Hospital.answer`,
        which can decrypt nothing of the values; `enrol` first. Without a catalogue nothing is asked
        blindly.

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
        schema, form, most, blind = self._known(hospital, disease, schema)
        rows = rows_of(features, schema, errors=errors, ids=ids)
        if len(rows.values) > most:
            raise TooLargeError(
                f"features: expected at most {most} rows in one query, got {len(rows.values)}; "
                "ask_all makes several"
            )
        return self._query(hospital, disease, rows, form, blind)

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
        schema, form, most, blind = self._known(hospital, disease, schema)
        rows = rows_of(features, schema, errors=errors, ids=ids)
        return (self._query(hospital, disease, piece, form, blind) for piece in rows.pieces(most))

    def _known(
        self, hospital: str, disease: str, schema: Schema | None
    ) -> tuple[Schema | None, bytes, int, Blind | None]:
        """Return schema, its form, most rows of a query, and what a blind one is made with.

        What cannot be asked is refused.
        """
        if not isinstance(hospital, str):
            raise ParameterError(f"hospital: expected its id, got {type(hospital).__name__}")
        catalogue = self._library.find(hospital, self._post.now())
        if catalogue is None and self._least_profile == "blind":
            raise OutdatedError("catalogue: nothing is asked blindly without; learn one")
        if catalogue is None:
            return schema, ANY_FORM if schema is None else form_of(schema), MAX_BATCH, None
        listing = listed(catalogue, disease)
        if weaker(listing.profile, self._least_profile):
            raise DowngradeError(
                f"disease: the profile {self._least_profile} is demanded, the table's is weaker"
            )
        if schema is not None and form_of(schema) != listing.form:
            raise OutdatedError("schema: is another one than the hospital's catalogue has")
        return schema or listing.schema, listing.form, listing.most_rows, listing.blind

    def _envelope_key(self, hospital: str) -> bytes:
        """Return the key that frames to a hospital are encrypted to."""
        recipient = self.directory.get(hospital)
        check_suite(suite_of(recipient.envelope_key), self._least_suite, "the hospital")
        return recipient.key_at(self._post.now(), fallback=self._fallback)

    def _query(
        self, hospital: str, disease: str, rows: Rows, form: bytes, blind: Blind | None
    ) -> bytes:
        """Make the frame of checked rows, and wait for its report."""
        key = self._envelope_key(hospital)
        # The report comes back under a key of its own, in the suite of this user's key: who
        # steals the long-term key later cannot read old reports.
        reply_key = EnvelopeKey.generate(self._post.identity.envelope_key.suite)
        query: Query | BlindQuery
        asked = None
        if blind is None:
            # A number that is none has bits to spare, which may say what it was made of.
            data = np.where(np.isnan(rows.values), np.nan, rows.values).astype("<f8").tobytes()
            query = Query(
                disease, len(rows.values), data, reply_key.public_bytes, self._least_profile, form
            )
        else:
            asked = asked_of(blind, self._blind_keys.get(), rows.values)
            query = query_of(asked, disease, rows.values, reply_key.public_bytes)
        session, sequence = self._sessions.next(hospital)
        # Lengths in steps, so that they do not tell diseases apart by their names.
        frame = self._post.send(
            hospital, query, nonce=session, sequence=sequence, encrypt_to=key, step=_LENGTH_STEP
        )
        open_query = _OpenQuery(reply_key, rows.asked, asked)
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
            if it was made by another schema or blind model than the hospital's, as
            `UnenrolledError` if the hospital does not have this user's key, as `AllowanceError` if
            this user has had all answers of a model.
        NoAnswerError
            If it did, and got no answer from the cloud; that query is over as well.
        DowngradeError
            If the table is of a weaker profile than this user demands; that query is over.
        OmpdError
            If the frame is not an authentic, fresh answer to an open query of this user.
        """
        kinds = (Kind.REPORT, Kind.BLIND_REPORT, Kind.REFUSAL)
        frame = self._post.authenticate(report, *kinds, admit=self._expected)
        header = frame.header
        waiting = self._asked.find(header, self._post.now())
        if header.kind == Kind.REFUSAL:
            code = self._post.open(frame, Refusal).code
            self._post.claim(frame)
            self._asked.close(header.sender, header.nonce, header.sequence)
            raise refusal_of(code)
        if (header.kind == Kind.BLIND_REPORT) != (waiting.blind is not None):
            raise ContextMismatchError("report: is of another kind than the query")
        if waiting.blind is not None:
            scores = self._post.open(frame, BlindReport, waiting.reply_key)
            told = read_scores(waiting.blind, scores)
            self._post.claim(frame)
            self._asked.close(header.sender, header.nonce, header.sequence)
            return waiting.asked.told(told)
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
