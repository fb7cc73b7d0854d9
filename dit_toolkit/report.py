"""One self-contained page about a run: what was trained, how it went, what came out and how good it is."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.evaluation import ARROWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT, FAINT = "#010203", "#010204", "#010205"
"""Stand-ins in the plots for colours that the page's theme decides."""
THEME = {INK: "currentColor", ACCENT: "var(--accent)", FAINT: "var(--faint)"}


def write_report(
    path: Path | str,
    *,
    name: str,
    recipe_toml: str,
    summary: Mapping[str, Any],
    metrics_jsonl: Path | None,
    grid: Path | None,
    evaluation: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
) -> Path:
    """Write the page, replacing an older one at once and whole; it needs no network and runs no script.

    Args:
        path: where to write, usually `report.html` of a run folder.
        name: of the run.
        recipe_toml: the resolved recipe.
        summary: figures for the top of the page by label: parameters, GMACs and GFLOPs, steps, duration, ...
        metrics_jsonl: the log of the training, one JSON object a line with `step`, `loss` and more; it may be missing.
        grid: a PNG of samples.
        evaluation: `Results.as_dict()`.
        provenance: versions, device, commit.

    Raises:
        DataError: the log or the picture cannot be read.
        StorageError: the page cannot be written.
    """
    path = Path(path)
    rows = read_log(metrics_jsonl) if metrics_jsonl and metrics_jsonl.exists() else []
    try:
        picture = base64.b64encode(grid.read_bytes()).decode() if grid else None
    except OSError as error:
        raise DataError(f"{grid}: cannot be read ({error.strerror})") from error
    page = _template().render(
        name=name,
        recipe_toml=recipe_toml,
        summary={label: figure(value) for label, value in summary.items()},
        plots=plots(rows),
        last={key: figure(value) for key, value in rows[-1].items()} if rows else {},
        grid=picture,
        evaluation=evaluation,
        provenance=json.dumps(provenance, indent=2, ensure_ascii=False, default=str),
    )
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
    return path


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
    """Draw what was logged: a title, an inline SVG and a description for each curve that has two points."""
    wanted = (
        ("Loss", "loss", "loss"),
        ("Throughput", "images_per_second", "images/s"),
        ("Learning rate", "lr", "learning rate"),
        ("Gradient norm", "grad_norm", "gradient norm"),
    )
    drawn = []
    for title, key, label in wanted:
        points = [(row["step"], row[key]) for row in rows if _finite(row.get(key))]
        if len(points) > 1:
            steps, values = zip(*points, strict=True)
            first, last = (f"{figure(values[i])} at step {figure(steps[i])}" for i in (0, -1))
            drawn.append(
                {"title": title, "svg": Markup(_curve(steps, values, label)), "text": f"{label}: {first}, {last}"}
            )
    return drawn


def _curve(steps: Sequence[int], values: Sequence[float], label: str) -> str:
    """Draw one curve as an SVG without a background, in the colours of the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "dit-toolkit", "font.family": "sans-serif", "font.size": 11,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT,
        "grid.color": FAINT, "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    with rc_context(style):
        picture = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes: Axes = picture.add_subplot()
        axes.plot(steps, values, color=ACCENT, linewidth=1.6)
        axes.set(xlabel="step", ylabel=label)
        axes.grid(axis="y", linewidth=0.6)
        if min(values) > 0 and max(values) > 5 * min(values) and label in ("loss", "gradient norm"):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        elif label != "loss":
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


def _template() -> Any:
    source = (files(__package__) / "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = figure
    environment.globals["ARROWS"] = ARROWS
    return environment.from_string(source)
