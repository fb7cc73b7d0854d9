"""The picture of a comparison: each metric against network evaluations and against time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dit_toolkit.comparison import Comparison, Outcome

COSTS = {"evaluations": "network evaluations an image", "seconds": "seconds an image"}
MARKERS = "osD^vPX*"
WORDS = {True: "higher is better", False: "lower is better", None: "like real images is best"}
LETTERS = 118
"""As many letters of the legend as stand beside each other."""


def draw(comparison: Comparison, path: Path) -> None:
    """Draw a row for each metric, a line for each sampler, a ring around what is recommended."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    metrics = list(comparison.floors)
    style: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with rc_context({**style, "grid.linewidth": 0.4, "grid.color": "#cccccc"}):
        picture = Figure(figsize=(10, 0.9 + 2.9 * len(metrics)), layout="constrained")
        panels = picture.subplots(len(metrics), len(COSTS), squeeze=False, sharex="col", sharey="row")
        for row, metric in zip(panels, metrics, strict=True):
            for axes, cost in zip(row, COSTS, strict=True):
                _panel(axes, comparison, metric, cost)
            row[0].set_ylabel(f"{metric}\n({WORDS[comparison.directions[metric]]})")
        for axes, label in zip(panels[-1], COSTS.values(), strict=True):
            axes.set_xlabel(label)
        handles, labels = panels[0][0].get_legend_handles_labels()
        columns = max(1, min(len(labels), LETTERS // (max(map(len, labels)) + 6)))  # Six letters of key and gap each.
        picture.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
        picture.savefig(path, dpi=130)


def _panel(axes: Axes, comparison: Comparison, metric: str, cost: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for number, (name, line) in enumerate(_lines(comparison.outcomes).items()):
        outcomes = sorted(line, key=lambda o: getattr(o, cost))
        x, y = [getattr(o, cost) for o in outcomes], [o.scores[metric] for o in outcomes]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(x, y, marker=marker, color=f"C{number}", label=name, markersize=5, linewidth=1.3)
        for outcome, place in zip(outcomes, zip(x, y, strict=True), strict=True):
            offset = (0, -16 if number % 2 else 9)
            axes.annotate(
                _steps(outcome), place, offset, textcoords="offset points", fontsize=7, ha="center", color=f"C{number}"
            )
    axes.axhline(comparison.floors[metric], color="#666666", linestyle="--", linewidth=1, label="real images")
    best = next(o for o in comparison.outcomes if o.name == comparison.recommended)
    label = f"recommended by {comparison.metric}: {best.name}"
    axes.plot(
        getattr(best, cost), best.scores[metric], "o", markersize=14, fillstyle="none", color="black", label=label
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _steps(outcome: Outcome) -> str:
    return outcome.name.split(" ")[0].partition(":")[2]


def _lines(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    """Outcomes that differ in their steps alone, by what they have in common."""
    lines: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        kind, *options = outcome.name.split(" ")
        lines.setdefault(" ".join([kind.partition(":")[0], *options]), []).append(outcome)
    return lines
