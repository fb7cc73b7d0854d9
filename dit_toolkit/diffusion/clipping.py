"""Keeping predicted data within its range: a denoiser that wraps a denoiser."""

from __future__ import annotations

import torch
from attrs import evolve
from torch import Tensor

from dit_toolkit.diffusion.denoiser import Denoiser, Prediction


class Clipped:
    """Clips the predicted data to [-limit, limit], or thresholds it; noise and velocity follow unless kept.

    Args:
        denoiser: whose predictions are clipped.
        limit: of the data; None for none.
        ratio: dynamic thresholding instead, at this quantile of each image.
        largest: the most that thresholding takes for an image's range.
        keep_eps: leave noise and velocity as the network predicts them.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        limit: float | None = None,
        ratio: float | None = None,
        largest: float = 1.0,
        keep_eps: bool = False,
    ) -> None:
        self.denoiser, self.limit, self.ratio, self.largest, self.keep_eps = denoiser, limit, ratio, largest, keep_eps
        self.schedule, self.times = denoiser.schedule, denoiser.times

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t > 0."""
        found = self.denoiser(x, t)
        if self.ratio is not None:
            x0 = threshold(found.x0, self.ratio, self.largest)
        elif self.limit is not None:
            x0 = found.x0.clamp(-self.limit, self.limit)
        else:
            return found
        if self.keep_eps:
            return evolve(found, x0=x0)
        alpha_prime, sigma_prime = float(self.schedule.alpha_prime(t)), float(self.schedule.sigma_prime(t))
        eps = (x - float(self.schedule.alpha(t)) * x0) / float(self.schedule.sigma(t))
        return evolve(found, x0=x0, eps=eps, velocity=alpha_prime * x0 + sigma_prime * eps)


def threshold(x0: Tensor, ratio: float, largest: float) -> Tensor:
    """Dynamic thresholding of x0 (N, C, H, W): clip to [-s, s] and divide by s (Saharia et al. 2022, section 2.3).

    s is the `ratio`-quantile of |x0| within each image, held between 1 and `largest`.
    """
    ordered = x0.abs().flatten(1).sort(dim=1).values  # (N, C H W)
    place = ratio * (ordered.shape[1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[1] - 1)
    scale = torch.lerp(ordered[:, low], ordered[:, high], place - low).clamp(1, largest)  # (N,)
    scale = scale.view(-1, 1, 1, 1)
    return x0.clamp(-scale, scale) / scale
