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
    load_plugins,
    load_with_options,
    plugin_options,
    procs_option,
    recipe_argument,
    set_option,
)
from dit_toolkit.cli.shell import emit, emit_json, table

TRAINING = 3
"""Forward passes that training on one image costs."""


@click.command()
@recipe_argument
@set_option("model.depth=2")
@plugin_options
def show(recipe: Path, changes: Sequence[str], files: Sequence[Path], blocked: Sequence[str]) -> None:
    """Print RECIPE with every default."""
    from dit_toolkit.recipe.load import dumps

    emit(dumps(load_with_options(recipe, changes, files, blocked)).rstrip("\n"))


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

    The model is built without weights. Memory is the model state alone, without activations, for --procs processes.
    """
    from dit_toolkit.flops import macs, memory
    from dit_toolkit.recipe.sizes import sizes

    loaded = load_with_options(recipe, changes, files, blocked)
    size, parts = sizes(loaded), macs(loaded)

    import torch

    from dit_toolkit.build import build_model
    from dit_toolkit.nn.dit import count_parameters

    with torch.device("meta"):
        model = build_model(loaded)
    total = count_parameters(model)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    world = launch.world().size if launch.launched() else launch.processes(procs)
    precision = loaded.train.precision
    stages = memory(trainable, world=world, precision=precision)
    costs = {**parts, "forward": sum(parts.values()), "training": TRAINING * sum(parts.values())}
    found = {
        "image": list(size.image),
        "latent": list(size.latent),
        "grid": list(size.grid),
        "tokens": size.tokens,
        "parameters": {"total": total, "trainable": trainable},
        "macs": costs,
        "flops": {part: 2 * count for part, count in costs.items()},
        "memory": {
            "processes": world,
            "precision": precision,
            "bytes": {f"zero-{stage}": value for stage, value in stages.items()},
        },
    }
    emit_json(found) if as_json else emit(_text(found))


def _text(found: dict[str, Any]) -> str:
    rows, columns = found["grid"]
    facts = [
        ["image", _by(found["image"])],
        ["latent", _by(found["latent"])],
        ["tokens", f"{found['tokens']} ({rows} x {columns})"],
        ["parameters", f"{found['parameters']['total']:,} ({found['parameters']['trainable']:,} trainable)"],
    ]
    names = {"forward": "one forward pass", "training": "training on one image"}
    costs = [
        [names.get(part, part).replace("_", " "), _amount(count / 1e9), _amount(found["flops"][part] / 1e9)]
        for part, count in found["macs"].items()
    ]
    state = found["memory"]
    stages = [[stage.replace("zero-", "ZeRO "), _amount(value / 2**30)] for stage, value in state["bytes"].items()]
    header = f"model state on each of {state['processes']} process(es), {state['precision']}"
    return "\n\n".join(
        [
            table(facts),
            table([["for one image", "GMACs", "GFLOPs"], *costs], numbers=True),
            table([[header, "GiB"], *stages], numbers=True),
        ]
    )


def _amount(number: float) -> str:
    return f"{number:,.3f}" if number >= 1 else f"{number:.3g}"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
