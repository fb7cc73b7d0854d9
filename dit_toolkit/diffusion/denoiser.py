"""The denoiser: the one thing a sampler sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from attrs import evolve, frozen
from torch import Tensor

if TYPE_CHECKING:
    from dit_toolkit.components import Objective
    from dit_toolkit.diffusion.schedule import Schedule


@frozen
class Prediction:
    """What the network says of x_t, in every equivalent form, all (N, C, H, W)."""

    x0: Tensor
    """The data, E[x0 | x_t]."""
    eps: Tensor
    """The noise, (x_t - alpha x0) / sigma."""
    velocity: Tensor
    """d x_t / dt along the probability-flow ODE, alpha' x0 + sigma' eps."""
    variance_fraction: Tensor | None = None
    """Where the log-variance of a reverse step lies between beta-tilde (0) and beta (1), if learnt (Nichol & Dhariwal
    2021, equation 15). The variance itself depends on the step that a sampler takes, so it is not given here."""

    def lerp(self, other: Prediction, weight: float | Tensor) -> Prediction:
        """Return self + weight (other - self), consistent in all forms; the variance stays that of self."""
        return evolve(
            self,
            x0=torch.lerp(self.x0, other.x0, weight),
            eps=torch.lerp(self.eps, other.eps, weight),
            velocity=torch.lerp(self.velocity, other.velocity, weight),
        )


class Denoiser(Protocol):
    """What samplers are given: a network with its objective, its labels and its guidance."""

    @property
    def schedule(self) -> Schedule:
        """alpha(t) and sigma(t)."""
        ...

    def times(self, num_steps: int, spacing: str = "uniform") -> list[float]:
        """num_steps + 1 falling times from noise to data."""
        ...

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t."""
        ...


class LabelledDenoiser:
    """A network, its objective and the classes (N,) asked for."""

    def __init__(self, model: Callable[[Tensor, Tensor, Tensor], Tensor], objective: Objective, labels: Tensor) -> None:
        self.model, self.objective, self.labels = model, objective, labels
        self.schedule, self.times = objective.schedule, objective.times

    def with_labels(self, labels: Tensor) -> LabelledDenoiser:
        """Ask the same network for other classes."""
        return LabelledDenoiser(self.model, self.objective, labels)

    def __call__(self, x: Tensor, t: float) -> Prediction:
        """Predict from x (N, C, H, W) at time t with one pass of the network."""
        time = self.objective.network_time(torch.full((len(x),), t, dtype=torch.float64, device=x.device))  # (N,)
        output = self.model(self.objective.network_input(x, t), time, self.labels)  # (N, C_out, H, W)
        return self.objective.predict(output, x, t)
