"""From a recipe to its network."""

from __future__ import annotations

from dit_toolkit.components import Shape
from dit_toolkit.nn.dit import DiT
from dit_toolkit.recipe.schema import Model, Recipe
from dit_toolkit.recipe.sizes import sizes


def build_model(recipe: Recipe) -> DiT:
    """Build the recipe's network, `model(x, t, y) -> (N, C_out, H, W)`, its weights drawn from torch's random state."""
    size = sizes(recipe)
    network = build_network(recipe.model, size.latent, size.out_channels)
    network.recompute = recipe.train.activation_checkpointing
    return network


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
