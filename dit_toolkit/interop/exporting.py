"""A trained model as one file of our own, or as another system has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs
import torch

from dit_toolkit.interop import diffusers, facebook
from dit_toolkit.interop.architecture import architecture_of, plain, time_difference
from dit_toolkit.interop.aside import written_aside
from dit_toolkit.progress import warn
from dit_toolkit.weights import Weights, read_weights, write_weights

FREQUENCIES: dict[str, Literal["paper", "diffusers"]] = {"facebook": "paper", "diffusers": "diffusers"}
"""Of the time embedding of each system."""


def export_model(
    source: str | Path,
    out: str | Path,
    *,
    format: Literal["safetensors", "facebook", "diffusers"],
    weights: str | None = None,
    autoencoder: bool = True,
    plugins: Sequence[str] = (),
) -> Path:
    """Write a trained model as another system has it, or as one safetensors file of our own; returns `out`.

    Args:
        source: a run folder (its newest checkpoint), a checkpoint, or a file that was imported or exported.
        weights: averaged or raw weights; what the recipe's [sample], or the file, says unless given.
        autoencoder: for diffusers, write a pipeline with the recipe's autoencoder, or else the transformer alone.
        plugins: Python files to load first.

    Raises:
        CheckpointError: the source is missing or damaged.
        RecipeError: the format cannot express the model; each option that stands in the way is named.
        DataError: `out` exists, or the autoencoder is not there.
        StorageError: the disk is full or not writable.
    """
    source, out = Path(source), Path(out)
    with written_aside(out) as temporary:
        found = read_weights(source, kind=weights, plugins=plugins)
        if format == "safetensors":
            sample = attrs.evolve(found.recipe.sample, weights=found.kind)
            recipe = attrs.evolve(found.recipe, sample=sample)
            write_weights(temporary, attrs.evolve(found, recipe=recipe))
        else:
            _write_foreign(temporary, found, format, pipeline=autoencoder)
    return out


def _write_foreign(path: Path, found: Weights, format: Literal["facebook", "diffusers"], *, pipeline: bool) -> None:
    model = architecture_of(found.recipe, any_schedule=pipeline and format == "diffusers")
    if model.time_frequencies != FREQUENCIES[format]:
        warn(
            f"{format} embeds time by other frequencies than model.time_frequencies = {model.time_frequencies!r}: its "
            f"embeddings differ by up to {time_difference(found.state):.2g} of their length, and its outputs with them"
        )
    state = plain({name: tensor.float() for name, tensor in found.state.items()}, model)
    if format == "diffusers":
        diffusers.write(path, state, model, found.recipe if pipeline else None)
    else:
        torch.save(facebook.from_ours(state, model), path)
