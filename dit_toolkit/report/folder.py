"""The report of a run, from what its folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dit_toolkit import checkpoint, flops, validation
from dit_toolkit.build import parameters
from dit_toolkit.recipe.autoencoder import AnyRecipe, autoencoder_sizes
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.reconstruction import FOLDER as AUTOENCODER
from dit_toolkit.reconstruction import PICTURE, read_measured
from dit_toolkit.report import write_report
from dit_toolkit.training.pictures import FOLDER

COMPARISON, PLOT = "comparison.json", "comparison.png"
"""What `dit-toolkit compare` leaves in a folder of the run."""


def report_folder(folder: Path, recipe: AnyRecipe) -> Path:
    """(Re)write `report.html` in a run folder; returns its path. Raises as `write_report`."""
    places = sorted((folder / "samples").glob("step-*"), key=lambda p: p.stat().st_mtime)
    place = places[-1] if places else folder / AUTOENCODER
    evaluation, picture = place / "evaluation.json", place / ("grid.png" if places else PICTURE)
    steps = [int(p.name.removeprefix("step-")) for p in checkpoint.checkpoints(folder / "checkpoints")] or [0]
    macs = sum(flops.macs(recipe).values())
    return write_report(
        folder / "report.html",
        name=folder.name,
        recipe_toml=(folder / "recipe.toml").read_text(),
        summary={
            "parameters": f"{parameters(recipe):,}",
            "forward pass of one image": f"{macs / 1e9:.3g} GMACs ({2 * macs / 1e9:.3g} GFLOPs)",
            **_facts(recipe, folder),
            "steps": f"{steps[-1]:,} of {recipe.train.max_steps:,}",
        },
        metrics_jsonl=folder / "metrics.jsonl",
        grid=picture if picture.exists() else None,
        evaluation=json.loads(evaluation.read_text()) if evaluation.exists() else None,
        provenance=json.loads((folder / "provenance.json").read_text()),
        during=folder / FOLDER,
        validation=validation.newest(folder),
        comparisons=_comparisons(folder),
    )


def _comparisons(folder: Path) -> list[tuple[dict[str, Any], Path]]:
    """Comparisons of samplers and guidance, the oldest first, each with its plot."""
    found = sorted(folder.glob(f"*/{COMPARISON}"), key=lambda p: p.stat().st_mtime)
    return [(json.loads(path.read_text()), plot) for path in found if (plot := path.with_name(PLOT)).exists()]


def _facts(recipe: AnyRecipe, folder: Path) -> dict[str, str]:
    """What is told of one shape of recipes alone."""
    if isinstance(recipe, Recipe):
        size = sizes(recipe)
        return {"tokens": f"{size.tokens} ({size.grid[0]} x {size.grid[1]})"}
    latent = " x ".join(map(str, autoencoder_sizes(recipe).latent))
    measured = read_measured(folder)
    return {"latent": latent, **({"PSNR of held-out images": f"{measured['psnr']:.2f} dB"} if measured else {})}
