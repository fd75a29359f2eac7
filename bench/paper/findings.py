"""What a run found, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.paper import scores, tables
from bench.paper.costs import Cost
from bench.paper.data import TITLES, Trial
from bench.paper.splits import Split
from bench.paper.traffic import Exchange


@dataclass
class Findings:
    """Everything that a run found.

    Attributes
    ----------
    header : dict of str to str
    seconds : dict of str to float
        Run time per part.
    trials : list of Trial
    missing : dict of str to str
        Why a data set is absent.
    splits : list of Split
    against_k : dict of str to list of dict
        Times of table 2 per data set.
    operations : list of dict
        Table 4, counted on `counted` instances.
    index : list of dict
        What the index leaves of a scan.
    times, sizes : list of Cost
        Figures 2 and 3.
    exchanges : list of Exchange
    claims, against_ordinary, equal_prior : list of Difference
    """

    header: dict[str, str]
    seconds: dict[str, float]
    trials: list[Trial]
    missing: dict[str, str]
    splits: list[Split]
    against_k: dict[str, list[tables.Row]]
    operations: list[tables.Row]
    counted: int
    index: list[tables.Row]
    times: list[Cost]
    sizes: list[Cost]
    exchanges: list[Exchange]
    claims: list[scores.Difference] = field(default_factory=list)
    against_ordinary: list[scores.Difference] = field(default_factory=list)
    equal_prior: list[scores.Difference] = field(default_factory=list)


def percent(row: tables.Row, bold: bool = False) -> str:
    """Mean ± sd in per cent; the mean of means has no sd."""
    text = f"{100 * float(row['mean']):.2f}"
    text += f" ± {100 * float(row['sd']):.2f}" if row["sd"] != "" else ""
    return f"**{text}**" if bold else text


def p_value(p: float) -> str:
    """Short form of a p-value."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")


def sentence(d: scores.Difference) -> str:
    """One difference in words."""
    return (
        f"{d.first} − {d.second} on {TITLES[d.data]}: {d.mean:+.2f} ± {d.deviation:.2f} points, "
        f"corrected {p_value(d.p)}, after Holm {p_value(d.adjusted)}: {d.claim}"
    )


def matrix(differences: Sequence[scores.Difference]) -> str:
    """Differences as a table, a row per rival and a column per data set."""
    data = list(dict.fromkeys(d.data for d in differences))
    rows = []
    for rival in dict.fromkeys(d.second for d in differences):
        own = {d.data: d for d in differences if d.second == rival}
        rows.append([rival, *(_cell(own[name]) for name in data)])
    first = differences[0].first
    return tables.markdown([f"points of {first} over", *(TITLES[name] for name in data)], rows)


def _cell(d: scores.Difference) -> str:
    text = f"{d.mean:+.2f} ± {d.deviation:.2f}, {p_value(d.adjusted)}"
    return text if d.verdict == "noise" else f"**{text}**"


def duration(seconds: float) -> str:
    """Three digits and the unit that suits."""
    units = (("days", 86_400), ("h", 3600), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, size = next((pair for pair in units if seconds >= pair[1]), units[-1])
    value = seconds / size
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def volume(count: float) -> str:
    """The same for bytes."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def at(costs: Sequence[Cost], scheme: str, rows: int) -> Cost | None:
    return next((c for c in costs if c.scheme == scheme and c.rows == rows), None)
