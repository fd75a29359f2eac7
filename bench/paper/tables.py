"""Tables of the report, computed from the splits; CSV and Markdown forms."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.paper import ordinary, scores
from bench.paper.splits import CALIBRATED, EVIDENCE, EVIDENCE_BLINDED, SCHEMES, Split
from ompd.search.choice import CANDIDATES

Row = dict[str, Any]
#: Methods of the first table of accuracies; the first four are the paper's.
METHODS = (*SCHEMES, EVIDENCE, EVIDENCE_BLINDED, *ordinary.NAMES)
#: The paper's own ranking, claim by claim.
CLAIMS = tuple(pairwise(SCHEMES))


def of(splits: Iterable[Split], data: str) -> list[Split]:
    """The splits of one data set."""
    return [split for split in splits if split.data == data]


def names(splits: Iterable[Split]) -> list[str]:
    """Data sets in their order."""
    return list(dict.fromkeys(split.data for split in splits))


def equal_prior(split: Split, method: str) -> np.ndarray:
    """Probability of class 1 if both classes were equally likely.

    Ours and the calibrated vote say that already; the others' is divided by the training prior.
    """
    probabilities = split.probabilities[method]
    if method in {EVIDENCE, CALIBRATED}:
        return probabilities
    return scores.with_prior(probabilities, 1 / split.prior)


def per_split(splits: Sequence[Split]) -> list[Row]:
    """Every accuracy of every split."""
    return [
        {"data": s.data, "seed": s.seed, "method": method, "accuracy": _exact(s.accuracy(method))}
        for s in splits
        for method in METHODS
    ]


def by_k(splits: Sequence[Split]) -> list[Row]:
    """Table 2: accuracy of OMPD on blinded integers against K; the best mean is marked."""
    rows = []
    for data in names(splits):
        own = of(splits, data)
        values = {k: np.array([split.by_k[k] for split in own]) for k in CANDIDATES}
        best = max(CANDIDATES, key=lambda k: values[k].mean())
        rows += [
            {"data": data, "K": k, **_moments(values[k]), "best": "best" if k == best else ""}
            for k in CANDIDATES
        ]
    return rows


def chosen_k(splits: Sequence[Split]) -> list[Row]:
    """How often the cloud picks which K on the blinded table, and what that costs or brings."""
    rows = []
    for data in names(splits):
        own = of(splits, data)
        accuracy = float(np.mean([split.by_k[split.chosen_k] for split in own]))
        for k, count in sorted(Counter(split.chosen_k for split in own).items()):
            rows.append({"data": data, "K": k, "splits": count, "accuracy_with_choice": accuracy})
    return [row | {"accuracy_with_choice": _exact(row["accuracy_with_choice"])} for row in rows]


def accuracies(splits: Sequence[Split]) -> list[Row]:
    """Table 3: every method as it comes."""
    return _summary(splits, {m: [split.accuracy(m) for split in splits] for m in METHODS})


def equal_prior_accuracies(splits: Sequence[Split]) -> list[Row]:
    """The same with every decision made for equally likely classes."""
    methods = (EVIDENCE, CALIBRATED, *ordinary.NAMES)
    return _summary(splits, {m: equal_prior_accuracy(splits, m) for m in methods})


def equal_prior_accuracy(splits: Sequence[Split], method: str) -> list[float]:
    """Accuracy per split if classes are taken as equally likely."""
    return [float(((equal_prior(split, method) > 0.5) == split.truth).mean()) for split in splits]


def calibration(splits: Sequence[Split]) -> list[Row]:
    """Log loss, Brier score and calibration error over all test rows, equal priors."""
    rows = []
    for method in (EVIDENCE, CALIBRATED, *ordinary.NAMES):
        for data in names(splits):
            own = of(splits, data)
            p = np.concatenate([equal_prior(split, method) for split in own])
            raw = np.concatenate([split.probabilities[method] for split in own])
            truth = np.concatenate([split.truth for split in own])
            rows.append(
                {
                    "method": method,
                    "data": data,
                    "log_loss": _exact(scores.log_loss(p, truth)),
                    "brier": _exact(scores.brier(p, truth)),
                    "calibration_error": _exact(scores.calibration_error(p, truth)),
                    "log_loss_as_given": _exact(scores.log_loss(raw, truth)),
                }
            )
    return rows


def reliability(splits: Sequence[Split], methods: Sequence[str]) -> list[Row]:
    """Points of the reliability diagram, all data sets together."""
    rows = []
    for method in methods:
        p = np.concatenate([equal_prior(split, method) for split in splits])
        truth = np.concatenate([split.truth for split in splits])
        for mean, share, count in scores.reliability(p, truth):
            rows.append(
                {
                    "method": method,
                    "predicted": _exact(mean),
                    "observed": _exact(share),
                    "rows": count,
                }
            )
    return rows


def differences(
    splits: Sequence[Split], pairs: Iterable[tuple[str, str, str]], *, equal_priors: bool = False
) -> list[scores.Difference]:
    """Paired differences in points with corrected tests; Holm over all pairs given.

    Parameters
    ----------
    pairs : iterable of (first, second, data)
    equal_priors : bool
        Compare the decisions for equally likely classes.
    """
    found = []
    for first, second, data in pairs:
        own = of(splits, data)
        if equal_priors:
            a, b = equal_prior_accuracy(own, first), equal_prior_accuracy(own, second)
        else:
            a, b = ([split.accuracy(m) for split in own] for m in (first, second))
        delta = np.array(a) - np.array(b)
        p = scores.corrected_t(delta, len(own[0].truth), own[0].train_rows)
        mean, spread = 100 * float(delta.mean()), 100 * float(delta.std(ddof=1))
        found.append(scores.Difference(first, second, data, mean, spread, p))
    adjusted = scores.holm([difference.p for difference in found])
    return [replace(d, adjusted=p) for d, p in zip(found, adjusted, strict=True)]


def difference_rows(found: Iterable[scores.Difference], family: str) -> list[Row]:
    """CSV rows of tests."""
    return [
        {
            "family": family,
            "data": d.data,
            "first": d.first,
            "second": d.second,
            "mean_points": _exact(d.mean),
            "sd_points": _exact(d.deviation),
            "p": f"{d.p:.6g}",
            "p_holm": f"{d.adjusted:.6g}",
            "verdict": d.verdict,
        }
        for d in found
    ]


def best_ordinary(rows: Sequence[Row], data: str) -> str:
    """The ordinary classifier of the highest mean accuracy on one data set, or on average."""
    own = [row for row in rows if row["data"] == data and row["method"] in ordinary.NAMES]
    return max(own, key=lambda row: float(row["mean"]))["method"]


def cell(rows: Sequence[Row], method: str, data: str) -> Row:
    """The row of one method and data set."""
    return next(row for row in rows if row["method"] == method and row["data"] == data)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write dictionaries with the same keys."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A pipe table; numbers read from the right."""
    body = [[str(value) for value in row] for row in rows]
    words = [any(row[j][:1].isalpha() or row[j][:1] == "`" for row in body)
             for j in range(len(headings))]  # fmt: skip
    lines = [f"| {' | '.join(headings)} |"]
    lines.append("".join("|---" if word else "|---:" for word in words) + "|")
    lines += [f"| {' | '.join(row)} |" for row in body]
    return "\n".join(lines) + "\n"


def _summary(splits: Sequence[Split], values: dict[str, list[float]]) -> list[Row]:
    """Mean and deviation per data set, and the mean of the means."""
    rows = []
    for method, all_values in values.items():
        means = []
        for data in names(splits):
            own = np.array(
                [v for v, split in zip(all_values, splits, strict=True) if split.data == data]
            )
            means.append(own.mean())
            rows.append({"method": method, "data": data, **_moments(own)})
        rows.append({"method": method, "data": "mean", "mean": _exact(np.mean(means)), "sd": ""})
    return rows


def _moments(values: np.ndarray) -> Row:
    return {"mean": _exact(values.mean()), "sd": _exact(values.std(ddof=1))}


def _exact(value: float) -> str:
    """Enough digits for any use, few enough to hide the last bit of a floating sum."""
    return f"{value:.8f}"
