"""A comparison on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from dit_toolkit.evaluation import ARROWS

if TYPE_CHECKING:
    from dit_toolkit.comparison import Comparison


def table(result: Comparison) -> Table:
    """Lay the comparison out for a terminal; a star marks what is recommended."""
    common = result.settings
    guidance = f"cfg_scale {common['cfg_scale']:g}, " if "cfg_scale" in common else ""
    title = f"{common['num_samples']:,} samples each, {guidance}{common['weights']} weights"
    laid = Table(title=title, caption=f"★ {result.rule}", box=box.SIMPLE_HEAD, caption_justify="left", pad_edge=False)
    laid.add_column("sampler", no_wrap=True)
    for column in (
        "evaluations\nan image",
        "ms an\nimage",
        *(f"{m}\n{ARROWS[h]}" for m, h in result.directions.items()),
    ):
        laid.add_column(column, justify="right")
    for o in result.outcomes:
        marked = o.name == result.recommended
        cells = [f"{o.evaluations:g}", f"{1000 * o.seconds:.3g}", *(f"{value:.4g}" for value in o.scores.values())]
        name = o.name.replace(" cfg_scale=", " cfg ")
        laid.add_row(f"{name} ★" if marked else name, *cells, style="bold" if marked else None)
    laid.add_section()
    laid.add_row("real images", "", "", *(f"{value:.4g}" for value in result.floors.values()))
    return laid
