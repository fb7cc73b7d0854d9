"""One self-contained page about a run: what was trained, how it went, what came out and how good it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dit_toolkit.evaluation import ARROWS
from dit_toolkit.files import storage, write_atomically
from dit_toolkit.report.curves import figure, plots, read_log
from dit_toolkit.report.pictures import strips, whole

__all__ = ["figure", "plots", "read_log", "write_report"]


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
    during: Path | None = None,
    validation: Mapping[str, Any] | None = None,
    comparisons: Sequence[tuple[Mapping[str, Any], Path]] = (),
) -> Path:
    """Write the page, replacing an older one at once and whole; it needs no network and runs no script.

    Args:
        path: where to write, usually `report.html` of a run folder.
        name: of the run.
        recipe_toml: the resolved recipe.
        summary: figures for the top of the page by label: parameters, GMACs and GFLOPs, steps, duration, ...
        metrics_jsonl: the log of the training, one JSON object a line with `step`, `loss` and more; it may be missing.
        grid: a PNG of samples.
        evaluation: `evaluation.Results.as_dict()`.
        provenance: versions, device, commit.
        during: folder of the pictures that were drawn in training; it may be missing.
        validation: `validation.Results.as_dict()`.
        comparisons: of samplers and guidance, each a `comparison.Comparison` as JSON and its plot, a PNG.

    Raises:
        DataError: the log or a picture cannot be read.
        StorageError: the page cannot be written.
    """
    path = Path(path)
    rows = read_log(metrics_jsonl) if metrics_jsonl and metrics_jsonl.exists() else []
    page = _template().render(
        name=name,
        recipe_toml=recipe_toml,
        summary={label: figure(value) for label, value in summary.items()},
        plots=plots(rows),
        last={key: figure(value) for key, value in rows[-1].items()} if rows else {},
        grid=whole(grid) if grid else None,
        strips=strips(during) if during else {},
        evaluation=evaluation,
        validation=validation,
        comparisons=[{**found, "plot": whole(plot)} for found, plot in comparisons],
        provenance=json.dumps(provenance, indent=2, ensure_ascii=False, default=str),
    )
    with storage(path):
        write_atomically(path, page)
    return path


def _template() -> Any:
    source = (files(__package__) / "page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = figure
    environment.globals["ARROWS"] = ARROWS
    return environment.from_string(source)
