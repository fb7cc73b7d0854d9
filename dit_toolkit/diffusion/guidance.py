"""Guidance: denoisers that wrap a denoiser."""

from __future__ import annotations

import torch
from torch import Tensor

from dit_toolkit.diffusion.denoiser import Denoiser, LabelledDenoiser, Prediction


class ClassifierFreeGuidance:
    """u + scale (c - u) of the predictions with (c) and without (u) the class (Ho & Salimans 2022, equation 6).

    Both passes run as one batch. The variance is the conditional one's.

    Args:
        denoiser: the conditional denoiser.
        null: the label that stands for "no class".
        scale: 1 gives the conditional prediction itself.
        channels: guide only the first channels; all unless given.
    """

    def __init__(self, denoiser: LabelledDenoiser, null: int, scale: float, channels: int | None = None) -> None:
        labels = denoiser.labels
        self.both = denoiser.with_labels(torch.cat([labels, torch.full_like(labels, null)]))  # (2 N,)
        self.schedule, self.times = denoiser.schedule, denoiser.times
        self.scale, self.channels = scale, channels

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t with one pass of 2 N images."""
        both = self.both(torch.cat([x, x]), t)
        fraction = both.variance_fraction
        conditional, null = (
            Prediction(*parts, variance_fraction=None)
            for parts in zip(both.x0.chunk(2), both.eps.chunk(2), both.velocity.chunk(2), strict=True)
        )
        guided = null.lerp(conditional, self._weight(x))
        return Prediction(
            guided.x0, guided.eps, guided.velocity, variance_fraction=None if fraction is None else fraction.chunk(2)[0]
        )

    def _weight(self, x: Tensor) -> float | Tensor:
        if self.channels is None:
            return self.scale
        weight = torch.ones_like(x[:1, :, :1, :1])  # (1, C, 1, 1)
        weight[:, : self.channels] = self.scale
        return weight


def guide(denoiser: LabelledDenoiser, *, null: int, scale: float, channels: int | None = None) -> Denoiser:
    """Wrap a denoiser in classifier-free guidance; scale 1 leaves it as it is, with one pass per step."""
    return denoiser if scale == 1 else ClassifierFreeGuidance(denoiser, null, scale, channels)
