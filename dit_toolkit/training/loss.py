"""What a training step minimises."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dit_toolkit.recipe.autoencoder import AnyRecipe, AutoencoderRecipe
from dit_toolkit.training.reconstruction import ReconstructionLoss


def loss_of(recipe: AnyRecipe, device: str) -> Callable[..., Tensor]:
    """The loss `loss(model, x0, y, generator=...) -> (N,)`: that of the recipe's objective, or of an autoencoder.

    Raises:
        DataError: the weights that an autoencoder's loss needs are not there.
    """
    return ReconstructionLoss(recipe, device) if isinstance(recipe, AutoencoderRecipe) else recipe.objective.loss
