"""The reverse SDE by Euler and Maruyama's method, with a choice of its noise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, le, lt, optional

from dit_toolkit.components import Objective
from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class SDEEuler(Clipping):
    """Euler-Maruyama on dx = (v - w s / 2) dt + sqrt(w) dW, backwards (Ma et al. 2024, "SiT", sections 2 and 3).

    v is the velocity and s = -eps / sigma the score. Any w(t) >= 0 has the same marginals; it is chosen after training.
    """

    kind = "sde-euler"
    num_steps: int = field(default=250, validator=[ge(1), le(1_000_000)])
    diffusion: Literal["sigma", "constant", "linear", "decreasing", "increasing-decreasing", "sbdm"] = "sigma"
    """w / norm: sigma(t), 1, t, (1 - cos pi t)^2 / 4, sin^2 pi t, or sigma sigma' - sigma^2 alpha' / alpha."""
    norm: float = field(default=2.0, validator=[ge(0), le(1000)])
    """Factor of w: 0 is the ODE; 2 is diffusion_norm = 1 of SiT's code."""
    last_step: Literal["mean", "tweedie", "euler"] = "mean"
    """Of the last step, which adds no noise: the drift of the SDE, the predicted data, or the velocity alone."""
    last_step_size: float | None = field(default=None, validator=optional([gt(0), lt(1)]))
    """Length of the last step, the others being spread over the rest, 0.04 in SiT; the step list's unless given."""

    def check(self, objective: Objective) -> None:
        """Refuse a w that is infinite where sampling begins, and a step list that the objective does not have."""
        if self.diffusion == "sbdm" and float(objective.schedule.alpha(1.0)) < 1e-6:
            raise ValueError(
                "diffusion 'sbdm' is infinite at t = 1, where alpha is 0; use 'sigma', 'linear', 'constant', "
                "'decreasing' or 'increasing-decreasing'"
            )
        super().check(objective)

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data."""
        from dit_toolkit.random import randn_like

        denoiser, times = self.clipped(denoiser), self._with_last_step(self.times(denoiser))
        rates = [self._rate(denoiser.schedule, t) for t in times[:-1]]
        sigmas = [float(denoiser.schedule.sigma(t)) for t in times[:-1]]
        x = noise
        for (t, s), w, sigma in zip(pairwise(times[:-1]), rates, sigmas, strict=False):
            found = denoiser(x, t)
            x = x + (s - t) * (found.velocity + w / (2 * sigma) * found.eps)
            x = x + math.sqrt(w * (t - s)) * randn_like(x, generator)
        found = denoiser(x, times[-2])
        if self.last_step == "tweedie":
            return found.x0
        w = rates[-1] if self.last_step == "mean" else 0.0
        return x + (times[-1] - times[-2]) * (found.velocity + w / (2 * sigmas[-1]) * found.eps)

    def _rate(self, schedule: Schedule, t: float) -> float:
        """w(t)."""
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        match self.diffusion:
            case "sigma":
                form = sigma
            case "constant":
                form = 1.0
            case "linear":
                form = t
            case "decreasing":
                form = (1 - math.cos(math.pi * t)) ** 2 / 4
            case "increasing-decreasing":
                form = math.sin(math.pi * t) ** 2
            case "sbdm":
                form = sigma * float(schedule.sigma_prime(t)) - sigma**2 * float(schedule.alpha_prime(t)) / alpha
        return self.norm * form

    def _with_last_step(self, times: list[float]) -> list[float]:
        """The step list with its last time before the end moved to last_step_size, and those before in proportion."""
        if self.last_step_size is None or len(times) == 2:
            return times
        start, last = times[0], times[-2]
        stretch = (start - self.last_step_size) / (start - last)
        return [*(start - (start - t) * stretch for t in times[:-1]), times[-1]]
