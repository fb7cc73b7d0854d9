"""The weights of a model with its recipe: from a run, from one of its checkpoints, or in one file of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dit_toolkit import checkpoint
from dit_toolkit.build import build_model
from dit_toolkit.errors import CheckpointError
from dit_toolkit.files import sha256_of_file
from dit_toolkit.recipe.autoencoder import AnyRecipe
from dit_toolkit.recipe.load import apply, dumps, parse_resolved, read_resolved
from dit_toolkit.recipe.origins import Origin, parse_origins
from dit_toolkit.recipe.schema import WEIGHTS, Recipe

FORMAT = "1"
"""Of our own file, in its metadata under `dit_toolkit`."""
SHOWN = 20
"""Keys that a message names at most."""
WHOLE = rf"({WEIGHTS})\.safetensors"
"""Files of a checkpoint with the weights of a whole model."""


@frozen(kw_only=True)
class Weights:
    """One model: float32 weights by our names, and what is known of them."""

    recipe: Recipe
    state: dict[str, Tensor]
    kind: str
    """"raw", "ema", or "ema-0.999" and so on."""
    step: int
    """Optimizer steps behind them; 0 where that is not known."""
    provenance: str
    """JSON, as in `provenance.json`."""
    name: str = ""
    """What messages call it."""
    digest: str = ""
    """SHA-256 of the file that holds them."""

    @property
    def origins(self) -> dict[str, Origin]:
        """Who provided its components."""
        return parse_origins(self.provenance)


def read_weights(
    path: Path,
    *,
    recipe: Recipe | None = None,
    kind: str | None = None,
    plugins: Sequence[str] = (),
    set: Sequence[str] = (),
    verify: bool = True,
) -> Weights:
    """Read a run folder (its newest checkpoint), a checkpoint, or a file that `write_weights` wrote.

    Args:
        recipe: what it was trained with; the one stored with it unless given.
        kind: averaged or raw weights; what the recipe's [sample], or the file, says unless given.
        plugins: Python files to load first; a stored recipe never loads code by itself.
        set: changes of the recipe, `sample.seed=1` each.
        verify: compare a checkpoint with its hashes; False for one that has just been verified.

    Raises:
        CheckpointError: nothing there, or damaged, or its weights are not those of its recipe.
        RecipeError: its recipe needs what is not here, or a change is none.
    """
    if path.is_file():
        found = _read_file(path, recipe, kind, plugins, set)
    else:
        found = _read_folder(_find(path, verify), recipe, kind, plugins, set)
    refuse_mismatch(found.name, shapes(found.state), expected_shapes(found.recipe))
    return found


def write_weights(path: Path, weights: Weights) -> None:
    """Write one safetensors file: the weights, and in its metadata recipe, provenance, step and kind."""
    metadata = {
        "format": "pt",
        "dit_toolkit": FORMAT,
        "recipe": dumps(weights.recipe),
        "provenance": weights.provenance,
        "step": str(weights.step),
        "weights": weights.kind,
    }
    save_file({name: tensor.float().contiguous() for name, tensor in weights.state.items()}, path, metadata)


def expected_shapes(recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Shapes of a recipe's weights, by name."""
    with torch.device("meta"):
        return shapes(build_model(recipe).state_dict())


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def refuse_mismatch(source: str, seen: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError with every key that is missing, is not expected, or has another shape."""
    faults = [f"missing: {key} {expected[key]}" for key in expected if key not in seen]
    faults += [f"not expected: {key} {shape}" for key, shape in seen.items() if key not in expected]
    faults += [
        f"shape: {key} is {shape}, expected {expected[key]}"
        for key, shape in seen.items()
        if key in expected and shape != expected[key]
    ]
    if faults:
        more = [f"  and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        head = f"{source}: {len(faults)} of its weights do not fit the model that it should be"
        raise CheckpointError(head, *(f"  {fault}" for fault in faults[:SHOWN]), *more)


def open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file; CheckpointError where it is none, or cut short."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
        return load_file(path), metadata
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as a safetensors file: {' '.join(str(error).split())}") from None


def _read_folder(
    found: Path, recipe: Recipe | None, kind: str | None, plugins: Sequence[str], set: Sequence[str]
) -> Weights:
    """Of a checkpoint."""
    recipe = apply(recipe or read_resolved(found / "recipe.toml", plugins=plugins), set)
    kind = kind or recipe.sample.weights
    manifest = checkpoint.read_manifest(found)
    file = f"{kind}.safetensors"
    if file not in (there := _whole(found)):
        names = ", ".join(sorted(name.removesuffix(".safetensors") for name in there))
        raise CheckpointError(f"{found}: has no weights {kind!r}; there are {names}")
    provenance = found / "provenance.json"
    return Weights(
        recipe=recipe,
        state=load_file(found / file),
        kind=kind,
        step=manifest["step"],
        provenance=provenance.read_text(encoding="utf-8") if provenance.is_file() else "{}",
        name=found.name,
        digest=manifest["files"][file][1],
    )


def _whole(path: Path) -> list[str]:
    """Files of a checkpoint that hold the weights of the whole model."""
    return [name for name in checkpoint.read_manifest(path)["files"] if re.fullmatch(WHOLE, name)]


def _find(path: Path, verify: bool) -> Path:
    """The checkpoint itself, or the newest of a run."""
    if (path / "manifest.json").is_file():
        if verify and (faults := [fault for name in _whole(path) for fault in checkpoint.verify(path, name)]):
            older = [p.name for p in checkpoint.checkpoints(path.parent) if p.name < path.name]
            hint = f"; {older[-1]} beside it is the one before" if older else ""
            raise CheckpointError(f"{path} is damaged: {'; '.join(faults)}{hint}")
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run folder, checkpoint or file of weights")
    return newest_checkpoint(path)


def verified(path: Path) -> Path:
    """The checkpoint, the newest one of a run, or the file, whose weights `read_weights(path, verify=False)` may read.

    Raises:
        CheckpointError: nothing there, or damaged.
    """
    return path if path.is_file() else _find(path, verify=True)


def newest_checkpoint(run: Path) -> Path:
    """The newest checkpoint of a run folder that holds, all of it read for that; CheckpointError where there is none.

    Of several processes one does it: `distributed.main_alone(lambda: newest_checkpoint(run))`.
    """
    found = checkpoint.newest(run / "checkpoints")
    if found is None:
        raise CheckpointError(f"{run}: no checkpoint in it; train it first with `dit-toolkit run`")
    return found


def _read_file(
    path: Path, recipe: Recipe | None, kind: str | None, plugins: Sequence[str], set: Sequence[str]
) -> Weights:
    """Of a file of our own."""
    state, metadata = open_safetensors(path)
    stored: Any = metadata.get("weights")
    step = metadata.get("step", "")
    if metadata.get("dit_toolkit") != FORMAT or "recipe" not in metadata or not isinstance(stored, str):
        raise CheckpointError(
            f"{path}: has no recipe of dit-toolkit (format {FORMAT}) in its metadata; files of other systems are read "
            "with `dit-toolkit import`"
        )
    if kind not in (None, stored):
        raise CheckpointError(f"{path}: holds the {stored} weights, not the {kind} ones")
    provenance = metadata.get("provenance", "{}")
    recipe = recipe or parse_resolved(metadata["recipe"], path, parse_origins(provenance), plugins=plugins)
    return Weights(
        recipe=apply(recipe, set),
        state=state,
        kind=stored,
        step=int(step) if step.isdecimal() else 0,
        provenance=provenance,
        name=path.name,
        digest=sha256_of_file(path),
    )


def refuse_other_shapes(path: Path, recipe: AnyRecipe) -> None:
    """Raise CheckpointError where the weights of a checkpoint do not fit a recipe's model, naming one of them."""
    with torch.device("meta"):
        here = {name: tuple(parameter.shape) for name, parameter in build_model(recipe).named_parameters()}
    with safe_open(path / "raw.safetensors", "pt") as file:
        there = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    for name in [*here, *there]:
        if here.get(name) != there.get(name):
            raise CheckpointError(
                f"{path}: holds another model: {name} is {there.get(name, 'missing')} there and "
                f"{here.get(name, 'missing')} in that of the recipe; use --fresh"
            )
