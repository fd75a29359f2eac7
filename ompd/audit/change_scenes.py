"""A table from which rows go, to which others come, and of which some get other labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ompd.arrays import I64, U64
from ompd.audit.changes import ChangeView
from ompd.audit.scenes import PaperScene, Records, hardened_view, made_coarse, trained
from ompd.audit.views import HardenedView, PaperView
from ompd.blind import HardenedKey, blind_table
from ompd.wire import HardenedChange, PaperChange


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ChangesScene:
    """A tenth of the rows comes, a tenth goes, a tenth gets other labels.

    Attributes
    ----------
    before : PaperView or HardenedView
    change : ChangeView
        What says so if the table is changed.
    anew : PaperView or HardenedView
        What says so if it is published anew instead.
    stayed, relabelled : int64 array
        Rows of the first. The rows that stayed are the first ones of `anew`, in their order.
    """

    before: PaperView | HardenedView
    change: ChangeView
    anew: PaperView | HardenedView
    stayed: I64
    relabelled: I64

    @classmethod
    def of(cls, records: Records, profile: str, seed: int = 0) -> Self:
        """Blind as `Hospital` does.

        Parameters
        ----------
        records : Records
        profile : {"paper", "hardened"}
        seed : int
            Which rows.
        """
        everyone = records.table
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(everyone))
        tenth = max(1, len(everyone) // 10)
        later, here = order[:tenth], order[tenth:]
        part = replace(records, table=everyone.take(here))
        went = np.sort(rng.permutation(len(here))[:tenth])
        stayed = np.setdiff1d(np.arange(len(here)), went)
        relabelled = np.sort(rng.permutation(stayed)[:tenth])
        labels = part.table.labels.copy()
        labels[relabelled] = (labels[relabelled] + 1) % records.classes
        labels = np.concatenate([labels[stayed], everyone.labels[later]])
        rows = everyone.take(np.concatenate([here[stayed], later]))
        before: PaperView | HardenedView
        anew: PaperView | HardenedView
        if profile == "paper":
            scene = PaperScene.of(part)
            before = scene.view
            # The key is a fresh one, and so are the weights.
            anew = replace(PaperScene.of(replace(records, table=rows)).view, labels=labels)
            added = blind_table(scene.key, part.encoder.encode(everyone.features[later]))
        else:
            coarse = made_coarse(trained(part.table), part.table)
            key = HardenedKey.generate(coarse.coordinates)
            asked = coarse.encode(records.queries.features)
            before, anew = (
                hardened_view(key, records.classes, codes, coarse.encode(features), asked)
                for codes, features in (
                    (part.table.labels, part.table.features), (labels, rows.features)
                )
            )  # fmt: skip
            added = key.blind(coarse.encode(everyone.features[later]))
        codes = labels[np.searchsorted(stayed, relabelled)]
        body = _body(profile, len(here), went, relabelled, codes, everyone.labels[later], added)
        return cls(before, ChangeView.of(body), anew, stayed, relabelled)


def _body(
    profile: str, rows: int, went: I64, relabelled: I64, codes: I64, labels: I64, values: U64
) -> PaperChange | HardenedChange:
    return (PaperChange if profile == "paper" else HardenedChange)(
        table_id=bytes(16),
        version=2,
        base=1,
        rows=rows,
        removed=went.astype("<u4").tobytes(),
        relabelled=relabelled.astype("<u4").tobytes(),
        codes=codes.astype("<u2").tobytes(),
        labels=labels.astype("<u2").tobytes(),
        values=values.astype("<u8", copy=False).tobytes(),
    )
