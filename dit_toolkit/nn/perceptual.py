"""Features of trained networks, and the distance between images that they make (Zhang et al. 2018, equation 1)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

Features = tuple[Tensor, ...]


class PerceptualDistance(nn.Module):
    """Squared distance of features that are normalised over their channels, by layer: mean over pixels, then the sum.

    All channels weigh the same, where the paper learns their weights.

    Args:
        layers: a network in the order of its layers; a copy is frozen.
        taps: indices of the layers whose outputs are compared.
        mean, std: of each channel of its input, for images from 0 to 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.Sequential, taps: tuple[int, ...], mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.layers, self.taps = deepcopy(layers[: max(taps) + 1]).eval().requires_grad_(False), taps
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Distance (N,) of images x and target (N, C, H, W) in [-1, 1]; grey is repeated, or colours are averaged."""
        with torch.no_grad():
            right = list(self._features(target))
        distance = torch.zeros(len(x), device=x.device)  # (N,)
        for seen, expected in zip(self._features(x), right, strict=True):
            distance = distance + (seen - expected).pow(2).sum(1).mean((1, 2))  # (N,)
        return distance

    def _features(self, x: Tensor) -> Iterator[Tensor]:
        channels = len(self.mean)
        x = x.mean(1, keepdim=True) if channels == 1 else x.expand(-1, channels, -1, -1)  # (N, channels, H, W)
        x = ((x + 1) / 2 - self.mean) / self.std  # (N, channels, H, W)
        for index, layer in enumerate(self.layers):
            x = layer(x)  # (N, D, h, w)
            if index in self.taps:
                yield x / (x.pow(2).sum(1, keepdim=True) + 1e-10).sqrt()  # (N, D, h, w)
