"""A picture of correlations by lag (extra ``audit``, for matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ompd.errors import BackendUnavailableError, ParameterError
from ompd.text.enquiry import Correlation

#: Okabe and Ito's, which the colour-blind tell apart; the lines differ too.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
_LINES = ("-", "--", ":", "-.")


def draw(correlations: Mapping[str, Correlation], threshold: float, path: Path) -> None:
    """Draw ρ against the lag, one line per correlation, and write a picture.

    Parameters
    ----------
    correlations : mapping of str to Correlation
        Up to four, by title.
    threshold : float
    path : Path
        Its suffix says the format, such as ``.png``.

    Raises
    ------
    BackendUnavailableError
        If matplotlib is not installed.
    ParameterError
        If the folder is missing, the suffix names no format or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise BackendUnavailableError(
            "picture: matplotlib is missing; pip install 'ompd[audit]'"
        ) from None
    formats = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in formats:
        raise ParameterError(
            f"picture: expected a file name that ends in one of {', '.join(formats)}"
        )
    figure = Figure(figsize=(7.2, 3.8), dpi=160, layout="constrained")
    axes = figure.subplots()
    for (title, each), colour, line in zip(correlations.items(), _COLOURS, _LINES, strict=False):
        axes.plot(each.lags, each.rho, color=colour, linestyle=line, label=title)
    axes.axhline(threshold, color="#777777", linewidth=0.8, label="threshold")
    axes.set_xlabel("lag: day of the course at which the template begins")
    axes.set_ylabel("ρ")
    axes.set_ylim(0, 1)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    problem = ""
    try:
        figure.savefig(path)
    except OSError as error:
        problem = error.strerror or "cannot be written"
    if problem:
        raise ParameterError(f"picture: {problem}")
