"""Results of an audit, as numbers, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ompd.errors import BackendUnavailableError, ParameterError

#: Okabe and Ito: told apart with every kind of colour vision, and in grey.
_RECOVERED, _CONTROL, _BASELINE = "#D55E00", "#0072B2", "#000000"


@dataclass(frozen=True, slots=True)
class Result:
    """What one attack achieved.

    Attributes
    ----------
    profile : str
    attack : str
        Short name, unique within the profile.
    meaning : str
        One line: what is recovered, from what.
    recovered : float
        Share from 0 to 1.
    baseline : float
        What the best guess without any ciphertext achieves.
    seconds : float
        Time of the attack alone.
    control : bool
        A deliberately broken variant, or none of the profile's own: it shows that the attack
        works where there is something to find.
    """

    profile: str
    attack: str
    meaning: str
    recovered: float
    baseline: float
    seconds: float
    control: bool = False


def as_dict(results: Iterable[Result]) -> dict[str, dict[str, dict[str, float]]]:
    """Return {profile: {attack: {recovered, baseline, seconds}}}."""
    profiles: dict[str, dict[str, dict[str, float]]] = {}
    for result in results:
        profiles.setdefault(result.profile, {})[result.attack] = {
            "recovered": result.recovered,
            "baseline": result.baseline,
            "seconds": result.seconds,
        }
    return profiles


def check_plot(path: Path) -> None:
    """Refuse a picture that could not be written, before the attacks take their time.

    Raises
    ------
    BackendUnavailableError
        If matplotlib is not installed.
    ParameterError
        If the folder is missing or the suffix names no format.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise BackendUnavailableError(
            "plot: matplotlib is missing; pip install 'ompd[audit]'"
        ) from None
    formats = sorted(FigureCanvasAgg.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in formats:
        raise ParameterError(f"plot: expected a file name that ends in one of {', '.join(formats)}")
    if not path.parent.is_dir():
        raise ParameterError("plot: the folder does not exist")


def plot(results: Sequence[Result], title: str, path: Path) -> None:
    """Draw one bar per attack, with a mark at its baseline, and write a picture.

    Parameters
    ----------
    results : sequence of Result
        At least one.
    title : str
    path : Path
        The suffix decides on the format.

    Raises
    ------
    BackendUnavailableError, ParameterError
        As `check_plot`, or if the file cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    profiles = list(dict.fromkeys(result.profile for result in results))
    groups = [[result for result in results if result.profile == name] for name in profiles]
    height = 1.6 + 0.27 * len(results) + 0.5 * len(groups)
    figure = Figure(figsize=(9.5, height), dpi=200, layout="constrained")
    panels = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, height_ratios=[len(group) for group in groups]
    )
    for panel, name, group in zip(panels[:, 0], profiles, groups, strict=True):
        places = range(len(group))
        colours = [_CONTROL if result.control else _RECOVERED for result in group]
        panel.barh(places, [result.recovered for result in group], color=colours, height=0.62)
        for place, result in zip(places, group, strict=True):
            ends = [place - 0.42, place + 0.42]
            panel.plot([result.baseline] * 2, ends, color="white", linewidth=4)
            panel.plot([result.baseline] * 2, ends, color=_BASELINE, linewidth=2)
            panel.text(1.015, place, f"{result.recovered:.1%}", va="center", fontsize=8)
        panel.set_yticks(places, [result.attack.replace("_", " ") for result in group], fontsize=8)
        panel.set_ylim(len(group) - 0.4, -0.6)
        panel.set_title(name, loc="left", fontsize=10, fontweight="bold")
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", color="0.85", linewidth=0.6)
        panel.set_axisbelow(True)
    last = panels[-1, 0]
    last.set_xlim(0, 1)
    last.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    guesses = "sealed, equal queries of blind: guesses that were right"
    last.set_xlabel(f"recovered by the attacker ({guesses})")
    figure.suptitle(title, fontsize=12)
    handles = [
        Patch(color=_RECOVERED, label="attack"),
        Patch(color=_CONTROL, label="control: must succeed"),
        Line2D([], [], color=_BASELINE, linewidth=2, label="best guess without the ciphertext"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    try:
        figure.savefig(path)
    except OSError:
        raise ParameterError("plot: the file cannot be written") from None
