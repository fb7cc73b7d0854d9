"""The recipe of an imported model."""

from __future__ import annotations

from typing import Any

from dit_toolkit.errors import CheckpointError, RecipeError
from dit_toolkit.interop.foreign import Foreign
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.recipe.structure import structure


def recipe_of(found: Foreign, *, autoencoder: dict[str, Any], source: str) -> Recipe:
    """Make the recipe of an imported model: what is known of it, and the training settings of the DiT paper's release.

    Args:
        autoencoder: table of the recipe.
        source: what messages call the model.

    Raises:
        CheckpointError: no recipe can say what it is.
    """
    model = found.model
    size = model.input_size * autoencoder.get("downsampling", 1)
    data: dict[str, Any] = {"kind": "latents", "path": f"data/imagenet{size}"}
    if autoencoder["kind"] == "identity":
        data = {"kind": "synthetic", "latents": False, "channels": model.in_channels}
    table = {
        "dataset": {**data, "image_size": size, "num_classes": model.num_classes},
        "autoencoder": autoencoder,
        "model": model.model,
        "objective": {**found.objective, "learn_sigma": model.learn_sigma},
        "train": {"max_steps": 400_000, "global_batch_size": 256, "precision": "bf16"},
        "sample": {**found.sample, "weights": found.kind},
    }
    try:
        recipe = structure(table)
        latent = sizes(recipe).latent
    except RecipeError as error:
        raise CheckpointError(f"{source}: is no model that a recipe can describe:", *error.lines) from None
    if latent[0] != model.in_channels:
        raise CheckpointError(
            f"{source}: takes {model.in_channels} channels, and the autoencoder {autoencoder['path']} makes {latent[0]}"
        )
    return recipe
