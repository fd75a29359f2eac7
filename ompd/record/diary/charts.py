"""Charts of series, readable on a telephone."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Literal

import numpy as np

from ompd.errors import BackendUnavailableError
from ompd.record.diary.timeline import Series
from ompd.record.errors import DiaryError

#: Pixels of a chart at its own size: a narrow telephone.
WIDTH, HEIGHT = 360, 240
#: More points than this are drawn as range and median of as many parts of the time.
MOST_POINTS = 180
#: Most series in one chart.
MOST_SERIES = 4

_DPI = 100
#: Distinct for colour-blind people, and 4.5 : 1 against white; line styles tell them apart, too.
_STYLES = (("#0057a3", "-"), ("#a34700", "--"), ("#00695c", "-."), ("#7b1fa2", ":"))
# Years, months, days, hours, minutes, seconds: in digits, which need no language. First what the
# marks say, then those where the next larger one begins, then what stands once beside the axis.
_DATES = ["%Y", "%m", "%d", "%H:%M", "%H:%M", "%S"]
_FIRSTS = ["", "%Y", "%Y-%m", "%m-%d", "%m-%d", "%H:%M"]
_REST = ["", "%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"]
_UNITS = {"Cel": "°C", "[degF]": "°F", "[lb_av]": "lb", "[in_i]": "in"}
# matplotlib's settings are one for all threads.
_drawing = threading.Lock()


def chart(
    shown: Series | Sequence[Series],
    form: Literal["svg", "png"] = "svg",
    *,
    names: Mapping[tuple[str, str], str] | None = None,
) -> bytes:
    """Draw series of one unit; the same series give the same bytes.

    Parameters
    ----------
    shown : Series or sequence of Series
        Up to four, such as the two numbers of a blood pressure.
    form : {"svg", "png"}
    names : mapping, optional
        Of series by code, in the reader's language; their own.

    Returns
    -------
    bytes
        Made for a width of 360 pixels, with letters of 12; a PNG has twice as many pixels. An SVG
        has no script, loads nothing, and has letters as shapes.

    Raises
    ------
    DiaryError
        If there is nothing to draw, units differ, or there are too many series.
    BackendUnavailableError
        Without the extra `care`.
    """
    listed = [shown] if isinstance(shown, Series) else list(shown)
    if not 1 <= len(listed) <= MOST_SERIES or len({each.unit for each in listed}) != 1:
        raise DiaryError(f"shown: expected 1 to {MOST_SERIES} series of one unit")
    if not any(each.points for each in listed):
        raise DiaryError("shown: expected at least one value")
    if form not in {"svg", "png"}:
        raise DiaryError("form: expected svg or png")
    try:
        import matplotlib
        from matplotlib import dates
        from matplotlib.figure import Figure
    except ImportError:
        raise BackendUnavailableError("charts need matplotlib: pip install 'ompd[care]'") from None
    labels = names or {}
    # Partly without hints.
    marks: Any = dates
    settings: Any = {
        "font.size": 9,
        "svg.hashsalt": "ompd",
        "svg.fonttype": "path",
        "path.sketch": None,
    }
    with _drawing, matplotlib.rc_context(settings):
        figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, layout="constrained")
        axes = figure.add_subplot()
        for each, (colour, style) in zip(listed, _STYLES, strict=False):
            _draw(axes, each, labels.get(each.code, each.name), colour, style)
        locator = marks.AutoDateLocator(minticks=2, maxticks=5)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(
            marks.ConciseDateFormatter(
                locator, formats=_DATES, zero_formats=_FIRSTS, offset_formats=_REST
            )
        )
        axes.set_ylabel(_shown(listed[0].unit), parse_math=False)
        axes.grid(axis="y", color="#d0d0d0", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if len(listed) > 1:
            axes.legend(frameon=False, loc="best", fontsize=9)
        page = io.BytesIO()
        if form == "svg":
            figure.savefig(page, format="svg", metadata={"Date": None})
        else:
            figure.savefig(page, format="png", dpi=2 * _DPI, metadata={"Software": None})
    return page.getvalue()


def _shown(unit: str) -> str:
    """Return a unit of UCUM as people write it."""
    return _UNITS.get(unit) or re.sub(r"[][{}]", "", unit)


def _draw(axes: Any, shown: Series, name: str, colour: str, style: str) -> None:
    # As the clock showed it where it was measured, wherever it is read.
    seconds = np.array([point.when.replace(tzinfo=UTC).timestamp() for point in shown.points])
    values = np.array([point.value for point in shown.points])
    if len(seconds) > MOST_POINTS:
        edges = np.linspace(seconds[0], seconds[-1], MOST_POINTS + 1)
        part = np.minimum(np.searchsorted(edges, seconds, side="right") - 1, MOST_POINTS - 1)
        parts = [part == each for each in np.unique(part)]
        days = np.array([seconds[each].mean() for each in parts]) / 86400
        low, middle, high = (
            np.array([np.quantile(values[each], share) for each in parts]) for share in (0, 0.5, 1)
        )
        axes.fill_between(days, low, high, color=colour, alpha=0.2, linewidth=0)
        marker, values = "", middle
    else:
        days, marker = seconds / 86400, "o"
    axes.plot(
        days, values, color=colour, linestyle=style, marker=marker, markersize=3, linewidth=1.2,
        label=name.replace("$", r"\$"),
    )  # fmt: skip
