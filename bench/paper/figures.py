"""The figures of the report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.paper.costs import BFV, INDEX, PAILLIER, SCAN, SCAN_MW, Cost
from bench.paper.data import PAPER_K, TITLES
from bench.paper.findings import duration, volume
from bench.paper.splits import CALIBRATED, EVIDENCE, SCHEMES
from bench.paper.tables import Row, best_ordinary, cell

#: Okabe and Ito's colours, which stay apart for colour-blind readers.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#888888"
#: Smallest K that the paper recommends.
FLAT = 9
#: Colour, marker and line of each scheme, so that no reader needs the colours.
LOOKS = {
    INDEX: (BLACK, "o", "-"),
    SCAN: (BLUE, "s", "-"),
    SCAN_MW: (SKY, "x", "--"),
    "EPDK": (VERMILLION, "^", "-"),
    "PPDP": (GREEN, "D", "-."),
    BFV: (ORANGE, "v", "-"),
    PAILLIER: (PURPLE, "P", ":"),
    "OMPD": (BLACK, "o", "-"),
}


def _pyplot():
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


@contextmanager
def _figure(path: Path, columns: int = 1, size: tuple[float, float] = (7.2, 4.4), **options):
    plt = _pyplot()
    style = {
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e3e3e3",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", **options)
        yield figure, axes
        figure.savefig(path, dpi=200)
        plt.close(figure)


def accuracy_against_k(rows: Sequence[Row], splits: int, path: Path) -> None:
    """Mean accuracy with its 95% band per data set; the paper's K and the best K are marked."""
    data = list(dict.fromkeys(row["data"] for row in rows))
    size = (3.6 * len(data), 3.9)
    with _figure(path, len(data), size, squeeze=False) as (figure, panels):
        for axes, name in zip(panels[0], data, strict=True):
            own = [row for row in rows if row["data"] == name]
            k = [row["K"] for row in own]
            mean = 100 * np.array([float(row["mean"]) for row in own])
            band = 196 * np.array([float(row["sd"]) for row in own]) / np.sqrt(splits)
            axes.fill_between(k, mean - band, mean + band, color=BLUE, alpha=0.18, linewidth=0)
            axes.plot(k, mean, color=BLUE, marker="o", markersize=4)
            best = next(place for place, row in enumerate(own) if row["best"])
            axes.plot(k[best], mean[best], marker="*", markersize=15, color=VERMILLION)
            axes.axvline(PAPER_K[name], color=GREY, linestyle="--", linewidth=1)
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.22 * (high - low))
            axes.annotate(
                f"best: K = {k[best]}",
                (k[best], mean[best]),
                xytext=(0, 11),
                textcoords="offset points",
                ha="right" if k[best] > 22 else "center",
                color=VERMILLION,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )
            axes.text(
                PAPER_K[name] + 0.5, low + 0.03 * (high - low),
                f"paper: K = {PAPER_K[name]}", color="#555555",
            )  # fmt: skip
            axes.set_title(TITLES[name])
            axes.set_xlabel("neighbours K")
            axes.set_xticks(range(1, 32, 6))
        panels[0][0].set_ylabel("accuracy, %")
        figure.suptitle(
            f"From K = {FLAT} on the mean accuracy moves by {_flat(rows):.1f} points at most\n"
            f"(OMPD on blinded integers, mean of {splits} splits with its 95% interval)",
            fontsize=11,
        )


def _flat(rows: Sequence[Row]) -> float:
    """Largest range of a data set's mean accuracies from K = FLAT on, in points."""
    ranges = []
    for name in dict.fromkeys(row["data"] for row in rows):
        own = [float(row["mean"]) for row in rows if row["data"] == name and row["K"] >= FLAT]
        ranges.append(100 * (max(own) - min(own)))
    return max(ranges)


def accuracies(rows: Sequence[Row], splits: int, path: Path) -> None:
    """Tables 3 and 3b, a panel per data set."""
    data = [name for name in dict.fromkeys(row["data"] for row in rows) if name != "mean"]
    methods = list(dict.fromkeys(row["method"] for row in rows))[::-1]
    with _figure(path, len(data), (2.4 + 2.2 * len(data), 4.6), sharey=True, squeeze=False) as (
        figure,
        panels,
    ):
        for axes, name in zip(panels[0], data, strict=True):
            for place, method in enumerate(methods):
                row = cell(rows, method, name)
                colour, marker = _kind(method)
                axes.errorbar(
                    100 * float(row["mean"]),
                    place,
                    xerr=100 * float(row["sd"]),
                    color=colour,
                    marker=marker,
                    markersize=6,
                    capsize=2.5,
                    linewidth=1.3,
                )
            ours = cell(rows, EVIDENCE, name)
            axes.axvline(100 * float(ours["mean"]), color=BLACK, linestyle=":", linewidth=0.9)
            axes.set_title(TITLES[name])
            axes.set_xlabel("accuracy, %")
        panels[0][0].set_yticks(range(len(methods)), methods)
        best = best_ordinary(rows, "mean")
        first, second = (100 * float(cell(rows, m, "mean")["mean"]) for m in (EVIDENCE, best))
        figure.suptitle(
            f"{EVIDENCE} averages {first:.1f}% over these data sets, the best ordinary classifier "
            f"({best}) {second:.1f}%\n(class-balanced test sets; all but the first four decide for "
            f"equally likely classes; mean ± sd of {splits} splits)",
            fontsize=11,
        )


def _kind(method: str) -> tuple[str, str]:
    if method == EVIDENCE:
        return BLACK, "o"
    if method in {SCHEMES[0], CALIBRATED}:
        return BLUE, "s"
    if method in SCHEMES:
        return VERMILLION, "^"
    return GREY, "D"


def time_against_rows(costs: Sequence[Cost], path: Path) -> None:
    """Figure 2."""
    _against_rows(
        costs,
        path,
        scale=1e3,
        label="computation per query, ms",
        title=_growth(costs),
        shorten=lambda value: duration(value / 1e3),
    )


def bytes_against_rows(costs: Sequence[Cost], path: Path) -> None:
    """Figure 3."""
    _against_rows(
        costs,
        path,
        scale=1.0,
        label="bytes per query, all links",
        title=f"OMPD sends {_range(costs, SCHEMES[0])} bytes per query whatever N is, "
        f"EPDK {_range(costs, 'EPDK')}",
        shorten=volume,
    )


def _growth(costs: Sequence[Cost]) -> str:
    def factor(scheme: str) -> float:
        own = [cost.middle for cost in costs if cost.scheme == scheme]
        return own[-1] / own[0]

    first, last = (end(cost.rows for cost in costs) for end in (min, max))
    return (
        f"From N = {first:,} to {last:,} a linear scan takes {factor(SCAN):,.0f} times as long,\n"
        f"with our index a query takes {factor(INDEX):.1f} times as long"
    )


def _range(costs: Sequence[Cost], scheme: str) -> str:
    values = sorted({round(cost.middle) for cost in costs if cost.scheme == scheme})
    return " to ".join(f"{value:,}" for value in dict.fromkeys((values[0], values[-1])))


def _against_rows(costs, path, *, scale, label, title, shorten) -> None:
    schemes = list(dict.fromkeys(cost.scheme for cost in costs))
    with _figure(path, size=(8.4, 5.2)) as (_, axes):
        axes.set(xscale="log", yscale="log", xlabel="instances N", ylabel=label)
        ends = []
        for scheme in schemes:
            own = [cost for cost in costs if cost.scheme == scheme]
            colour, marker, line = LOOKS[scheme]
            rows = [cost.rows for cost in own]
            middle = np.array([cost.middle for cost in own]) * scale
            low, high = (
                np.array([getattr(cost, end) for cost in own]) * scale for end in ("low", "high")
            )
            axes.fill_between(rows, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(
                rows, middle, color=colour, marker=marker, linestyle=line, markersize=5,
                markerfacecolor="none" if own[0].extrapolated else colour,
            )  # fmt: skip
            name = f"{scheme}{' (extrapolated)' if own[0].extrapolated else ''}"
            ends.append((rows[-1], middle[-1], f"{name}, {shorten(middle[-1])}", colour))
        largest = max(cost.rows for cost in costs)
        _label_ends(axes, ends, largest)
        axes.set_title(title)


def _label_ends(axes, ends, largest) -> None:
    """Write every line's name at the right, pushed apart where the lines end close together."""
    left, right = axes.get_xlim()
    low, high = np.log(axes.get_ylim())
    gap = 0.052 * (high - low)
    places = []
    for _, y, _, _ in sorted(ends, key=lambda end: end[1]):
        place = np.log(y)
        places.append(max(place, places[-1] + gap) if places else place)
    for (x, y, text, colour), place in zip(
        sorted(ends, key=lambda end: end[1]), places, strict=True
    ):
        axes.annotate(
            text,
            (x, y),
            xytext=(largest * (right / left) ** 0.05, np.exp(place)),
            textcoords="data",
            color=colour,
            va="center",
            fontsize=9,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def reliability(rows: Sequence[Row], path: Path) -> None:
    """Predicted against observed shares."""
    looks = {EVIDENCE: (BLACK, "o", "-"), CALIBRATED: (BLUE, "s", "-")}
    spare = iter(((GREEN, "D", "--"), (VERMILLION, "^", "--"), (PURPLE, "v", ":")))
    with _figure(path, size=(5.5, 5.4)) as (_, axes):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="perfect")
        for method in dict.fromkeys(row["method"] for row in rows):
            own = [row for row in rows if row["method"] == method]
            colour, marker, line = looks.get(method) or next(spare)
            x = np.array([float(row["predicted"]) for row in own])
            y = np.array([float(row["observed"]) for row in own])
            count = np.array([row["rows"] for row in own])
            error = 1.96 * np.sqrt(np.maximum(y * (1 - y), 1e-4) / count)
            off = 100 * float(np.average(np.abs(x - y), weights=count))
            axes.errorbar(
                x, y, yerr=error, color=colour, marker=marker, linestyle=line, markersize=5,
                capsize=2, linewidth=1.4, label=f"{method}: off by {off:.1f} points",
            )  # fmt: skip
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("predicted probability of disease, equal priors")
        axes.set_ylabel("observed share")
        axes.legend(loc="lower right", fontsize=9)
        axes.set_title("How far predicted probabilities are from what comes true")
