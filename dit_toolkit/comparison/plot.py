"""The picture of a comparison: each metric against network evaluations and against time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dit_toolkit.comparison import Comparison, Outcome

COSTS = {"evaluations": "network evaluations an image", "seconds": "seconds an image"}
GUIDANCE = {"cfg_scale": "guidance, cfg_scale"}
MARKERS = "osD^vPX*"
WORDS = {True: "higher is better", False: "lower is better", None: "like real images is best"}
LETTERS = 118
"""As many letters of the legend as stand beside each other."""


def draw(comparison: Comparison, path: Path) -> None:
    """Draw a row for each metric, a line for each sampler, a ring around what is recommended.

    Where guidance varies there is a column for it, and a line joins the strengths of one sampler.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    metrics, guided = list(comparison.floors), _guided(comparison)
    columns_of = {**COSTS, **(GUIDANCE if guided else {})}
    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with rc_context({**style, "grid.linewidth": 0.4, "grid.color": "#cccccc"}):
        picture = Figure(figsize=(5 * len(columns_of), 0.9 + 2.9 * len(metrics)), layout="constrained")
        panels = picture.subplots(len(metrics), len(columns_of), squeeze=False, sharex="col", sharey="row")
        for row, metric in zip(panels, metrics, strict=True):
            for axes, cost in zip(row, columns_of, strict=True):
                _panel(axes, comparison, metric, cost)
            row[0].set_ylabel(f"{metric}\n({WORDS[comparison.directions[metric]]})")
        for axes, label in zip(panels[-1], columns_of.values(), strict=True):
            axes.set_xlabel(label)
        handles, labels = panels[0][0].get_legend_handles_labels()
        columns = max(1, min(len(labels), LETTERS // (max(map(len, labels)) + 6)))  # Six letters of key and gap each.
        picture.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
        picture.savefig(path, dpi=130)


def _panel(axes: Axes, comparison: Comparison, metric: str, cost: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    guided = _guided(comparison)
    for number, (name, line) in enumerate(_lines(comparison.outcomes, guided).items()):
        outcomes = sorted(line, key=lambda o: getattr(o, cost))
        x, y = [getattr(o, cost) for o in outcomes], [o.scores[metric] for o in outcomes]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(x, y, marker=marker, color=f"C{number}", label=name, markersize=5, linewidth=1.3)
        for outcome, place in zip(outcomes, zip(x, y, strict=True), strict=True):
            offset = (0, -16 if number % 2 else 9)
            axes.annotate(
                _told(outcome, guided),
                place,
                offset,
                textcoords="offset points",
                fontsize=7,
                ha="center",
                color=f"C{number}",
            )
    axes.axhline(comparison.floors[metric], color="#666666", linestyle="--", linewidth=1, label="real images")
    best = next(o for o in comparison.outcomes if o.name == comparison.recommended)
    label = f"recommended by {comparison.metric}: {best.name}"
    axes.plot(
        getattr(best, cost), best.scores[metric], "o", markersize=14, fillstyle="none", color="black", label=label
    )
    if cost in GUIDANCE:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _guided(comparison: Comparison) -> bool:
    """Whether guidance varies."""
    return len({outcome.cfg_scale for outcome in comparison.outcomes}) > 1


def _told(outcome: Outcome, guided: bool) -> str:
    """What tells a point from the others of its line."""
    return f"{outcome.cfg_scale:g}" if guided else outcome.name.split(" ")[0].partition(":")[2]


def _lines(outcomes: list[Outcome], guided: bool) -> dict[str, list[Outcome]]:
    """Outcomes that differ in their steps alone, or in their guidance alone, by what they have in common."""
    lines: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        kind, *options = outcome.name.split(" ")
        common = [o for o in options if not o.startswith("cfg_scale=")] if guided else options
        lines.setdefault(" ".join([kind if guided else kind.partition(":")[0], *common]), []).append(outcome)
    return lines
