"""`flops`: what a recipe costs at other patch and image sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dit_toolkit.cli.options import json_option, load_with_options, plugin_options, recipe_argument, set_option
from dit_toolkit.cli.several import Size, Spread, several_option
from dit_toolkit.cli.shell import amount, emit, emit_json, table, times
from dit_toolkit.errors import DitToolkitError

if TYPE_CHECKING:
    from dit_toolkit.flops import Costs

HEADER = [
    "image",
    "patch",
    "tokens",
    "parameters",
    "GMACs",
    "GFLOPs",
    "training GFLOPs",
    "activations MiB",
    "paper GMACs",
]


@click.command(cls=Spread)
@recipe_argument
@several_option("--patch", type=Size(), help="Patch sizes: 2 or, height by width, 4x2; the recipe's unless given.")
@several_option("--image-size", type=Size(), help="Image sizes in pixels: 256 or, height by width, 256x512.")
@set_option("model.block.kind=adaln")
@plugin_options
@json_option
def flops(
    recipe: Path,
    patch: Sequence[int | tuple[int, int]],
    image_size: Sequence[int | tuple[int, int]],
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    as_json: bool,
) -> None:
    """Print what RECIPE costs for patch and image sizes.

    Everything is for one image: GMACs and GFLOPs (twice as many) of a forward pass without guidance and autoencoder,
    GFLOPs of training (three forward passes), and what the forward pass keeps for the backward pass on this machine's
    device, in the recipe's precision. Beside them stands what the DiT paper calls Gflops, where the model is the
    paper's: these are GMACs.
    """
    from dit_toolkit.flops import costs_of, resized

    loaded = load_with_options(recipe, changes, files, blocked)
    found = [
        (at.model.patchifier.patch, costs_of(at))
        for size in image_size or (None,)
        for at in (resized(loaded, image_size=size, patch_size=side) for side in patch or (None,))
    ]
    if as_json:
        emit_json([{"patch": list(side), **costs.as_dict()} for side, costs in found])
    else:
        emit(table([HEADER, *(_row(side, costs) for side, costs in found)], numbers=True))


def _row(patch: tuple[int, int], costs: Costs) -> list[str]:
    kept = costs.activations
    return [
        times(costs.sizes.image[1:]),
        times(patch),
        f"{costs.as_dict()['tokens']:,}",
        f"{costs.parameters:,}",
        amount(costs.forward / 1e9),
        amount(2 * costs.forward / 1e9),
        amount(2 * costs.training / 1e9),
        "-" if isinstance(kept, DitToolkitError) else amount(kept / 2**20),
        "-" if costs.paper is None else f"{costs.paper:.2f}",
    ]
