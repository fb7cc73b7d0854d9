"""What a training logged, as curves in the colours of the page."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen
from markupsafe import Markup

from dit_toolkit.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT, SECOND, FAINT = "#010203", "#010204", "#010206", "#010205"
"""Stand-ins in the plots for colours that the page's theme decides."""
MIXED = [f"#0103{share:02d}" for share in range(100)]
"""Per cent of the way from the first to the second colour."""
THEME = {
    INK: "currentColor",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    FAINT: "var(--faint)",
    **{name: f"color-mix(in srgb, var(--accent), var(--second) {share}%)" for share, name in enumerate(MIXED)},
}
EVALUATED = "eval/"
"""Start of the keys of metrics that were computed in training."""
HELD_OUT = "val_loss/"
"""Start of the keys of held-out loss at one time."""


@frozen
class Curve:
    """One line of a plot."""

    label: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    colour: str

    @property
    def text(self) -> str:
        """Its ends, in words."""
        first, last = (f"{figure(self.values[i])} at step {figure(self.steps[i])}" for i in (0, -1))
        return f"{self.label}: {first}, {last}"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl by rising step: of a step logged again after a resume the last, of a torn line nothing."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    rows = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def plots(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Draw what was logged: a title, an inline SVG and a description for each plot with a curve of two points."""
    times = sorted({key for row in rows for key in row if key.startswith(HELD_OUT)}, key=_time)
    by_time = [(key, f"t = {_time(key):g}", MIXED[int(99 * _time(key))]) for key in times]
    wanted: tuple[tuple[str, str, list[tuple[str, str, str]]], ...] = (
        ("Loss", "loss", [("loss", "loss", ACCENT), ("val_loss", "held-out loss", SECOND)]),
        ("Held-out loss by time, 0 data and 1 noise", "held-out loss", by_time),
        ("Throughput", "images/s", [("images_per_second", "images/s", ACCENT)]),
        ("Share of the machine's peak", "share of peak", [("share_of_peak", "share of peak", ACCENT)]),
        ("Learning rate", "learning rate", [("lr", "learning rate", ACCENT)]),
        ("Gradient norm", "gradient norm", [("grad_norm", "gradient norm", ACCENT)]),
    )
    names = sorted({key for row in rows for key in row if key.startswith(EVALUATED)})
    judged = [(name.removeprefix(EVALUATED), name) for name in names]
    drawn = []
    for title, label, lines in (
        *wanted,
        *((f"{name} in training", name, [(key, name, SECOND)]) for name, key in judged),
    ):
        curves = [curve for line in lines if (curve := _curve(rows, *line))]
        if curves:
            shown = curves if len(curves) < 3 else [curves[0], curves[-1]]
            text = "; ".join(curve.text for curve in shown)
            drawn.append({"title": title, "svg": Markup(_draw(curves, label)), "text": text})
    return drawn


def _curve(rows: Sequence[Mapping[str, Any]], key: str, label: str, colour: str) -> Curve | None:
    points = [(row["step"], row[key]) for row in rows if _finite(row.get(key))]
    if len(points) < 2:
        return None
    steps, values = zip(*points, strict=True)
    return Curve(label, steps, values, colour)


def _time(key: str) -> float:
    return float(key.removeprefix(HELD_OUT))


def _draw(curves: Sequence[Curve], label: str) -> str:
    """Draw curves as an SVG without a background, in the colours of the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "dit-toolkit", "font.family": "sans-serif", "font.size": 11,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT,
        "grid.color": FAINT, "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    values = [value for curve in curves for value in curve.values]
    with rc_context(style):
        picture = Figure(figsize=(5.2, 2.8), layout="constrained")
        axes: Axes = picture.add_subplot()
        for curve in curves:
            marker = "o" if len(curve.steps) < 40 and curve.colour == SECOND else ""
            axes.plot(
                curve.steps,
                curve.values,
                color=curve.colour,
                linewidth=1.6,
                marker=marker,
                markersize=4,
                label=curve.label,
            )
        axes.set(xlabel="step", ylabel=label)
        axes.grid(axis="y", linewidth=0.6)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=9, ncols=1 + len(curves) // 5)
        if min(values) > 0 and max(values) > 5 * min(values) and ("loss" in label or label == "gradient norm"):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        elif "loss" not in label:
            axes.set_ylim(bottom=0)
        buffer = io.StringIO()
        picture.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, themed in THEME.items():
        svg = svg.replace(colour, themed)
    return svg


def figure(value: Any) -> str:
    """Write a number for people: 1,234,567 or 0.01235, a dash for None; anything else as it is."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (math.isfinite(value) and value.is_integer() and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
