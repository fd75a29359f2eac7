"""Publishes tables: the part of a hospital that owns the records."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Self

from ompd.crypto import Identity
from ompd.encode import AdditiveModel
from ompd.errors import ParameterError
from ompd.params import Profile, check_profile
from ompd.roles.blind_desk import BlindDesk
from ompd.roles.blind_models import BlindModel, given, made
from ompd.roles.catalogue import LIFETIME, Press
from ompd.roles.intake import Instances, checked
from ompd.roles.party import Party
from ompd.roles.publication import Published
from ompd.roles.reports import listed
from ompd.roles.retrieval import TableRef
from ompd.roles.shelf import Shelf
from ompd.roles.stages import Stages
from ompd.roles.uploads import Settled, Upload
from ompd.schema import Schema
from ompd.search.calibration import check_priors
from ompd.stores import BudgetLedger
from ompd.wire import Kind, Receipt, check_listable, disease_name


class Publisher(Party):
    """Makes tables of records, hands them to clouds, and keeps what it needs to ask them.

    Parameters are those of `Hospital`.
    """

    role = "hospital"

    def __init__(
        self,
        identity: Identity,
        *,
        profile: str = "sealed",
        epsilon: float | None = None,
        ledger: BudgetLedger | None = None,
        state: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        self._press = Press(identity)
        # Last, since it takes hints off the disk: what else is refused must leave them there.
        window = self._post.window if options.get("replays") is None else None
        self._profile = check_profile(profile)
        self._shelf = Shelf(
            "sealed" if self._profile == "blind" else profile, epsilon, ledger, state, window
        )
        try:
            self._blind = BlindDesk(self._post, state)
        except BaseException:
            self._shelf.close()
            raise
        self._post.gate = self._shelf.check
        if self._shelf.frames is not None:
            self._post.replays = self._shelf.frames

    @property
    def profile(self) -> Profile:
        """What its tables tell the cloud."""
        return self._profile

    @property
    def diseases(self) -> dict[str, Schema]:
        """Diseases that can be asked about, and what each expects of a feature vector."""
        tables = {disease: table.schema for disease, table in self._shelf.tables.items()}
        return tables | {disease: model.schema for disease, model in self._blind.models.items()}

    @property
    def blind(self) -> dict[str, BlindModel]:
        """The models that are asked in the profile `blind`, by disease."""
        return self._blind.models

    @property
    def tables(self) -> dict[str, Published]:
        """The tables that are asked, by disease, with keys and what was learned from records."""
        return self._shelf.tables

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Diseases with an upload that waits for its receipt; see `resend`."""
        return tuple(self._shelf.waiting)

    @property
    def damaged(self) -> dict[str, str]:
        """Diseases whose state in the folder cannot be used, and why.

        They answer no queries until they are published anew, with `retrain` if they are `hardened`.
        A disease whose name was lost as well goes by the name of its file.
        """
        return self._shelf.damaged

    def publish(
        self,
        disease: str,
        instances: Instances,
        *,
        cloud: str | None = None,
        profile: str | None = None,
        k: int | None = None,
        advice: Mapping[str, str] | None = None,
        method: str | None = None,
        priors: str = "equal",
        decision: str | None = None,
        answers: int | None = None,
        retrain: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> Upload:
        """Train a table, hide it as the profile says, and make its upload, for `deliver`.

        The table is asked from `confirm` on. Until then the version before goes on answering, so
        that neither a lost upload nor a slow cloud interrupts anything.

        In `sealed` and `paper` each version is trained anew, under a fresh key. In `hardened` it
        keeps the encoder, step, K, scale of the noise and keys of the version before: a record
        that was in that one comes out as the same bytes, which tells the cloud that it stayed and
        nothing more. What is new are records that came, went or changed. Each record's release
        with noise is charged to it in the ledger, once.

        In `blind` a model is learned that adds up weights of evidence, and is asked at once: the
        upload has no frames. Records do not leave the hospital, and queries do not reach it but
        encrypted; what many answers tell of the weights stands in SECURITY.md.

        Parameters
        ----------
        disease : str
        instances : Instances
            Records of this disease; none of the query's person should be among them. NaN stands
            for a missing value of features that declare what becomes of it.
        cloud : str, optional
            Id of a cloud this hospital has met; none in the profile `blind`.
        profile : str, optional
            The hospital's own by default, or else `blind`.
        k : int, optional
            Neighbours that vote. By default it is chosen by leave-one-out: by the cloud, on the
            blinded table, in the profile `paper`, else by the hospital.
        advice : mapping of class name to text, optional
            What a user gets besides the label.
        method : {"relief-mw", "evidence"}, optional
            How features become vectors. `relief-mw`, the default: as published. `evidence`: learned
            scores; it needs scikit-learn. A blind model is of evidence, and needs nothing.
        priors : {"equal", "training"}
            Which shares the classes have among those who ask: all the same, or those of the
            instances. Probabilities are calibrated to these.
        decision : {"probability", "majority"}, optional
            Whether a label is the class of highest calibrated probability, or as published that
            of most votes, whose shares are then the probabilities. By default the latter only for
            `relief-mw` in the profile `paper`.
        answers : int, optional
            Rows that one user is told of a blind model, 20 by default; each version counts anew.
        retrain : bool
            Whether a `hardened` table is trained anew, under fresh keys, as after many changes it
            should be. It is one more release of every record: some of them together give nearly
            all cells without noise, and with noise each costs every record another epsilon.
        progress : callable, optional
            Called with the finished share from 0 to 1, which only grows: training, choice of K,
            hiding (with the hints of a sealed table), and sealing of the frame.

        Raises
        ------
        FeatureError, DomainError, LabelError, TrainingError
            If the instances cannot train a table.
        SchemaError
            If the disease's name or a text of the schema cannot stand in a catalogue: it is too
            long, does not print, or is the same as another one in Unicode's NFC.
        NeighborsError
            If k is even or out of range.
        ParameterError
            If the disease is no text of 1 to 255 characters, an advice is too long, there is no
            such method, priors or decision, an option is not of this profile, the disease has a
            table of another one, or schema, method or epsilon are not those of the `hardened`
            version before, and `retrain` is not asked for.
        PrivacyParameterError, OverflowParameterError
            If epsilon means nothing for these instances, or blinded they do not fit the profile.
        BudgetExceededError, StoreError
            If a record's budget does not allow its release, or ledger or state cannot be used.
        BackendUnavailableError
            If the method needs a package that is not installed.
        UnknownKeyError
            If the cloud is unknown.
        TooLargeError
            If there are more than 4096 features (4094 in `paper`), a `sealed` table would be
            above 2 GiB, or a blind model has more cells than fit. Nothing is trained then.
        """
        self._shelf.check()
        disease = disease_name(disease)
        blind = self._is_blind(profile)
        records = checked(instances)
        check_listable(disease, records.schema)
        advice = {} if advice is None else advice
        if blind:
            only = {"cloud": cloud, "k": k, "decision": decision}
            if taken := [name for name, given in only.items() if given is not None]:
                raise ParameterError(f"{', '.join(taken)}: nothing to the profile 'blind'")
            if method not in (None, "evidence"):
                raise ParameterError("method: expected 'evidence' in the profile 'blind'")
            self._check_no_table(disease)
            model = made(records, advice, check_priors(priors), answers, Stages(progress).tell)
            self._blind.put(disease, model)
            return Settled(model.edition, model.rows)
        if answers is not None:
            raise ParameterError("answers: only the profile 'blind' counts them")
        if disease in self._blind.models:
            raise ParameterError("disease: has a blind model; withdraw that first")
        if cloud is None:
            raise ParameterError("cloud: expected the id of one")
        plan = self._shelf.plan(disease, records, method or "relief-mw", k, priors, decision)
        self.directory.get(cloud)
        return self._shelf.publish(
            self._post, disease, records, plan, cloud, advice, Stages(progress), retrain
        )

    def publish_model(
        self,
        disease: str,
        model: AdditiveModel,
        *,
        rows: int,
        advice: Mapping[str, str] | None = None,
        answers: int | None = None,
    ) -> None:
        """Answer about a disease by a model that was made elsewhere, in the profile `blind`.

        As of counts that several hospitals added up; see `ompd.encode.model_of_counts`.

        Parameters
        ----------
        disease : str
        model : AdditiveModel
        rows : int
            Records that it was learned from.
        advice, answers
            As for `publish`.

        Raises
        ------
        ParameterError
            If something is not of its type or range, or the disease has a table.
        TooLargeError
            If the model has more cells, classes or features than fit, or larger scores.
        SchemaError, LabelError, StoreError
            As `publish`.
        """
        self._shelf.check()
        disease = disease_name(disease)
        found = given(model, rows, {} if advice is None else advice, answers)
        check_listable(disease, found.schema)
        self._check_no_table(disease)
        self._blind.put(disease, found)

    def _check_no_table(self, disease: str) -> None:
        if disease in self._shelf.tables or disease in self._shelf.waiting:
            raise ParameterError("disease: has a table of another profile; withdraw that first")

    def _is_blind(self, profile: str | None) -> bool:
        chosen = self._profile if profile is None else check_profile(profile)
        if chosen not in (self._profile, "blind"):
            raise ParameterError(
                f"profile: expected {self._profile}, as this hospital was made, or blind"
            )
        return chosen == "blind"

    def catalogue(self, *, lifetime: float = LIFETIME) -> bytes:
        """Say to everybody what can be asked: a signed statement, not encrypted, for `User.learn`.

        It has the hospital's id, when it was made and how long it is valid, and of every disease
        that is asked: features with domain, unit and levels, classes, profile, method, K, most rows
        of one query, if queries get noise epsilon, and of a blind model its cells, the scale of its
        scores and its quota. Of these only cells of features with many values were learned from
        records.

        Make it anew after every change to a schema, and before it expires.

        Parameters
        ----------
        lifetime : float
            Seconds that it is valid, up to 90 days; 7 days by default.

        Raises
        ------
        ParameterError
            If the lifetime is out of range.
        SchemaError
            If a text of a schema, or a disease's name, does not print.
        TooLargeError
            If it would be longer than 8 MiB.
        """
        self._shelf.check()
        entries = [listed(disease, table) for disease, table in self._shelf.tables.items()]
        entries += [model.listed(disease) for disease, model in self._blind.models.items()]
        return self._press.make(entries, lifetime, self._post.now())

    def resend(self, disease: str) -> Upload:
        """Return the upload that waits for its receipt once more.

        For one that was lost or interrupted; `deliver` goes on where the cloud is. Nothing is
        trained. The cloud acknowledges it also if it has it already.

        Raises
        ------
        UnknownDiseaseError, UnknownKeyError
            If no upload of this disease waits for a receipt, or its cloud is not known any more.
        """
        return self._shelf.awaited(disease).upload(self._post)

    def confirm(self, receipt: bytes) -> Receipt:
        """Read what a cloud says to a frame of an upload; ask the table once the cloud has it all.

        Returns
        -------
        Receipt
            `have` says how many rows of the upload are there.

        Raises
        ------
        ContextMismatchError
            If the receipt is for no upload that waits for one.
        NeighborsError
            If the cloud chose a K that is not possible.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._post.authenticate(receipt, Kind.RECEIPT)
        body = self._post.open(frame, Receipt)
        self._confirmed(TableRef(body.table_id, body.version), frame.header.sender, body)
        return body

    def _confirmed(self, ref: TableRef, cloud: str, receipt: Receipt) -> None:
        self._shelf.confirm(ref, cloud, receipt.k, receipt.have)

    def close(self) -> None:
        """Put the hints of sealed tables back into the state folder; the hospital ends here.

        After a crash instead, tables open without hints, and `renew` makes new ones. In a process
        that was forked from the hospital's own, nothing happens.

        Raises
        ------
        HintStateError
            If the folder cannot be written. It stays locked, and closing may be tried again.
        """
        self._blind.close()
        self._shelf.close()

    def deliver(self, upload: Upload, send: Callable[[bytes], bytes]) -> Receipt:
        """Take an upload to the cloud, and ask the table from then on.

        If it is interrupted, ``deliver(resend(disease), send)`` goes on where the cloud is.

        Parameters
        ----------
        upload : Upload
            From `publish` or `resend`.
        send : callable
            Takes a frame to the cloud and returns what `Cloud.store` says to it.

        Returns
        -------
        Receipt
            For all of it.

        Raises
        ------
        OmpdError
            As `confirm`, if what waits was damaged on disk, or if the cloud keeps losing what it
            has; and whatever `send` raises.
        """
        return upload.send(send, self.confirm)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
