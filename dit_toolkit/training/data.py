"""The data of a run, as the model is to see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from dit_toolkit.components import Split
from dit_toolkit.random import Generator
from dit_toolkit.recipe.schema import Recipe
from dit_toolkit.recipe.sizes import sizes

Encode = Callable[[Tensor, Generator | None], Tensor]


def open_data(recipe: Recipe, split: Literal["train", "val"], device: str) -> tuple[Split, Encode]:
    """Open a split, with what makes scaled latents (N, C, H, W) of its items; nothing where they are latents already.

    Raises:
        DataError: data or autoencoder are not there, or are others than the recipe says.
    """
    if recipe.dataset.latents:
        return recipe.dataset.open_latents(split, sizes(recipe).latent), lambda x, _: x
    return recipe.dataset.open(split), recipe.autoencoder.load(device).encode
