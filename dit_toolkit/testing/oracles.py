"""Denoisers whose answers are known in closed form."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.components import Objective
    from dit_toolkit.diffusion.denoiser import Prediction


class Gaussian:
    """The optimal denoiser of data from N(mean, std^2) in every pixel, E[x0 | x_t]; keeps the times of its calls.

    The probability-flow ODE carries x from the schedule's highest time to exactly `end(x)`; where alpha is 0 there,
    noise eps to mean + std eps.

    Args:
        objective: whose schedule and step list it has.
        mean, std: of the data.
        fraction: the variance fraction that it claims to have learnt.
    """

    def __init__(self, objective: Objective, mean: float = 0.3, std: float = 0.5, fraction: float = 0.0) -> None:
        self.objective, self.mean, self.std, self.fraction = objective, mean, std, fraction
        self.schedule, self.times = objective.schedule, objective.times
        self.calls: list[float] = []

    def end(self, x: Tensor) -> Tensor:
        """Where the probability-flow ODE carries x (N, C, H, W) from the schedule's highest time."""
        alpha, sigma = (float(f(self.schedule.highest)) for f in (self.schedule.alpha, self.schedule.sigma))
        return self.mean + self.std * (x - alpha * self.mean) / math.hypot(alpha * self.std, sigma)

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t > 0."""
        import torch

        from dit_toolkit.diffusion.denoiser import Prediction

        self.calls.append(t)
        alpha, sigma = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        x0 = self.mean + gain * (x - alpha * self.mean)
        eps = (x - alpha * x0) / sigma
        velocity = float(self.schedule.alpha_prime(t)) * x0 + float(self.schedule.sigma_prime(t)) * eps
        return Prediction(x0, eps, velocity, torch.full_like(x, self.fraction))
