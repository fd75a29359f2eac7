"""The report's sections on operations, time and bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.paper import tables
from bench.paper.costs import BFV, INDEX, Cost, K, schema
from bench.paper.findings import Findings, at, duration
from bench.paper.traffic import ADVICE_BYTES

#: What the paper states for one query of OMPD, advice included.
PAPER_BYTES = 735


def table_4(found: Findings) -> str:
    """Counts beside formulas, and what the index saves."""
    shared = {_operation(row) for row in found.operations if row["scheme"] == "OMPD"}
    rows = []
    for row in found.operations:
        if row["scheme"] == "OMPD-MW" and _operation(row) in shared:
            continue
        names = [row["scheme"], row["stage"]]
        rows.append([*names, row["operation"], f"{row['counted']:,}", f"{row['formula']:,}",
                     f"`{row['symbols']}`"])  # fmt: skip
    wrong = sum(row["counted"] != row["formula"] for row in found.operations)
    verdict = f"{wrong} of {len(found.operations)} counts differ from their formula."
    if not wrong:
        verdict = f"All {len(found.operations)} counts equal their formulas."
    headings = list(found.index[0])
    return "\n".join(
        [
            "## Table 4: operations",
            "",
            tables.markdown(
                ["scheme", "stage", "operation", "counted", "formula", "in symbols"], rows
            ),
            f"Counted by numbers that report what is done with them while a query ran on "
            f"{found.counted} instances of {len(schema().features)} features, K = {K}; the formula "
            "is evaluated at the same size. Stages of the table, set-up and training count once, "
            f"the others per query. {verdict} Of OMPD-MW only what differs from OMPD is listed. "
            "N instances, n features, R rounds of training with M mistakes.",
            "",
            "What our index leaves of it per query, where a scan computes N exact distances:",
            "",
            tables.markdown(
                headings, ([f"{row[h]:,.4g}" for h in headings] for row in found.index)
            ),
        ]
    )


def _operation(row: tables.Row) -> tuple[object, ...]:
    return tuple(row[column] for column in ("stage", "operation", "counted"))


def figure_2(found: Findings) -> str:
    sizes = sorted({cost.rows for cost in found.times})
    schemes = list(dict.fromkeys(cost.scheme for cost in found.times))
    body = [
        [
            f"{rows:,}",
            *(
                "" if (cost := at(found.times, scheme, rows)) is None else duration(cost.middle)
                for scheme in schemes
            ),
        ]
        for rows in sizes
    ]
    stages = found.exchanges[-1].stage_ms
    lines = [
        "## Figure 2: computation against N",
        "",
        "![Time against N](figure2_time.png)",
        "",
        tables.markdown(["N, time per query", *schemes], body),
        "Median and band from the first to the third quartile; 9 features, K = 9, one query alone, "
        "one thread, all parties' computation without signatures and envelopes. The linear scan "
        "is the paper's Algorithm 3 on gmpy2 integers, one after the other; EPDK's and PPDP's "
        "inner loops are vectorised. PPDP's time is prediction only, training comes on top. BFV "
        "computes squared Euclidean distances, since it has no absolute value; Paillier is "
        "extrapolated from measured primitives (hollow marks). Signatures and envelopes add a "
        "constant: a whole query alone, all stages, takes "
        + ", ".join(f"{stage} {spent:.2f}" for stage, spent in stages.items())
        + f" ms, {sum(stages.values()):.2f} ms together, "
        f"at {found.exchanges[-1].rows:,} instances.",
        "",
        *_speeds(found.times),
        "",
    ]
    return "\n".join(lines)


def _speeds(costs: Sequence[Cost]) -> list[str]:
    lines = []
    for scheme in dict.fromkeys(cost.scheme for cost in costs):
        own = [cost for cost in costs if cost.scheme == scheme]
        last = own[-1]
        index = at(costs, INDEX, last.rows)
        if scheme == INDEX or len(own) < 2:
            continue
        slope = np.polyfit(
            np.log([cost.rows for cost in own[-3:]]), np.log([cost.middle for cost in own[-3:]]), 1
        )[0]
        lines.append(
            f"- {scheme}: {duration(last.middle)} at N = {last.rows:,}, "
            f"{_times(last.middle / index.middle)} times our index, and grows as N^{slope:.2f}."
        )
    return lines


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def figure_3(found: Findings) -> str:
    last = found.exchanges[-1]
    sizes = sorted({cost.rows for cost in found.sizes})
    schemes = list(dict.fromkeys(cost.scheme for cost in found.sizes))
    body = [
        [f"{rows:,}", *("" if (c := at(found.sizes, s, rows)) is None else f"{c.middle:,.0f}"
                        for s in schemes)]
        for rows in sizes
    ]  # fmt: skip
    by_part: dict[str, int] = {}
    for part in last.parts:
        by_part[part["part"]] = by_part.get(part["part"], 0) + part["bytes"]
    vector = by_part["blinded vector"]
    named = ("signature", "envelope", "blinded vector", "token", "advice")
    rest = last.total - sum(by_part[part] for part in named)
    legs = list(dict.fromkeys(part["leg"] for part in last.parts))
    table = [
        [
            leg,
            *(
                sum(p["bytes"] for p in last.parts if p["leg"] == leg and p["part"] == part)
                for part in by_part
            ),
            sum(p["bytes"] for p in last.parts if p["leg"] == leg),
        ]
        for leg in legs
    ]
    table.append(["all", *by_part.values(), sum(by_part.values())])
    lines = [
        "## Figure 3: bytes against N",
        "",
        "![Bytes against N](figure3_bytes.png)",
        "",
        tables.markdown(["N, bytes per query", *schemes], body),
        "Per query over all links. OMPD's are real frames between the parties; OMPD-MW and either "
        "search send the same. Tables and keys travel once and are not in it: OMPD's upload takes "
        + ", ".join(f"{e.upload:,} bytes at {e.rows:,} instances" for e in found.exchanges[-1:])
        + ". EPDK and PPDP have no signatures or envelopes.",
        "",
        "OMPD's bytes by part:",
        "",
        tables.markdown(["leg", *by_part, "all"], table),
        f"The paper states 0.735 KB in all, {ADVICE_BYTES} bytes of it advice, which leaves "
        f"{PAPER_BYTES - ADVICE_BYTES} bytes for everything else. That is implausible: with |p| = "
        f"512 bits the blinded vector of {vector // 64} coordinates alone takes {vector} bytes, "
        f"and each of the four legs needs a signature. Ours needs {last.total:,} bytes in all: "
        f"{by_part['signature']} of signatures, {by_part['envelope']} of envelopes, {vector} for "
        f"the vector, {by_part['token']} for its token, {by_part['advice']} of advice and "
        f"{rest} for all else.",
        "",
    ]
    if bfv := [cost for cost in found.sizes if cost.scheme == BFV]:
        lines.append(
            f"A BFV scan moves {bfv[-1].middle:,.0f} bytes per query at N = {bfv[-1].rows:,}, "
            f"{bfv[-1].middle / last.total:,.0f} times as many."
        )
    return "\n".join([*lines, ""])
