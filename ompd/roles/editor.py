"""Changes tables that are published: adds, removes and relabels records, without training."""

from __future__ import annotations

from typing import Any

from ompd.crypto import Identity
from ompd.roles.changes import Changes
from ompd.roles.drift import Drift
from ompd.roles.intake import Instances, checked
from ompd.roles.publisher import Publisher
from ompd.roles.retrieval import TableRef
from ompd.roles.uploads import Settled, Upload
from ompd.wire import Receipt, disease_name


class Editor(Publisher):
    """Changes the tables that a `Publisher` made.

    Encoder, filling, K, weights and calibration stay as they were trained, also those that say
    how a query is answered; `drift` tells when to train anew, which `publish` does.

    Every change is an upload for `deliver`, and in effect once its receipt is confirmed; until
    then the table answers as before. Several may be made before the first is delivered: each is
    made of the one before, and delivering one delivers those before it. Blind models do not change:
    publish them anew.
    """

    def __init__(self, identity: Identity, **options: Any) -> None:
        super().__init__(identity, **options)
        self._changes = Changes(self._shelf, self._post)

    def add(self, disease: str, records: Instances) -> Upload:
        """Add records to a table.

        Parameters
        ----------
        disease : str
        records : Instances
            Of the table's schema; with ids, if the table was published with ids.

        Returns
        -------
        Upload
            Of `sealed` tables without frames, since no cloud is told: the change is in effect.

        Raises
        ------
        UnknownDiseaseError
            If no table is asked under this name, or it is being withdrawn.
        ParameterError
            If an upload of the whole table waits for its receipt, the schema is another one, or an
            id is missing or taken.
        FeatureError, DomainError, LabelError
            If the records do not fit the schema.
        OverflowParameterError
            If blinded they would not fit the table's key.
        TooLargeError
            If there are more than fit into one frame of 256 MiB: make several changes.
        BudgetExceededError, StoreError
            If a record's budget does not allow its release, or ledger or state cannot be used.
        """
        self._shelf.check()
        return self._changes.add(disease_name(disease), checked(records))

    def remove(self, disease: str, ids: Any) -> Upload:
        """Remove records from a table.

        `Receipt.erased` says by when nothing of them is left at the cloud.

        Parameters
        ----------
        disease : str
        ids : array, series or sequence of texts or integers
            Of the records. If the table was published without ids, numbers of its rows, from 0 as
            they came; those that were added follow.

        Raises
        ------
        ParameterError
            If one is unknown, was removed before or is named twice, or an upload of the whole
            table waits for its receipt.
        NeighborsError
            If fewer than K records would be left.
        UnknownDiseaseError, StoreError
            As `add`.
        """
        self._shelf.check()
        return self._changes.remove(disease_name(disease), ids)

    def relabel(self, disease: str, ids: Any, labels: Any) -> Upload:
        """Give records of a table other classes.

        Parameters
        ----------
        disease : str
        ids : array, series or sequence of texts or integers
            As for `remove`.
        labels : array, series or sequence of str
            Names of classes, one per id.

        Raises
        ------
        LabelError
            If one is no class of the table.
        ParameterError, UnknownDiseaseError, StoreError
            As `remove`.
        """
        self._shelf.check()
        return self._changes.relabel(disease_name(disease), ids, labels)

    def withdraw(self, disease: str) -> Upload:
        """End a table: the cloud erases all versions, and the hospital forgets it once it has.

        `Receipt.erased` says by when nothing of it is left at the cloud. What versions of a
        `hardened` table have in common is kept, so that another one releases nothing twice. A blind
        model ends at once, and the upload has no frames.

        Parameters
        ----------
        disease : str

        Raises
        ------
        UnknownDiseaseError, StoreError
            As `add`.
        """
        self._shelf.check()
        disease = disease_name(disease)
        if disease in self._blind.models:
            model = self._blind.withdraw(disease)
            return Settled(model.edition, model.rows)
        return self._changes.withdraw(disease)

    def drift(self, disease: str) -> Drift:
        """Tell how far a table has moved from the records that it was published with.

        Parameters
        ----------
        disease : str

        Raises
        ------
        UnknownDiseaseError, StoreError
            As `add`.
        """
        self._shelf.check()
        return self._changes.drift(disease_name(disease))

    def resend(self, disease: str) -> Upload:
        """Return what waits for its receipt once more: an upload, or all changes since.

        For one that was lost or interrupted; `deliver` goes on where the cloud is. Nothing is
        trained. The cloud acknowledges it also if it has it already.

        Raises
        ------
        UnknownDiseaseError, UnknownKeyError
            If nothing of this disease waits for a receipt, or its cloud is not known any more.
        """
        self._shelf.check()
        changes = self._changes.resend(disease_name(disease))
        return super().resend(disease) if changes is None else changes

    def _confirmed(self, ref: TableRef, cloud: str, receipt: Receipt) -> None:
        if self._changes.confirm(ref, cloud, receipt):
            return
        disease = self._shelf.confirm(ref, cloud, receipt.k, receipt.have)
        if disease is not None:
            self._changes.superseded(disease, ref.version)
