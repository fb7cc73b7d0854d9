"""Results on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from dit_toolkit.evaluation.scores import T95, Results

ARROWS = {True: "↑", False: "↓", None: "≈ floor"}


def table(results: Results) -> Table:
    """Lay the results out for a terminal, and below them what they depend on; the arrow says which way is better."""
    notes = [told_shortly(results.settings), *results.warnings]
    laid = Table(
        title=f"{results.settings['num_samples']:,} samples",
        caption="\n".join(filter(None, notes)) or None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    laid.add_column("metric", no_wrap=True)
    for column in ("samples", "95 %", "floor\n(real)", "ceiling\n(noise)", "better"):
        laid.add_column(column, justify="right", no_wrap=True)
    for name, s in results.scores.items():
        label = f"{name} ({s.unit})" if s.unit else name
        spread = "" if s.error is None else f"± {T95 * s.error:.2g}"
        bounds = ["" if x is None else f"{x:.4g}" for x in (s.floor, s.ceiling)]
        laid.add_row(label, f"{s.value:.4g}", spread, *bounds, ARROWS[s.higher_is_better])
    return laid


def told_shortly(settings: Mapping[str, Any]) -> str:
    """What the numbers depend on in a line: "step 2,400, ema weights, cfg_scale 3, heun 12 steps, ..."."""
    sampler, reference = settings.get("sampler") or {}, settings.get("reference")
    steps = sampler.get("num_steps")
    guided = settings.get("cfg_scale", 1) != 1
    about = reference["file"] if isinstance(reference, Mapping) else reference
    count = settings.get("reference_images")
    parts = [
        f"step {settings['step']:,}" if settings.get("step") else "",
        f"{settings['weights']} weights" if settings.get("weights") else "",
        f"cfg_scale {settings['cfg_scale']:g}" if guided else "",
        (sampler["kind"] + (f" {steps} steps" if steps else "")) if sampler else "",
        f"against {f'{count:,} ' if count else ''}{about}" if about else "",
        *(f"{name} {fingerprint[:8]}" for name, fingerprint in settings.get("extractors", {}).items()),
    ]
    return ", ".join(filter(None, parts))
