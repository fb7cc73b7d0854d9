"""From a recipe to its network."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from dit_toolkit.components import Shape
from dit_toolkit.nn.autoencoder import Autoencoder
from dit_toolkit.nn.dit import DiT, count_parameters
from dit_toolkit.recipe.autoencoder import AnyRecipe, AutoencoderRecipe, autoencoder_sizes
from dit_toolkit.recipe.schema import Model, Recipe
from dit_toolkit.recipe.sizes import sizes


@overload
def build_model(recipe: Recipe) -> DiT: ...
@overload
def build_model(recipe: AutoencoderRecipe) -> Autoencoder: ...
def build_model(recipe: AnyRecipe) -> DiT | Autoencoder:
    """Build the recipe's network, `model(x, t, y) -> (N, C_out, H, W)`, its weights drawn from torch's random state.

    That of an autoencoder takes noise in the place of t, see `nn.autoencoder`.
    """
    if isinstance(recipe, AutoencoderRecipe):
        return Autoencoder(recipe.model, autoencoder_sizes(recipe).image[0])
    size = sizes(recipe)
    network = build_network(recipe.model, size.latent, size.out_channels)
    network.recompute = recipe.train.activation_checkpointing
    return network


def parameters(recipe: AnyRecipe) -> int:
    """Count the parameters of the recipe's network, without making it."""
    with torch.device("meta"):
        return count_parameters(build_model(recipe))


def example_inputs(recipe: AnyRecipe, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros in the shapes of what the recipe's network takes for `count` images."""
    if isinstance(recipe, AutoencoderRecipe):
        size = autoencoder_sizes(recipe)
        x, t = torch.zeros(count, *size.image, dtype=torch.float32), torch.zeros(count, *size.latent)
    else:
        x, t = torch.zeros(count, *sizes(recipe).latent, dtype=torch.float32), torch.zeros(count)
    return x, t, torch.zeros(count, dtype=torch.int64)


def build_network(model: Model, latent: Shape, out_channels: int) -> DiT:
    """Build the network for inputs (C, H, W) = latent."""
    return DiT(
        input_size=latent[1:],
        in_channels=latent[0],
        out_channels=out_channels,
        hidden_size=model.hidden_size,
        depth=model.depth,
        num_heads=model.num_heads,
        num_classes=model.num_classes,
        patchifier=model.patchifier,
        block=model.block,
        null_class=model.class_dropout_prob > 0,
        positions=model.positions,
        time_frequencies=model.time_frequencies,
    )
