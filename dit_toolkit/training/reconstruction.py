"""The loss of an autoencoder (Rombach et al. 2022, section 3.1, without the adversarial term)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dit_toolkit.errors import DataError
from dit_toolkit.extractors import classifier
from dit_toolkit.extractors.weights import compare, read_state
from dit_toolkit.nn.autoencoder import Output, kl_divergence
from dit_toolkit.nn.perceptual import PerceptualDistance
from dit_toolkit.random import Generator, randn_like
from dit_toolkit.recipe.autoencoder import AutoencoderRecipe, Perceptual, autoencoder_sizes

VGG_TAPS = (3, 8, 15, 22, 29)
"""The last rectifier at each resolution, as in Zhang et al. 2018."""
FASHION_TAPS = (2, 5, 8, 11, 14)
"""Every rectifier."""


class ReconstructionLoss:
    """Distance of pixels + perceptual distance + kl_weight x divergence in nats for each number of the image.

    Args:
        recipe: that of an autoencoder.
        device: of the images.

    Raises:
        DataError: the weights of the perceptual network are not there or not its own.
    """

    def __init__(self, recipe: AutoencoderRecipe, device: str) -> None:
        self.objective, self.latent = recipe.objective, autoencoder_sizes(recipe).latent
        options = recipe.objective.perceptual
        self.perceptual = perceptual_distance(options).to(device) if options else None

    def __call__(
        self,
        model: Callable[[Tensor, Tensor, Tensor], Output],
        x0: Tensor,
        y: Tensor,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Loss (N,) of images x0 (N, C, H, W); labels y (N,) play no part. The posterior is drawn by the generator."""
        noise = randn_like(x0.new_empty(len(x0), *self.latent), generator)  # (N, c, h, w)
        x, mean, log_variance = model(x0, noise, y)  # (N, C, H, W), (N, c, h, w), (N, c, h, w)
        difference = (x - x0).abs() if self.objective.distance == "l1" else (x - x0).square()  # (N, C, H, W)
        loss = difference.flatten(1).mean(1)  # (N,)
        loss = loss + self.objective.kl_weight * kl_divergence(mean, log_variance) / x0[0].numel()  # (N,)
        if self.perceptual is not None and self.objective.perceptual is not None:
            loss = loss + self.objective.perceptual.weight * self.perceptual(x, x0)  # (N,)
        return loss


def perceptual_distance(options: Perceptual) -> PerceptualDistance:
    """Make the distance with its trained network; DataError where its weights are not there, never random ones."""
    if options.network == "fashion":
        return PerceptualDistance(classifier.load().body, FASHION_TAPS, [0.0], [1.0])
    return PerceptualDistance(_vgg(Path(options.path or "")), VGG_TAPS, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def _vgg(path: Path) -> nn.Sequential:
    """The convolutions of torchvision's VGG16 with the weights of a file; tensors are read from it, no code."""
    from torchvision.models import vgg16

    option, what = "objective.perceptual.path", "the weights of torchvision's VGG16, such as vgg16-397923af.pth"
    if not path.is_file():
        raise DataError(f"{option}: {path} is no file; it takes {what}")
    state = read_state(path, what, option)
    state = {name.removeprefix("features."): value for name, value in state.items() if "features." in name}
    with torch.device("meta"):
        layers: nn.Sequential = vgg16().features
    compare(layers, state, path, what, option)
    layers.load_state_dict(state, assign=True)
    return layers
