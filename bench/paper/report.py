"""The report: tables, figures and plain words, all from the numbers of the run."""

from __future__ import annotations

from bench.paper import accuracy_text, cost_text, tables
from bench.paper.costs import INDEX, SCAN
from bench.paper.data import HELD, PAPER_K, TITLES
from bench.paper.findings import Findings, at, p_value
from bench.paper.splits import EVIDENCE, SCHEMES
from bench.paper.traffic import ADVICE_BYTES


def compose(found: Findings) -> str:
    """The whole report."""
    parts = (
        _header,
        _short,
        _data,
        accuracy_text.table_2,
        accuracy_text.table_3,
        accuracy_text.better,
        accuracy_text.calibration,
        cost_text.table_4,
        cost_text.figure_2,
        cost_text.figure_3,
    )
    return "\n".join(part(found) for part in parts)


def _header(found: Findings) -> str:
    lines = ["# The paper's evaluation, run again", ""]
    lines += [f"- {name}: {value}" for name, value in found.header.items()]
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in found.seconds.items())
    lines += [
        f"- run time: {spent}; {sum(found.seconds.values()) / 60:.1f} minutes in all",
        "",
        'The source is "An Efficient Online Multiparty Interactive Medical Prediagnosis Scheme '
        'with Privacy Protection" (WCMC 2021, article 7746286). Every number below is from this '
        "run. Accuracies repeat exactly with the same seed and versions: blinding noise, which "
        "breaks ties, comes from a seeded stream here and from the operating system in use. "
        "Times do not repeat.",
        "",
    ]
    return "\n".join(lines)


def _short(found: Findings) -> str:
    rows = tables.accuracies(found.splits)
    lines = ["## In short", ""]
    for data in tables.names(found.splits):
        claims = [d for d in found.claims if d.data == data]
        words = "".join(
            f" {d.first} over {d.second}: {d.claim} ({d.mean:+.2f} points, {p_value(d.adjusted)})."
            for d in claims
        )
        ranking = sorted(SCHEMES, key=lambda m: -float(tables.cell(rows, m, data)["mean"]))
        order = " > ".join(ranking)
        lines.append(f"- {TITLES[data]}: by mean accuracy {order}.{words}")
    average = {m: float(tables.cell(rows, m, "mean")["mean"]) for m in tables.METHODS}
    best = tables.best_ordinary(rows, "mean")
    equal = tables.equal_prior_accuracies(found.splits)
    best_equal = tables.best_ordinary(equal, "mean")
    lead = 100 * (average[EVIDENCE] - average[best])
    fair = 100 * (
        float(tables.cell(equal, EVIDENCE, "mean")["mean"])
        - float(tables.cell(equal, best_equal, "mean")["mean"])
    )
    lines.append(
        f"- Averaged over {len(tables.names(found.splits))} data sets {EVIDENCE} reaches "
        f"{100 * average[EVIDENCE]:.2f}%, the faithful OMPD {100 * average['OMPD']:.2f}%. Against "
        f"the best ordinary classifier as it comes ({best}) that is {lead:+.2f} points; where all "
        f"decide for equally likely classes ({best_equal}), {fair:+.2f}."
    )
    largest = max(cost.rows for cost in found.times if cost.scheme == SCAN)
    scan, index = (at(found.times, name, largest) for name in (SCAN, INDEX))
    lines.append(
        f"- At {largest:,} instances a query takes {1e3 * scan.middle:.3g} ms of computation by "
        f"the paper's linear scan and {1e3 * index.middle:.3g} ms with our index, "
        f"{scan.middle / index.middle:,.0f} times less."
    )
    total = found.exchanges[-1].total
    lines.append(
        f"- One query moves {total:,} bytes in four signed and encrypted frames, {ADVICE_BYTES} of "
        f"them advice; the paper's {cost_text.PAPER_BYTES} cannot hold the advice and one blinded "
        "vector (Figure 3)."
    )
    return "\n".join([*lines, ""])


def _data(found: Findings) -> str:
    rows = [
        (
            trial.title,
            len(trial.data),
            len(trial.data.schema.features),
            " / ".join(str(count) for count in trial.data.class_rows),
            f"{trial.held} + {trial.held}",
            trial.k,
            trial.origin,
            f"`{trial.sha256[:16]}…`",
        )
        for trial in found.trials
    ]
    seeds = sorted({split.seed for split in found.splits})
    lines = [
        "## Data and splits",
        "",
        tables.markdown(
            ("data", "rows", "features", "per class", "test", "K", "origin", "SHA-256"), rows
        ),
        f"Splits: seeds {seeds[0]} to {seeds[-1]}. A test set has as many rows of each class; the "
        "rest trains at its natural prevalence. K holds for the methods that do not choose it: "
        f"the paper's {PAPER_K['wbc']} and {PAPER_K['mm']}, and {PAPER_K['heart']} on the others. "
        f"{TITLES['heart']} has too few rows of its smaller class to hold out {HELD['wbc']}.",
        "",
    ]
    lines += [
        f"- {trial.title}: {' '.join(change.reason for change in trial.data.info.changes)}"
        for trial in found.trials
        if trial.data.info.changes
    ]
    lines += [
        f"- **{TITLES[name]} is missing**: {reason}." for name, reason in found.missing.items()
    ]
    return "\n".join([*lines, ""])
