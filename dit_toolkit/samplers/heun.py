"""Heun's method: second order, two network evaluations a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, le

from dit_toolkit.samplers.clipping import Clipping

if TYPE_CHECKING:
    from torch import Tensor

    from dit_toolkit.diffusion.denoiser import Denoiser
    from dit_toolkit.diffusion.schedule import Schedule
    from dit_toolkit.random import Generator


@frozen(kw_only=True)
class Heun(Clipping):
    """Heun's method on the probability-flow ODE (Karras et al. 2022, algorithms 1 and 2).

    It steps in sigma / alpha, and along the straight line from data to noise where alpha falls to 0 (flow matching).
    With `s_churn` noise is added before each step, up to a time not above the first.
    """

    kind = "heun"
    order = 2
    calls_per_step = 2
    num_steps: int = field(default=25, validator=[ge(1), le(1_000_000)])
    s_churn: float = field(default=0.0, validator=[ge(0), le(1e6)])
    """Noise added in all: a step raises sigma / alpha by s_churn / num_steps of itself, at most by sqrt(2) - 1."""
    s_tmin: float = field(default=0.0, validator=[ge(0), le(1e6)])
    """The least sigma / alpha at which noise is added."""
    s_tmax: float = field(default=1e6, validator=[ge(0), le(1e6)])
    """The most."""
    s_noise: float = field(default=1.0, validator=[ge(0), le(100)])
    """Deviation of the noise added; a little above 1 makes up for detail that networks lose."""

    def sample(self, denoiser: Denoiser, noise: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Walk from noise (N, C, H, W) to data; the last step is Euler's, which needs no slope at t = 0."""
        from dit_toolkit.diffusion.ode import Coordinates
        from dit_toolkit.random import randn_like

        denoiser, times = self.clipped(denoiser), self.times(denoiser)
        path = Coordinates(denoiser.schedule)
        churned = [self._churned(denoiser.schedule, t, times) for t in times[:-1]]
        starts, ends = np.array([start for start, *_ in churned]), np.array(times[1:])
        steps = np.stack([path.scale(starts), path.scale(ends), path.u(ends) - path.u(starts)], 1).tolist()
        x = noise
        for (t, factor, deviation), s, (here, there, du) in zip(churned, times[1:], steps, strict=True):
            if deviation > 0:
                x = factor * x + deviation * randn_like(x, generator)
            slope = path.slope(denoiser(x, t))
            ahead = there * (x / here + du * slope)
            x = ahead if s == 0 else there * (x / here + du / 2 * (slope + path.slope(denoiser(ahead, s))))
        return x

    def _churned(self, schedule: Schedule, t: float, times: list[float]) -> tuple[float, float, float]:
        """Where a step begins: its time, the factor of x that gets there, and the deviation of the noise."""
        share = min(self.s_churn / (len(times) - 1), math.sqrt(2) - 1)
        if share == 0 or t == times[0]:
            return t, 1.0, 0.0
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        if not self.s_tmin <= sigma / alpha <= self.s_tmax:
            return t, 1.0, 0.0
        raised = min(float(schedule.time_of_log_snr(2 * math.log(alpha / sigma / (1 + share)))), times[0])
        factor = float(schedule.alpha(raised)) / alpha
        return raised, factor, self.s_noise * math.sqrt(float(schedule.sigma(raised)) ** 2 - (factor * sigma) ** 2)
