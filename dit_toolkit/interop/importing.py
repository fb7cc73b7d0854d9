"""A model of another system as one file of our own, with a recipe for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from dit_toolkit.build import build_model
from dit_toolkit.files import sha256_of_file
from dit_toolkit.interop import diffusers, facebook
from dit_toolkit.interop.aside import written_aside
from dit_toolkit.interop.diffusers.pipeline import vae_options
from dit_toolkit.interop.foreign import Foreign, Kind
from dit_toolkit.interop.recipe import recipe_of
from dit_toolkit.progress import log
from dit_toolkit.provenance import provenance
from dit_toolkit.recipe.load import apply
from dit_toolkit.weights import Weights, expected_shapes, refuse_mismatch, shapes, write_weights

AUTOENCODER = "stabilityai/sd-vae-ft-ema"
"""Of the DiT paper's release."""


def import_model(
    source: str | Path,
    out: str | Path,
    *,
    format: Literal["facebook", "diffusers"],
    num_heads: int | None = None,
    autoencoder: str | None = None,
    weights: Kind | None = None,
    set: Sequence[str] = (),
) -> Path:
    """Write a model of another system into one safetensors file, which `load` takes; returns `out`.

    Args:
        source: a .pt file (facebook), or the folder of a DiTTransformer2DModel or DiTPipeline (diffusers).
        num_heads: attention heads, where a .pt file is not of one of the paper's sizes.
        autoencoder: folder of its autoencoder, or a name on the hub; that of a pipeline's folder, or of the paper's
            release, unless given.
        weights: averaged or raw weights of a training checkpoint; averaged where there are such.
        set: changes to the recipe, such as `dataset.path=data/mine`.

    Raises:
        CheckpointError: the source is damaged, of another architecture, or holds code.
        RecipeError: what is asked for does not fit the model.
        DataError: `out` exists.
        StorageError: the disk is full or not writable.
    """
    source, out = Path(source), Path(out)
    with written_aside(out) as temporary:
        read = facebook.read if format == "facebook" else diffusers.read
        found = read(source, num_heads=num_heads, kind=weights)
        recipe = recipe_of(found, autoencoder=_autoencoder(found, autoencoder), source=str(source))
        with torch.device("meta"):
            expected = found.from_ours(build_model(recipe).state_dict())
        refuse_mismatch(str(source), shapes(found.state), shapes(expected))
        state = found.from_theirs(found.state)
        if set:
            recipe = apply(recipe, set)
            refuse_mismatch(str(source), shapes(state), expected_shapes(recipe))
        hashes = {path.name: sha256_of_file(path) for path in found.files}
        origin = {"format": format, "source": source.name, "sha256": hashes}
        text = json.dumps({**provenance(recipe), "imported": origin})
        write_weights(temporary, Weights(recipe=recipe, state=state, kind=found.kind, step=0, provenance=text))
    log(
        f"{out}: {recipe.model.depth} blocks of width {recipe.model.hidden_size}, {recipe.model.num_heads} heads, "
        f"{recipe.model.num_classes} classes, patches of {found.model.patch_size} in "
        f"{found.model.in_channels} x {found.model.input_size} x {found.model.input_size}"
    )
    return out


def _autoencoder(found: Foreign, given: str | None) -> dict[str, Any]:
    """The [autoencoder] table: the one given, that beside the model, none for pixels, or the paper's."""
    path = given or (found.autoencoder and str(found.autoencoder))
    if path is None and found.model.in_channels in (1, 3):
        return {"kind": "identity"}
    if path is not None and Path(path).is_dir():
        return {"kind": "kl", **vae_options(Path(path))}
    return {"kind": "kl", "path": path or AUTOENCODER, "latent_channels": found.model.in_channels, "downsampling": 8}
