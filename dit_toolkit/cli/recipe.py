"""`check`, `show` and `schema`: what a recipe means, costs and may say, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dit_toolkit import launch
from dit_toolkit.cli.options import (
    FILE,
    json_option,
    load_any_with_options,
    load_plugins,
    plugin_options,
    procs_option,
    recipe_argument,
    set_option,
)
from dit_toolkit.cli.shell import amount, emit, emit_json, table, times
from dit_toolkit.errors import DitToolkitError


@click.command()
@recipe_argument
@set_option("model.depth=2")
@plugin_options
def show(recipe: Path, changes: Sequence[str], files: Sequence[Path], blocked: Sequence[str]) -> None:
    """Print RECIPE with every default."""
    from dit_toolkit.recipe.load import dumps

    emit(dumps(load_any_with_options(recipe, changes, files, blocked)).rstrip("\n"))


@click.command()
@click.argument("recipe", type=FILE, required=False)
@plugin_options
def schema(recipe: Path | None, files: Sequence[Path], blocked: Sequence[str]) -> None:
    """Print a JSON schema of recipes, for editors.

    It knows the options of installed plugins and of those that RECIPE loads from files. Save it as recipe.schema.json
    beside a recipe that begins with the line "#:schema recipe.schema.json".
    """
    from dit_toolkit.recipe.jsonschema import json_schema
    from dit_toolkit.recipe.load import load_named_plugins

    with load_plugins(files, blocked):
        if recipe:
            load_named_plugins(recipe)
        written = json_schema()
    emit_json(written)


@click.command()
@recipe_argument
@set_option("model.depth=2")
@plugin_options
@procs_option
@json_option
def check(
    recipe: Path,
    changes: Sequence[str],
    files: Sequence[Path],
    blocked: Sequence[str],
    procs: int | None,
    as_json: bool,
) -> None:
    """Check RECIPE and print what it costs.

    The model is built without weights. The memory of the model state is that of each of --procs processes; activations
    are what a forward pass keeps for the backward pass, for each image of a batch.
    """
    from dit_toolkit.flops import costs_of, memory, state_options

    loaded = load_any_with_options(recipe, changes, files, blocked)
    costs = costs_of(loaded)
    world = launch.world().size if launch.launched() else launch.processes(procs)
    options = state_options(loaded, costs)
    stages = memory(costs.trainable, world=world, **options)
    state = {
        "processes": world,
        **options,
        "bytes": {f"zero-{stage}": value.device for stage, value in stages.items()},
        "offloaded_bytes": {f"zero-{stage}": value.offloaded for stage, value in stages.items()},
    }
    found = {**costs.as_dict(), "memory": state}
    reason = str(costs.activations) if isinstance(costs.activations, DitToolkitError) else ""
    emit_json(found) if as_json else emit(_text(found, reason))


def _text(found: dict[str, Any], reason: str) -> str:
    state, kept = found["memory"], found["activations"]
    facts = [
        ["image", times(found["image"])],
        ["latent", times(found["latent"])],
        *([["tokens", f"{found['tokens']} ({times(found['grid'])})"]] if "grid" in found else []),
        ["parameters", f"{found['parameters']['total']:,} ({found['parameters']['trainable']:,} trainable)"],
        ["activations", reason or f"{amount(kept / 2**20)} MiB for each image, {state['precision']}"],
    ]
    names = {"forward": "one forward pass", "training": "training on one image"}
    costs = [
        [names.get(part, part).replace("_", " "), amount(count / 1e9), amount(found["flops"][part] / 1e9)]
        for part, count in found["macs"].items()
    ]
    places = {"bytes": "GiB", **({"offloaded_bytes": "GiB offloaded"} if state["offload"] != "none" else {})}
    stages = [
        [stage.replace("zero-", "ZeRO "), *(amount(state[place][stage] / 2**30) for place in places)]
        for stage in state["bytes"]
    ]
    header = f"model state on each of {state['processes']} process(es), {state['precision']}"
    groups = [
        [group["rule"], f"{group['weight_decay']:g}", str(group["tensors"]), f"{group['parameters']:,}"]
        for group in found["groups"]
    ]
    return "\n\n".join(
        [
            table(facts),
            table([["for one image", "GMACs", "GFLOPs"], *costs], numbers=True),
            table([["parameter groups", "weight decay", "tensors", "parameters"], *groups], numbers=True),
            table([[header, *places.values()], *stages], numbers=True),
        ]
    )
